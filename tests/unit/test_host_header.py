"""A Host header is compared by the address that it means, not by its spelling."""

import pytest

from koi_agent.publishers.http.host_header import is_own_host, parse_address

V4, V6, LINK = "192.0.2.1", "2001:db8::1", "fe80::1"


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (V4, V4),
        (f"{V4}:80", f"::ffff:{V4}"),
        ("[::ffff:192.0.2.1]:80", V4),
        ("[::FFFF:c000:201]", f"::ffff:{V4}"),
        (f"[{V6}]", V6),
        ("[2001:DB8:0:0:0:0:0:1]:80", V6),
        ("[2001:0db8::0001]", V6),
        ("[2001:db8::0.0.0.1]", V6),
        (f"[{LINK}]:80", LINK),
        (f"[{LINK}%eth0]", LINK),
        (f"[{LINK}%25eth0.5]:80", f"{LINK}%2"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("[0:0:0:0:0:0:0:1]:1", "127.0.0.1"),
        ("localhost:", V6),
        (" LOCALHOST ", V4),
    ],
)
def test_each_spelling_of_the_own_address_is_own(header: str, address: str) -> None:
    assert is_own_host(header, parse_address(address))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "192.0.2.2",
        "192.0.2.01",
        "192.0.513",
        "3221225985",
        "[192.0.2.2]",
        "[::ffff:192.0.2.2]",
        "[::192.0.2.1]",
        "[fe80::2%eth0]",
        "[fe80::1%]",
        "[fe80::1%eth0",
        "192.0.2.1%eth0",
        "localhost%eth0",
        "[localhost]",
        "2001:db8::1",
        "192.0.2.1:80:80",
        "192.0.2.1 evil.example",
        "127.0.0.2",
    ],
)
def test_other_hosts_are_not_own(header: str) -> None:
    assert not is_own_host(header, parse_address(V4))
