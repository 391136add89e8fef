"""The syntax of single values, in labels and in unit files."""

import pytest

from koi_agent.core.instance import KoiMetadata
from koi_agent.core.metadata.parser import from_labels, from_unit_keys


def label(key: str, value: str) -> KoiMetadata:
    return from_labels({f"koi.{key}": value}, {})


def unit_key(key: str, value: str) -> KoiMetadata:
    return from_unit_keys([("X-Koi", key, value)], {})


def reason(metadata: KoiMetadata) -> str:
    (refusal,) = metadata.refused
    return refusal.reason


@pytest.mark.parametrize("word", ["1", "yes", "Y", "true", "T", "ON"])
def test_unit_files_accept_all_of_systemds_words_for_true(word: str) -> None:
    assert unit_key("Enable", word).enable is True


@pytest.mark.parametrize("word", ["0", "No", "n", "FALSE", "f", "off"])
def test_unit_files_accept_all_of_systemds_words_for_false(word: str) -> None:
    assert unit_key("Enable", word).enable is False


@pytest.mark.parametrize(("word", "value"), [("TRUE", True), (" true ", True), ("False", False)])
def test_labels_accept_true_and_false_in_any_case(word: str, value: bool) -> None:  # noqa: FBT001
    assert label("enable", word).enable is value


@pytest.mark.parametrize("word", ["yes", "1", "on", "", "wahr"])
def test_another_word_in_a_label_is_refused_and_counts_as_no(word: str) -> None:
    metadata = label("enable", word)
    assert metadata.enable is False
    assert reason(metadata).endswith("it counts as no")


@pytest.mark.parametrize(
    ("span", "seconds"),
    [
        ("30", 30),
        ("1min 30s", 90),
        ("1min30s", 90),
        ("2 hours", 7200),
        ("500ms", 1),
        ("1.5s", 2),
        (".5min", 30),
        ("1 2s", 3),
        ("1d", 86400),
        ("1M", 2629800),
        ("1m", 60),
        ("3000000us", 3),
        ("1µs", 1),
        ("1μs", 1),
    ],
)
def test_time_spans_in_unit_files_are_rounded_up_to_seconds(span: str, seconds: int) -> None:
    assert unit_key("HealthInterval", span).health_interval == seconds


@pytest.mark.parametrize(
    "span",
    ["0", "0ms", "infinity", "-1s", "5 parsecs", "12.34.56", "5.h", "1s,", "s", "9" * 30, "900y"],
)
def test_zero_infinite_and_malformed_time_spans_are_refused(span: str) -> None:
    metadata = unit_key("HealthTimeout", span)
    assert (metadata.health_timeout, len(metadata.refused)) == (None, 1)


@pytest.mark.parametrize("text", ["0", "30s", "-1", "1.5", "٣", "", "9" * 13, "9" * 11])
def test_labels_accept_whole_seconds_only(text: str) -> None:
    metadata = label("health.interval", text)
    assert (metadata.health_interval, len(metadata.refused)) == (None, 1)


@pytest.mark.parametrize(("text", "port"), [("1", 1), ("65535", 65535), (" 80 ", 80)])
def test_a_port_is_a_number_of_16_bits(text: str, port: int) -> None:
    assert label("port", text).port == port


@pytest.mark.parametrize("text", ["0", "65536", "-1", "+80", "http", "8o", "٨", "999999", ""])
def test_an_invalid_port_is_refused(text: str) -> None:
    assert label("proxy.port", text).proxy_port is None
    assert len(label("proxy.port", text).refused) == 1


def test_an_invalid_port_in_a_key_is_refused() -> None:
    assert reason(label("65536.name", "x")) == "'65536' is not a port number; use 1 to 65535"
    assert reason(label("0/udp.name", "x")) == "'0' is not a port number; use 1 to 65535"


@pytest.mark.parametrize("name", ["a", "Web Shop", "a.b", "Büro 🖨", "é" * 31, "x" * 63])
def test_a_service_name_is_any_text_of_up_to_63_bytes(name: str) -> None:
    assert label("name", name).name == name


@pytest.mark.parametrize("name", ["", " ", "x" * 64, "é" * 32, "a\nb", "\x1b[2J", "a\u202eb"])
def test_a_service_name_that_is_empty_too_long_or_unsafe_is_refused(name: str) -> None:
    metadata = label("name", name)
    assert (metadata.name, len(metadata.refused)) == (None, 1)


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("_http._tcp", "_http._tcp"),
        ("_DNS-sd._udp", "_dns-sd._udp"),
        ("_a._tcp", "_a._tcp"),
        ("_9p._tcp", "_9p._tcp"),
        ("_abcdefghijklmno._tcp", "_abcdefghijklmno._tcp"),
    ],
)
def test_a_service_type_is_a_name_and_a_protocol(text: str, accepted: str) -> None:
    assert label("type", text).service_type == accepted


@pytest.mark.parametrize(
    "text",
    [
        "http",
        "http.tcp",
        "_http._sctp",
        "_http._tcp.",
        "_http._tcp.local",
        "_x._sub._http._tcp",
        "_http_x._tcp",
        "_abcdefghijklmnop._tcp",
        "_123._tcp",
        "_-a._tcp",
        "_a-._tcp",
        "_a--b._tcp",
        "_._tcp",
        "_é._tcp",
        "",
    ],
)
def test_an_invalid_service_type_is_refused(text: str) -> None:
    metadata = label("type", text)
    assert (metadata.service_type, len(metadata.refused)) == (None, 1)


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("_printer", ("_printer",)),
        ("_scanner,_printer", ("_printer", "_scanner")),
        (" _Printer  _printer ", ("_printer",)),
        ("universal", ("_universal",)),
        (",".join(f"_a{number}" for number in range(8)), tuple(f"_a{n}" for n in range(8))),
    ],
)
def test_subtypes_are_a_list_of_names(text: str, accepted: tuple[str, ...]) -> None:
    assert label("subtypes", text).subtypes == accepted


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "_",
        "_a",
        "_ab.c",
        "_éa",
        "_-a",
        "_a-",
        "x" * 63,
        " ".join(f"_a{n}" for n in range(9)),
    ],
)
def test_an_invalid_list_of_subtypes_is_refused(text: str) -> None:
    metadata = label("subtypes", text)
    assert (metadata.subtypes, len(metadata.refused)) == (None, 1)


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("web", "web"),
        ("Web.Home.ARPA.", "web.home.arpa"),
        ("3com.example", "3com.example"),
        ("x" * 63 + ".lan", "x" * 63 + ".lan"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        (".".join(["x" * 49] * 5) + ".abc", ".".join(["x" * 49] * 5) + ".abc"),
    ],
)
def test_a_dns_name_becomes_lower_case_without_a_final_dot(text: str, accepted: str) -> None:
    assert label("dns.name", text).dns_name == accepted


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a.b..",
        "my app",
        "a_b",
        "-a",
        "a-",
        "*.lan",
        "bücher.example",
        "x" * 64,
        ".".join(["x" * 49] * 5) + ".abcd",
        "192.168.1.2",
        "::1",
        "localhost",
        "Localhost.",
        "\u212ai.lan",
        "xn--99999999.lan",
        "a.xn---0",
    ],
)
def test_an_invalid_dns_name_is_refused(text: str) -> None:
    metadata = label("dns.name", text)
    assert (metadata.dns_name, len(metadata.refused)) == (None, 1)


@pytest.mark.parametrize("path", ["/", "/a?b=c&d", "/%20", "/" + "x" * 1023])
def test_a_health_path_is_valid_in_an_http_request(path: str) -> None:
    assert label("health.path", path).health_path == path


@pytest.mark.parametrize("path", ["live", "", "/a b", "/a\r\nHost: x", "/é", "/" + "x" * 1024])
def test_an_invalid_path_is_refused(path: str) -> None:
    metadata = label("health.path", path)
    assert (metadata.health_path, len(metadata.refused)) == (None, 1)


def test_kind_and_scheme_of_a_check_are_accepted_in_any_case() -> None:
    assert label("health.kind", " HTTP ").health_kind == "http"
    assert label("health.scheme", "Https").health_scheme == "https"
    assert "http or tcp" in reason(label("health.kind", "grpc"))
    assert "http or https" in reason(label("health.scheme", "ftp"))


def test_a_txt_value_may_be_empty_or_contain_an_equals_sign() -> None:
    assert label("txt.flag", "").txt == (("flag", ""),)
    assert label("txt.q", " a=b").txt == (("q", " a=b"),)


@pytest.mark.parametrize("key", ["a=b", "é", "\x1b", "a\x7f"])
def test_a_txt_key_is_printable_ascii_without_an_equals_sign(key: str) -> None:
    assert "is not a TXT key" in reason(label(f"txt.{key}", "v"))


def test_a_txt_string_has_at_most_255_bytes() -> None:
    assert label("txt.k", "v" * 253).txt
    assert "255" in reason(label("txt.k", "v" * 254))
    assert "255" in reason(label("txt.k", "é" * 127))


def test_txt_keys_are_compared_without_regard_to_case() -> None:
    metadata = from_labels({"koi.txt.b": "1", "koi.txt.B": "2"}, {})
    assert metadata.txt == (("B", "2"),)
    assert metadata.refused[0].key == "koi.txt.b"


def test_txt_strings_that_do_not_fit_into_the_record_are_refused() -> None:
    metadata = from_labels({f"koi.txt.{key}": "v" * 250 for key in "gfedcba"}, {})
    assert [key for key, _ in metadata.txt] == ["a", "b", "c", "d", "e"]
    assert [refusal.key for refusal in metadata.refused] == ["koi.txt.f", "koi.txt.g"]


def test_a_txt_record_has_at_most_1300_bytes_including_length_bytes() -> None:
    full = {f"koi.txt.{key}": "v" * 253 for key in "abcde"} | {"koi.txt.f": "v" * 17}
    assert not from_labels(full, {}).refused
    assert len(from_labels(full | {"koi.txt.f": "v" * 18}, {}).refused) == 1


def test_the_refusal_of_a_huge_value_does_not_show_it() -> None:
    assert reason(label("name", "x" * 5000)) == "the value is longer than 4096 characters"


def test_a_reason_shows_a_value_clipped_and_escaped() -> None:
    assert "…" in reason(label("port", "9" * 4000))
    assert len(reason(label("port", "9" * 4000))) < 120
    assert "\\x1b[2J" in reason(label("port", "\x1b[2J"))
    assert "\\udc80" in reason(label("port", "\udc80"))


def test_control_characters_in_a_key_are_escaped_in_its_refusal() -> None:
    (refusal,) = label("\x1b[2J\n", "x").refused
    assert refusal.key == "koi.\\x1b[2J\\x0a"


def test_ports_are_sorted_for_any_order_of_keys() -> None:
    assignments = [("X-Koi", f"Port-{port}-Name", "n") for port in ("443", "53-udp", "53")]
    ports = [port for port, _ in from_unit_keys(assignments, {}).ports]
    assert ports == [(53, "tcp"), (53, "udp"), (443, "tcp")]
