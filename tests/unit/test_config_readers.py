"""Parsing of the text of one setting."""

import pytest

from koi_agent.config import Listen
from koi_agent.config.readers import (
    backend_list,
    hosts,
    listeners,
    number,
    one_of,
    span,
    unit_patterns,
)
from koi_agent.core.errors import BadInput

KNOWN = ("docker", "podman", "systemd")
LOOPBACK = [Listen(host="127.0.0.1", port=8080), Listen(host="::1", port=8080)]


@pytest.mark.parametrize(
    ("text", "followed"),
    [
        ("auto", KNOWN),
        ("systemd", ("systemd",)),
        ("SystemD,systemd", ("systemd",)),
        ("systemd, auto\tsystemd", KNOWN),
        ("systemd\tpodman", ("systemd", "podman")),
        ("none", ()),
        ("None", ()),
    ],
)
def test_backends_are_separated_by_spaces_or_commas(text: str, followed: tuple[str, ...]) -> None:
    assert backend_list(text, KNOWN) == followed


@pytest.mark.parametrize("text", ["none systemd", "rkt", "systemd;auto", "\x1b", "systemd\x0b"])
def test_other_names_than_those_of_backends_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        backend_list(text, KNOWN)


def test_another_name_of_a_backend_counts_where_the_backend_is_known() -> None:
    with pytest.raises(BadInput, match="'k8s' is not a backend; write auto, docker"):
        backend_list("k8s", KNOWN)
    assert backend_list("k8s", (*KNOWN, "kubernetes")) == ("kubernetes",)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1", 1.0), ("1.5s", 1.5), ("2min 500ms", 120.5), ("1d", 86400.0), ("1000000us", 1.0)],
)
def test_a_span_has_fractions_of_a_second(text: str, seconds: float) -> None:
    assert span(1, 86_400)(text) == seconds


@pytest.mark.parametrize(
    "text", ["0", "999999us", "1d 1us", "infinity", "-1", "1 fortnight", "1e3"]
)
def test_a_span_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"is out of range; use 1 to 86400 seconds|is not a time"):
        span(1, 86_400)(text)


def test_a_number_and_a_word_have_their_limits() -> None:
    assert [number(1, 100)(text) for text in ("1", " 100 ", "007")] == [1, 100, 7]
    for text in ("0", "101", "-1", "1.5", "", "1e1"):
        with pytest.raises(BadInput):
            number(1, 100)(text)
    assert one_of("auto", "off")("Auto") == "auto"
    with pytest.raises(BadInput, match="auto or off"):
        one_of("auto", "off")("on")


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("", ()),
        ("web.service", ("web.service",)),
        ("a.service  'b.service' \"c.service\" a.service", ("a.service", "b.service", "c.service")),
        ("*", ("*",)),
        ("web*", ("web*",)),
        ("web-?.service", ("web-?.service",)),
        ("web*.serv[!x]ce", ("web*.serv[!x]ce",)),
        (r"dev-\x2d.service", (r"dev-\x2d.service",)),
        ("getty@tty[1-4].service", ("getty@tty[1-4].service",)),
    ],
)
def test_patterns_are_names_and_globs_of_services(text: str, patterns: tuple[str, ...]) -> None:
    assert unit_patterns(text) == patterns


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("web", "matches no service; write a name like web.service"),
        ("web.socket", "matches no service"),
        ("*.socket", "matches no service"),
        ("web[12]", "matches no service"),
        ("web?", "matches no service"),
        ("/etc/*.service", "is not a unit name or pattern"),
        ("é.service", "is not a unit name or pattern"),
        ("a[.service", "is not a unit name or pattern"),
        ("'a b.service'", "is not a unit name or pattern"),
        ("''", "is not a unit name or pattern"),
        ("'a.service", "a quote is left open"),
        ("a" * 300, "is longer than a unit name, 255 characters"),
        ("\x1b[31m.service", "is not a unit name or pattern"),
        (" ".join(f"{i}.service" for i in range(257)), "257 patterns are too many"),
    ],
)
def test_patterns_that_match_nothing_are_refused(text: str, reason: str) -> None:
    with pytest.raises(BadInput) as refused:
        unit_patterns(text)
    assert reason in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", []),
        ("8080", LOOPBACK),
        ("8080 127.0.0.1:8080", LOOPBACK),
        ("192.0.2.1:80", [Listen(host="192.0.2.1", port=80)]),
        ("[2001:DB8:0::1]:80", [Listen(host="2001:db8::1", port=80)]),
        ("*:65535", [Listen(host="0.0.0.0", port=65535), Listen(host="::", port=65535)]),
        ("'/run/a b/http.sock'", [Listen(path="/run/a b/http.sock")]),
    ],
)
def test_sockets_are_ports_addresses_and_paths(text: str, meant: list[Listen]) -> None:
    assert list(listeners(text)) == meant


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "65536",
        "localhost:80",
        ":80",
        "::1:80",
        "[::1]",
        "256.0.0.1:80",
        "[::g]:80",
        "[1:2]:80",
        "1.2.3:80",
        "http.sock",
        "@abstract",
        "/run/../http.sock",
        "/run/",
        "/",
        "/" + "x" * 107,
        "'/run/\\x1b.sock'",
        "'",
        " ".join(f"127.0.0.1:{port}" for port in range(1, 18)),
    ],
)
def test_other_sockets_are_refused(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        listeners(text)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("www.example.org", ("www.example.org",)),
        ("WWW.Example.ORG. www.example.org nas", ("www.example.org", "nas")),
        ("192.0.2.1 [2001:DB8:0::1] 2001:db8::2", ("192.0.2.1", "2001:db8::1", "2001:db8::2")),
        ("xn--bcher-kva.example a_b", ("xn--bcher-kva.example", "a_b")),
    ],
)
def test_hosts_are_names_and_addresses(text: str, names: tuple[str, ...]) -> None:
    assert hosts(text) == names


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "*.example.org",
        "www.example.org:80",
        "http://www.example.org",
        "a..b",
        ".",
        "-a",
        "a-",
        "192.0.2",
        "256.0.0.1",
        "[a]",
        "b\u00fccher.example",
        "x" * 254,
        "'a b'",
        " ".join(f"h{number}" for number in range(65)),
    ],
)
def test_other_hosts_are_refused(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        hosts(text)
    assert str(refused.value).isprintable()
