"""systemd's file syntax and specifiers, as systemd.syntax(7) and systemd.unit(5) describe them."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from koi_agent.core.errors import BadInput
from koi_agent.core.unit_file.specifiers import expand, unescape
from koi_agent.core.unit_file.syntax import Entry, parse, words


def values(data: bytes) -> list[tuple[str, str, str]]:
    return [(entry.section, entry.key, entry.value) for entry in parse(data).entries]


@pytest.mark.parametrize(
    ("data", "value"),
    [
        pytest.param(b"[A]\nK=v\n", "v", id="plain"),
        pytest.param(b"[A]\nK=v", "v", id="no newline at the end"),
        pytest.param(b"[A]\n \tK \t=\t v w \t\n", "v w", id="whitespace around the ="),
        pytest.param(b"[A]\nK=a = b\n", "a = b", id="the first = separates"),
        pytest.param(b"[A]\nK=a\\\n  b\n", "a   b", id="a backslash becomes a space"),
        pytest.param(
            b"[A]\nK=a\\\n# not this\n ; nor this\nb\n",
            "a b",
            id="a comment between continued lines",
        ),
        pytest.param(
            b"[A]\nK=a\\\n# not continued \\\nb\n",
            "a b",
            id="a backslash does not continue a comment",
        ),
        pytest.param(b"[A]\nK=a\\\n\nb\n", "a", id="an empty line ends a continuation"),
        pytest.param(b"[A]\nK=a\\", "a", id="the end of the file ends a continuation"),
        pytest.param(b"[A]\nK=a\\\\\nb\n", "a\\\\", id="an escaped backslash does not continue"),
        pytest.param(b"[A]\nK=a\\\\\\\nb\n", "a\\\\ b", id="three backslashes continue"),
        pytest.param(
            b"[A]\nK=a\\ \nb\n", "a\\", id="a backslash before whitespace does not continue"
        ),
        pytest.param(b"[A]\r\nK=a\\\r\nb\r\n", "a b", id="lines may end with CR and LF"),
        pytest.param(b"[A]\rK=v\r", "v", id="lines may end with CR"),
        pytest.param(b"[A]\0K=v\0", "v", id="a NUL ends a line"),
        pytest.param(b"\xef\xbb\xbf[A]\nK=v\n", "v", id="a byte order mark is skipped"),
        pytest.param(b"#\xff caf\xe9\n[A]\nK=v\n", "v", id="comments may be in any encoding"),
        pytest.param(b"[A]\nK=#v;w\n", "#v;w", id="comments begin lines only"),
        pytest.param("[A]\nK=käse 🧀\n".encode(), "käse 🧀", id="UTF-8"),
        pytest.param(b"[A]\nK=\n", "", id="empty"),
    ],
)
def test_value_is_what_systemd_reads(data: bytes, value: str) -> None:
    assert values(data) == [("A", "K", value)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"K=v\n", "stands before the first section"),
        (b"[A]\nK v\n", "has no ="),
        (b"[A]\n=v\n", "has no key before the ="),
    ],
)
def test_line_that_is_not_an_assignment_is_ignored_with_a_reason(data: bytes, reason: str) -> None:
    document = parse(data)
    assert document.entries == ()
    assert [line.reason for line in document.ignored] == [reason]


@pytest.mark.parametrize(
    "data", [b"[A\nK=v\n", b"[\n", b'["]\n', b"[A]\nK=\xff\n", b"[A]\n# \nK=a\\\n\xe9"]
)
def test_file_with_an_error_that_stops_systemd_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match=r"^line \d"):
        parse(data)


def test_line_number_of_an_assignment_is_that_of_its_first_line() -> None:
    data = b"# first\n[A]\n\nK=a\\\n#\n b\nL=c\n"
    assert parse(data).entries == (Entry("A", "K", "a  b", 4), Entry("A", "L", "c", 7))


def test_empty_sections_are_known() -> None:
    assert parse(b"[A]\n[X-Container]\n").sections == {"A", "X-Container"}


def test_many_continuations_take_linear_time() -> None:
    assert len(values(b"[A]\nK=\\\n" + b"\\\n" * 32_000)) == 1


@given(st.binary(max_size=400))
@example(b"[A]\nK=\\")
@example(b"[A]\n\xef\xbb\xbf\xef\xbb\xbfK=v")
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    with contextlib.suppress(BadInput):
        for entry in parse(data).entries:
            assert entry.key == entry.key.strip(" \t\n\r")
            assert entry.value == entry.value.strip(" \t\n\r")


@given(st.text(alphabet='[]AK=v \\\n\r\0#;\ufeff"', max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(BadInput):
        parse(text.encode())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        ("A=b  C=d\t", ["A=b", "C=d"]),
        ('"A=b c" X=y', ["A=b c", "X=y"]),
        ("'A=b \"c\"'", ['A=b "c"']),
        ('A="b c"d', ["A=b cd"]),
        ('""', [""]),
        (r"A=\x41\102\u00e9\U0001f9c0\s\t\\\"", ['A=AB\u00e9\U0001f9c0 \t\\"']),
        (r"A=\xc3\xa9", ["A=é"]),
        (r"A=\xff", ["A=\udcff"]),
        (r"'a\'b'", ["a'b"]),
    ],
)
def test_words_are_split_as_by_systemd(value: str, expected: list[str]) -> None:
    assert list(words(value)) == expected


@pytest.mark.parametrize(
    "value", ['A=b "C', "A=b 'C", "A=b C\\", r"A=b \q", r"A=b \x0", r"A=b \x00", r"A=b \ud800"]
)
def test_words_before_an_error_are_valid(value: str) -> None:
    rest = words(value)
    assert next(rest) == "A=b"
    with pytest.raises(BadInput):
        list(rest)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_value_is_split_or_refused(value: str) -> None:
    with contextlib.suppress(BadInput):
        list(words(value))


@given(st.lists(st.text(st.sampled_from("ab =\"'\\%\t"), max_size=8), max_size=6))
def test_quoted_words_are_unquoted(expected: list[str]) -> None:
    def quoted(word: str) -> str:
        return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'

    assert list(words(" ".join(map(quoted, expected)))) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web.service", "web.service|web|web|web|||web|web"),
        ("a-b@c-d.service", "a-b@c-d.service|a-b@c-d|a-b|a/b|c-d|c/d|b|b"),
        (r"a\x2db@.service", r"a\x2db@.service|a\x2db@|a\x2db|a-b|||a\x2db|a-b"),
    ],
)
def test_specifiers_stand_for_parts_of_the_name(name: str, expected: str) -> None:
    assert expand("%n|%N|%p|%P|%i|%I|%j|%J", name, {}) == (expected, ())


def test_specifiers_that_are_not_known_are_left_as_they_are_and_returned() -> None:
    assert expand("%H %% %m %H", "web.service", {}) == ("%H % %m %H", ("%H", "%m"))


def test_specifiers_of_the_host_are_those_of_the_caller() -> None:
    host = {"H": lambda: "box", "m": lambda: None}
    assert expand("%H-%p %m", "web.service", host) == ("box-web %m", ("%m",))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a-b@c-d.service", "/c/d"), ("a-b.service", "/a/b"), (r"a@\x2fx.service", "/x")],
)
def test_the_file_name_is_a_path(name: str, expected: str) -> None:
    assert expand("%f", name, {}) == (expected, ())


def test_a_percent_sign_before_a_digit_is_no_specifier() -> None:
    assert expand("/a%20b", "web.service", {}) == ("/a%20b", ())


def test_percent_sign_without_a_letter_is_not_a_specifier() -> None:
    assert expand("100% of 5%-2 %", "web.service", {}) == ("100% of 5%-2 %", ())


def test_specifier_is_left_if_the_name_can_not_be_unescaped() -> None:
    assert expand("%I", r"a@\x.service", {}) == ("%I", ("%I",))


@pytest.mark.parametrize("text", ["\\", r"\x2", r"\x00", r"\xff", r"\n"])
def test_invalid_escape_sequence_is_not_unescaped(text: str) -> None:
    assert unescape(text) is None


@given(st.text(max_size=40), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_value_expands_for_any_name(value: str, name: str) -> None:
    expand(value, name, {})
