"""The settings of the proxy: what is accepted, and the reason for what is not."""

import pytest

from koi_agent.config.proxy import AdminAddress, admin_address, issuer, ports, yaml_file
from koi_agent.core.errors import BadInput


def test_ports_are_numbers() -> None:
    assert ports("443 8443 443") == (443, 8443)
    for value in ("https", "0", "70000", "443,8443", "1-2", " ".join(map(str, range(1, 18)))):
        with pytest.raises(BadInput):
            ports(value)


def test_the_admin_api_is_on_this_host() -> None:
    assert admin_address("") is None
    assert admin_address("/run/caddy/admin.sock") == AdminAddress(path="/run/caddy/admin.sock")
    assert admin_address("127.0.0.1:2019") == AdminAddress(host="127.0.0.1", port=2019)
    assert str(admin_address("[::1]:2019")) == "[::1]:2019"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("192.0.2.1:2019", "not a loopback address"),
        ("0.0.0.0:2019", "not a loopback address"),
        ("[::]:2019", "not a loopback address"),
        ("localhost:2019", "not a socket or an address"),
        ("127.0.0.1", "not a socket or an address"),
        ("127.0.0.1:0", "not a port number"),
        ("127.0.0.1:99999", "not a port number"),
        ("300.0.0.1:2019", "not a socket or an address"),
        ("unix//run/caddy.sock", "not a socket or an address"),
        ("/run/../caddy.sock", "without .."),
        ("/" + "a" * 200, "longer than"),
        ("/run/a\x1b", "control"),
    ],
)
def test_what_is_not_the_address_of_an_admin_api_is_refused(value: str, text: str) -> None:
    with pytest.raises(BadInput, match=text):
        admin_address(value)


def test_the_file_for_traefik_is_yaml() -> None:
    assert yaml_file("/etc/traefik/koi.yml") == "/etc/traefik/koi.yml"
    assert yaml_file("") == ""
    for value in ("/etc/traefik/koi.json", "koi.yml", "/etc/traefik/../koi.yml"):
        with pytest.raises(BadInput):
            yaml_file(value)


def test_an_issuer_is_a_word_or_the_url_of_a_directory() -> None:
    assert issuer("Internal") == "internal"
    assert issuer("acme") == "acme"
    for url in ("https://ca.example", "https://[::1]:14000/dir", "https://10.0.0.1:9000/acme/a-b"):
        assert issuer(url) == url


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("selfsigned", "use internal or acme"),
        ("http://ca.example/dir", "not the URL of an ACME directory"),
        ("https://ca.example/{env.HOME}", "not the URL of an ACME directory"),
        ("https://ca.example/a b", "not the URL of an ACME directory"),
        ("https://ca.example:x/", "not the URL of an ACME directory"),
        ("https:///dir", "not the URL of an ACME directory"),
        ("https://user:secret@ca.example/", "has a user or a password"),
        ("https://ca.example/\x1b", "control"),
    ],
)
def test_what_is_not_an_issuer_is_refused(value: str, text: str) -> None:
    with pytest.raises(BadInput, match=text) as refused:
        issuer(value)
    assert "secret" not in str(refused.value)
