"""systemd's file syntax and the specifiers, as systemd.syntax(7) and systemd.unit(5) have them."""

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
        pytest.param(b"[A]\nK=a = b\n", "a = b", id="the first = counts"),
        pytest.param(b"[A]\nK=a\\\n  b\n", "a   b", id="a backslash becomes a space"),
        pytest.param(b"[A]\nK=a\\\n# not this\n ; nor this\nb\n", "a b", id="comment inside"),
        pytest.param(b"[A]\nK=a\\\n# not continued \\\nb\n", "a b", id="comments don't continue"),
        pytest.param(b"[A]\nK=a\\\n\nb\n", "a", id="an empty line ends a continuation"),
        pytest.param(b"[A]\nK=a\\", "a", id="the end of the file ends a continuation"),
        pytest.param(b"[A]\nK=a\\\\\nb\n", "a\\\\", id="an escaped backslash does not continue"),
        pytest.param(b"[A]\nK=a\\\\\\\nb\n", "a\\\\ b", id="three do"),
        pytest.param(b"[A]\nK=a\\ \nb\n", "a\\", id="nor does one before whitespace"),
        pytest.param(b"[A]\r\nK=a\\\r\nb\r\n", "a b", id="lines may end as on DOS"),
        pytest.param(b"[A]\rK=v\r", "v", id="or as on old Macs"),
        pytest.param(b"[A]\0K=v\0", "v", id="a NUL ends a line"),
        pytest.param(b"\xef\xbb\xbf[A]\nK=v\n", "v", id="a byte order mark is skipped"),
        pytest.param(b"#\xff caf\xe9\n[A]\nK=v\n", "v", id="comments may be in any encoding"),
        pytest.param(b"[A]\nK=#v;w\n", "#v;w", id="comments begin lines only"),
        pytest.param("[A]\nK=käse 🧀\n".encode(), "käse 🧀", id="UTF-8"),
        pytest.param(b"[A]\nK=\n", "", id="a reset"),
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
def test_line_that_says_nothing_is_ignored_with_a_reason(data: bytes, reason: str) -> None:
    document = parse(data)
    assert document.entries == ()
    assert [line.reason for line in document.ignored] == [reason]


@pytest.mark.parametrize(
    "data", [b"[A\nK=v\n", b"[\n", b'["]\n', b"[A]\nK=\xff\n", b"[A]\n# \nK=a\\\n\xe9"]
)
def test_file_that_systemd_reads_no_further_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match=r"^line \d"):
        parse(data)


def test_line_number_is_where_an_assignment_begins() -> None:
    data = b"# first\n[A]\n\nK=a\\\n#\n b\nL=c\n"
    assert parse(data).entries == (Entry("A", "K", "a  b", 4), Entry("A", "L", "c", 7))


def test_empty_sections_are_known() -> None:
    assert parse(b"[A]\n[X-Container]\n").sections == {"A", "X-Container"}


def test_many_continuations_take_linear_time() -> None:
    assert len(values(b"[A]\nK=\\\n" + b"\\\n" * 32_000)) == 1


@given(st.binary(max_size=400))
@example(b"[A]\nK=\\")
@example(b"[A]\n\xef\xbb\xbf\xef\xbb\xbfK=v")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(BadInput):
        for entry in parse(data).entries:
            assert entry.key == entry.key.strip(" \t\n\r")
            assert entry.value == entry.value.strip(" \t\n\r")


@given(st.text(alphabet='[]AK=v \\\n\r\0#;\ufeff"', max_size=60))
def test_any_text_of_syntax_is_read_or_refused(text: str) -> None:
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
def test_words_are_split_as_systemd_does(value: str, expected: list[str]) -> None:
    assert list(words(value)) == expected


@pytest.mark.parametrize(
    "value", ['A=b "C', "A=b 'C", "A=b C\\", r"A=b \q", r"A=b \x0", r"A=b \x00", r"A=b \ud800"]
)
def test_words_before_a_fault_are_good(value: str) -> None:
    rest = words(value)
    assert next(rest) == "A=b"
    with pytest.raises(BadInput):
        list(rest)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_value_is_words_or_refused(value: str) -> None:
    with contextlib.suppress(BadInput):
        list(words(value))


@given(st.lists(st.text(st.sampled_from("ab =\"'\\%\t"), max_size=8), max_size=6))
def test_quoted_words_come_back(given_words: list[str]) -> None:
    def quoted(word: str) -> str:
        return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'

    assert list(words(" ".join(map(quoted, given_words)))) == given_words


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web.service", "web.service|web|web|web|||web|web"),
        ("a-b@c-d.service", "a-b@c-d.service|a-b@c-d|a-b|a/b|c-d|c/d|b|b"),
        (r"a\x2db@.service", r"a\x2db@.service|a\x2db@|a\x2db|a-b|||a\x2db|a-b"),
    ],
)
def test_specifiers_stand_for_parts_of_the_name(name: str, expected: str) -> None:
    assert expand("%n|%N|%p|%P|%i|%I|%j|%J", name) == (expected, ())


def test_specifiers_of_the_host_are_left_and_named() -> None:
    assert expand("%H %% %m %H", "web.service") == ("%H % %m %H", ("%H", "%m"))


def test_percent_that_is_no_specifier_is_silent() -> None:
    assert expand("100% of 5%-2 %", "web.service") == ("100% of 5%-2 %", ())


def test_name_that_can_not_be_unescaped_leaves_its_specifier() -> None:
    assert expand("%I", r"a@\x.service") == ("%I", ("%I",))


@pytest.mark.parametrize("text", ["\\", r"\x2", r"\x00", r"\xff", r"\n"])
def test_bad_escapes_are_no_text(text: str) -> None:
    assert unescape(text) is None


@given(st.text(max_size=40), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_value_and_name_expand(value: str, name: str) -> None:
    expand(value, name)
