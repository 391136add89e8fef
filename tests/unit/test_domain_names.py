"""Names of DNS as they are typed, and in the one form in which they are compared."""

import dns.exception
import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.core.domain_names import canonical, parse, upwards, wire
from koi_agent.core.errors import BadInput


@pytest.mark.parametrize(
    ("text", "labels", "shown"),
    [
        ("WIKI.Internal.", (b"WIKI", b"Internal"), "wiki.internal"),
        ("wiki.internal", (b"wiki", b"internal"), "wiki.internal"),
        (r"My\032Web\.1._http._tcp.x", (b"My Web.1", b"_http", b"_tcp", b"x"), None),
        (r"a\\b.x", (b"a\\b", b"x"), r"a\092b.x"),
        ("b\u00fccher.x", (b"b\xc3\xbccher", b"x"), r"b\195\188cher.x"),
        (r"\000.x", (b"\0", b"x"), r"\000.x"),
        (".", (), ""),
        ("", (), ""),
    ],
)
def test_names_are_parsed_as_they_are_typed(
    text: str, labels: tuple[bytes, ...], shown: str | None
) -> None:
    assert parse(text) == labels
    if shown is not None:
        assert canonical(labels) == shown
    assert parse(canonical(labels)) == tuple(label.lower() for label in labels)
    assert dns.name.from_wire(wire(labels), 0)[0].labels == (*labels, b"")


@pytest.mark.parametrize(
    "text",
    ["a..b", "..", ".a", "a\\", r"a\25", r"a\256", "a" * 64, ".".join(["a" * 60] * 5), "\ud800.x"],
)
def test_what_is_not_a_name_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse(text)


def test_the_names_above_one_end_before_the_root() -> None:
    assert [*upwards("a.b.c")] == ["a.b.c", "b.c", "c"]
    assert [*upwards(canonical(parse(r"a\.b.c")))] == [r"a\046b.c", "c"]
    assert [*upwards("")] == []


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=3))
def test_every_name_has_one_form_that_is_read_again(labels: list[bytes]) -> None:
    text = canonical(tuple(labels))
    assert text.isascii()
    assert parse(text) == tuple(label.lower() for label in labels)
    assert len([*upwards(text)]) == len(labels)
    assert parse(dns.name.Name([*labels, b""]).to_text()) == tuple(labels)


@given(st.text(max_size=20))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        labels = parse(text)
    except BadInput:
        return
    assert all(0 < len(label) < 64 for label in labels)
