"""Each rule of language finds its bad example, and lets a good one pass."""

import pytest

from tests.language import check

BAD = {
    "The plan is made anew.": "anew",
    "It is asked no more.": "no more",
    "Whoever connects gets it.": "Whoever",
    "the units whom it serves": "whom",
    "The registry is told of it.": "told",
    "It tells of a loss.": "tells of",
    "a container, or be it": "be it",
    "Where there is none it is none.": "is none",
    "It is as good as gone.": "as good as",
    "It waits for ever.": "for ever",
    "Somebody has to ask.": "Somebody",
    "There is nobody behind it.": "nobody",
    "Anybody may read.": "Anybody",
    "No one listens.": "No one",
    "somebody else's name": "somebody",
    "another else's name": "else's",
    "Ask an instance whether he runs.": "he",
    "It is of no use here.": "of no use",
    "The check is twofold.": "twofold",
    "It has yet to come.": "yet to",
    "the place whence it came": "whence",
    "What sleeps is let sleep.": "is let",
    "The bus says nothing.": "says nothing",
    "It never heard of that.": "heard of",
    "A unit on its way.": "on its way",
    "Once it is well again, it is announced.": "is well",
    "A wish of the planner.": "wish",
    "This is no unit name.": "is no",
    "It waits, for it is slow.": ", for it is",
    "The unit who asked.": "who",
    "It is done. What was new is sent.": "What was",
    "It tells whether the unit runs.": "tells whether",
    "Events come in flocks.": "flocks",
    "It was mended.": "mended",
    "It never spoke of that.": "spoke of",
    "It lists, then follows ...": "...",
    "It lists, then follows…": "…",
}

GOOD = (
    "Return no more than 25 entries.",
    "Run as the user `nobody`, nobody:x:65534.",
    "There is no such unit.",
    "The unit is no longer loaded.",
    "The well-known name is well known.",
    "An administrator who masked the unit.",
    "One of several listeners is chosen.",
    "Units whose files are on disk.",
    "What happened? It stopped.",
    "koi-runtime [OPTIONS...] PATTERN...",
    "The file 65534 and the `whoever` literal.",
    "The time of use of a socket.",
    "It is published again, forever.",
)


def words(path: str, source: str) -> list[str]:
    return [finding.what for finding in check(path, source)]


@pytest.mark.parametrize(("text", "turn"), BAD.items())
def test_a_banned_turn_is_found(text: str, turn: str) -> None:
    assert f'"{turn}"' in words("README.md", text)


@pytest.mark.parametrize("text", GOOD)
def test_plain_language_passes(text: str) -> None:
    assert words("README.md", text) == []


def test_a_turn_is_found_over_the_end_of_a_line_and_has_the_line_where_it_begins() -> None:
    (found,) = check("README.md", "# Title\n\nThe unit is no\nmore, and gone.\n")
    assert (found.line, found.what) == (3, '"no more"')
    assert str(found).startswith('README.md:3: "no more": ')


@pytest.mark.parametrize(
    "source",
    [
        '"""A module for everybody."""\n',
        "# a comment\n# for everybody\n",
        "x = 1  # read by everybody\n",
        'x = 1\n"""Read by everybody."""\n',
        'raise OSError("read by everybody")\n',
        'log.warning(f"{name} is read by everybody")\n',
        'x = (\n    "read by "\n    "everybody"\n)\n',
    ],
)
def test_python_is_searched_in_comments_docstrings_and_texts(source: str) -> None:
    assert words("koi_agent/x.py", source) == ['"everybody"']


@pytest.mark.parametrize("source", ["everybody = 1\n", 'x = "everybody"\n', '"""``everybody``"""'])
def test_names_and_single_words_of_code_are_not_prose(source: str) -> None:
    assert words("koi_agent/x.py", source) == []


def test_code_between_fences_is_not_prose_and_hides_no_prose() -> None:
    text = "```\n$ nobody\n```\n\nDone anew.\n\n```\n$ somebody\n```\n"
    assert [(one.line, one.what) for one in check("README.md", text)] == [(5, '"anew"')]


def test_an_ellipsis_is_allowed_in_a_text_of_code() -> None:
    assert words("koi_agent/x.py", 'x = "cut here…"\n') == []


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        ("Return the unit's name.", None),
        ("Parse, then return.", None),
        ("Tell its name.", "Tell"),
        ("Say it.", "Say"),
        ("Have a look.", "Have"),
        ("Find the unit of a process.", None),
        ("Find out which unit it is.", "Find"),
        ("Make sure that it runs.", "Make"),
        ("The name of a unit.", "The"),
        ("``config``: the file.", "``config``"),
        ("Returns the name.", "Returns"),
    ],
)
def test_a_function_begins_with_a_verb_of_the_list(document: str, wrong: str | None) -> None:
    source = f'def f():\n    """{document}"""\n'
    assert words("koi_agent/x.py", source) == ([f'first word "{wrong}"'] if wrong else [])


@pytest.mark.parametrize(
    "head", ["@property\ndef f(self):", "@pytest.fixture(scope='x')\ndef f():", "class F:"]
)
def test_a_noun_phrase_describes_a_property_a_fixture_or_a_class(head: str) -> None:
    assert words("koi_agent/x.py", f'{head}\n    """The unit name."""\n') == []
    assert words("koi_agent/x.py", f'{head}\n    """Tell the unit name."""\n') == [
        'first word "Tell"'
    ]


LONG = " ".join(["Word"] * 25)


@pytest.mark.parametrize("path", ["README.md", "packaging/man/koi-runtime.1.scd"])
@pytest.mark.parametrize(
    ("text", "count"),
    [
        (f"{LONG}.", 0),
        (f"{LONG} more.", 1),
        (f"{LONG}\nover two lines.", 1),
        (f"- {LONG}\n- another item", 0),
        (f"{LONG}. {LONG}.", 0),
        (f"| {LONG} | {LONG} |", 0),
        (f"```\n{LONG} {LONG}\n```", 0),
        (f"{LONG} `a b`.", 1),
        ("One of `a b c d`, `e f g h` and `i j k l`. " * 20, 0),
        (f"{LONG[5:]} `one word of code here`.", 0),
    ],
)
def test_sentences_of_documents_have_an_end(path: str, text: str, count: int) -> None:
    assert len(words(path, text)) == count


def test_bold_words_and_references_of_a_manual_count_once() -> None:
    many = ", ".join(f"*word{at}*" for at in range(30))
    assert words("packaging/man/x.1.scd", f"The states {many} and _x_.") == []
    assert words("packaging/man/x.1.scd", f"{LONG[5:]} *koi-runtime.conf*(5).") == []


def test_a_heading_of_a_definition_is_not_part_of_the_sentence_below_it() -> None:
    text = f"*--option*=_X_ {LONG[:30]}\n\t{LONG}.\n"
    assert words("packaging/man/x.1.scd", text) == []
