"""The settings of DNS: what is accepted, and the reason for what is not."""

from ipaddress import ip_network

import pytest

from koi_agent.config.dns import (
    Server,
    Transfers,
    domain,
    listen,
    path,
    reverse_networks,
    servers,
    transfers,
    webhook,
    webhook_host,
)
from koi_agent.config.readers import Listen, outlets
from koi_agent.core.errors import BadInput


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("internal", "internal"),
        ("Home.Example.", "home.example"),
        ("home.arpa", "home.arpa"),
        ("x.home.arpa", "x.home.arpa"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_a_domain_is_normalized(value: str, expected: str) -> None:
    assert domain(value) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("local", "reserved"),
        ("x.local", "reserved"),
        ("localhost", "reserved"),
        ("a.localhost", "reserved"),
        ("invalid", "reserved"),
        ("x.onion", "reserved"),
        ("arpa", "reserved"),
        ("10.in-addr.arpa", "reserved"),
        ("xhome.arpa", "reserved"),
        (".", "not a DNS name"),
        ("*.example", "not a DNS name"),
        ("a..b", "not a DNS name"),
        ("bücher.example", "not a DNS name"),
        ("192.0.2.1", "IP address"),
        (".".join(["a" * 50] * 4), "longer"),
    ],
)
def test_a_domain_that_is_not_usable_is_refused(value: str, text: str) -> None:
    with pytest.raises(BadInput, match=text):
        domain(value)


def test_addresses_of_servers_have_the_port_of_dns() -> None:
    assert servers("192.0.2.1 192.0.2.2:5353 2001:db8::1 [2001:db8::2] [2001:db8::3]:54") == (
        Server("192.0.2.1", 53),
        Server("192.0.2.2", 5353),
        Server("2001:db8::1", 53),
        Server("2001:db8::2", 53),
        Server("2001:db8::3", 54),
    )
    assert [str(one) for one in servers("192.0.2.1 ::1")] == ["192.0.2.1:53", "[::1]:53"]


@pytest.mark.parametrize("value", ["ns.example", "192.0.2.1:", "192.0.2.1:0", "[::1", "300.1.1.1"])
def test_what_is_not_the_address_of_a_server_is_refused(value: str) -> None:
    with pytest.raises(BadInput):
        servers(value)


def test_transfers_are_allowed_by_address_network_and_key() -> None:
    assert transfers("192.0.2.1 2001:db8::/32 key:Second.") == Transfers(
        networks=(ip_network("192.0.2.1/32"), ip_network("2001:db8::/32")), keys=("second",)
    )
    assert transfers("") == Transfers()


@pytest.mark.parametrize("value", ["192.0.2.1/24", "any", "key:", "key:a b/c", "key:../x", "*"])
def test_what_allows_no_transfer_is_refused(value: str) -> None:
    with pytest.raises(BadInput):
        transfers(value)


def test_dns_listens_on_addresses_only() -> None:
    assert listen("5354 192.0.2.1:53") == (
        Listen(host="127.0.0.1", port=5354),
        Listen(host="::1", port=5354),
        Listen(host="192.0.2.1", port=53),
    )
    with pytest.raises(BadInput, match="is a path"):
        listen("/run/dns.sock")


def test_a_directory_is_an_absolute_path() -> None:
    assert path("") == ""
    assert path("/run/hosts.d/") == "/run/hosts.d"
    for value in ("hosts.d", "/run/../etc", "/a\x1bb", " "):
        with pytest.raises(BadInput):
            path(value)


def test_outlets_are_named_or_chosen_by_a_word_alone() -> None:
    read = outlets("hosts", "server")
    assert read("auto") == ("auto",)
    assert read("Server hosts server") == ("server", "hosts")
    for value in ("auto hosts", "off server", "bind", "server,hosts"):
        with pytest.raises(BadInput):
            read(value)


def test_networks_have_zones_for_reverse_names() -> None:
    assert reverse_networks("10.0.3.0/24 10.0.0.0/8 2001:db8::/60 192.0.2.1") == (
        ip_network("10.0.3.0/24"),
        ip_network("10.0.0.0/8"),
        ip_network("2001:db8::/60"),
        ip_network("192.0.2.1/32"),
    )


@pytest.mark.parametrize(
    "value",
    ["10.0.3.0/25", "10.0.3.0/23", "0.0.0.0/0", "::/0", "2001:db8::/62", "10.0.3.1/24", "lan"],
)
def test_a_network_without_a_zone_of_its_own_is_refused(value: str) -> None:
    with pytest.raises(BadInput):
        reverse_networks(value)


@pytest.mark.parametrize(
    ("value", "url", "host"),
    [
        ("", "", ""),
        ("http://127.0.0.1:8888", "http://127.0.0.1:8888", "127.0.0.1"),
        ("https://[2001:db8::1]:443/", "https://[2001:db8::1]:443", "2001:db8::1"),
        ("https://dns.example/a/b/", "https://dns.example/a/b", "dns.example"),
    ],
)
def test_a_webhook_is_a_url(value: str, url: str, host: str) -> None:
    assert webhook(value) == url
    assert not url or webhook_host(url) == host


@pytest.mark.parametrize(
    "value",
    [
        *("dns.example", "ftp://dns.example", "http://", "http:///x", "http://a b", "http://[x]"),
        *(
            "http://a:0",
            "http://a:99999",
            "http://a:b",
            "http://a/?b",
            "http://a/#b",
            "http://\u00fc",
        ),
        *("http://a/\ud800", "http://[192.0.2.1]", "http://a/\x00", " "),
    ],
)
def test_what_is_not_the_url_of_a_webhook_is_refused(value: str) -> None:
    with pytest.raises(BadInput):
        webhook(value)


def test_a_password_in_the_url_of_a_webhook_is_refused_and_not_shown() -> None:
    for value in ("http://me:secret@a", "http://me:secret@a?b"):
        with pytest.raises(BadInput, match="password") as caught:
            webhook(value)
        assert "secret" not in str(caught.value)
