"""The domain filter of a webhook, with domains and with regular expressions of Go."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.capabilities.dns.webhook.filter import DomainFilter
from koi_agent.capabilities.dns.webhook.patterns import Pattern, TooComplex
from koi_agent.capabilities.dns.webhook.spelling import plain_text, same_name, unicode_name
from koi_agent.core.errors import BadInput


@pytest.mark.parametrize(
    ("answer", "sent", "held"),
    [
        (None, ["a.b"], []),
        ({}, ["a.b"], []),
        ({"include": [], "filters": None}, ["a.b"], []),
        ({"include": ["b"]}, ["b", "a.b"], ["ab", "b.a"]),
        ({"filters": ["b"]}, ["a.b"], ["a.c"]),
        ({"include": [".b"]}, ["a.b"], ["b"]),
        ({"include": ["", "B."]}, ["a.b"], ["a.c"]),
        ({"include": [""]}, ["a.b"], []),
        ({"exclude": ["b"]}, ["a.c"], ["a.b", "b"]),
        ({"include": ["b"], "exclude": ["a.b"]}, ["c.b"], ["a.b", "x.a.b"]),
        ({"include": ["a.b"], "exclude": ["b"]}, [], ["a.b"]),
        ({"include": ["b\u00fccher"]}, ["a.xn--bcher-kva"], ["a.b"]),
        ({"regexInclude": r"^[a-z]+\.b$"}, ["a.b"], ["1.b", "a.b.c"]),
        ({"regexExclude": r"^x"}, ["a.b"], ["x.b"]),
        ({"regexInclude": "b", "regexExclude": "x"}, ["a.b"], ["x.b", "a.c"]),
        ({"regexInclude": "^b\u00fccher"}, ["xn--bcher-kva.a"], ["bcher.a"]),
        ({"regexInclude": "((((a*b*)*c*)*d*)*e*)*" * 50 + "!"}, [], ["abcde" * 40]),
    ],
)
def test_a_filter_permits_names(answer: object, sent: list[str], held: list[str]) -> None:
    domains = DomainFilter(answer)
    assert [name for name in (*sent, *held) if not domains.refusal(name)] == sent


@pytest.mark.parametrize(
    "answer",
    [
        *([], 5, "b", {"include": "b"}, {"include": [5]}, {"exclude": {}}, {"regexInclude": 5}),
        *({"include": ["a"], "regexInclude": "b"}, {"exclude": ["a"], "regexExclude": "b"}),
        *({"regexInclude": "("}, {"regexExclude": "a{2000}"}, {"regexInclude": "a" * 5000}),
        {"include": ["\ud800.b"]},
    ],
)
def test_a_filter_that_can_not_be_read_is_refused(answer: object) -> None:
    with pytest.raises(BadInput):
        DomainFilter(answer)


PATTERNS = (
    *(r"^([a-z0-9-]+\.)*example\.com$", "a*b", "(a|b)+c{2,3}$", r"\bfoo\b", "[^a-c]+x", "^$"),
    *("(?i)WEB", "x{0}y", "(a?){5}a{5}", r".*\.(home|lan)$", r"[\w.-]+\.c", "(?P<a>x)(?:y|z)"),
    *("a{2,}", "[]a]+", "[a-]x", r"\.\d\D\s*", "a|b|", "(?i:A)b", "x*?y+?", r"^\Bf"),
)


@given(st.sampled_from(PATTERNS), st.text("abcfoxyzWEB.-1example com]", max_size=16))
def test_patterns_match_what_python_matches(pattern: str, text: str) -> None:
    assert Pattern(pattern).search(text) == bool(re.search(pattern, text))


@pytest.mark.parametrize(
    ("pattern", "text", "is_found"),
    [
        (r"\Qa.b\E$", "a.b", True),
        (r"\Qa.b\E$", "axb", False),
        ("[[:alpha:]]+[[:^digit:]]1", "ab1", True),
        (r"\Aa\z", "ab", False),
        ("(?s-i:a)B", "aB", True),
    ],
)
def test_patterns_of_go_that_python_does_not_have(
    pattern: str, text: str, *, is_found: bool
) -> None:
    assert Pattern(pattern).search(text) == is_found


@pytest.mark.parametrize(
    "pattern",
    [
        *("(", "a)", "[", "[]", "*a", "a{5,2}", "a{2000}", r"\p{L}", "(?<!a)", "\\", "(?=a)"),
        *("[z-a]", "(" * 40 + ")" * 40, "(?x)a", r"\1"),
    ],
)
def test_patterns_that_go_does_not_have_are_refused(pattern: str) -> None:
    with pytest.raises(BadInput):
        Pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["(((a{100}){100}){100}){100}", "(a*a*b*)*" * 99, "(a|a)*", "((((a*)*)*)*)*"]
)
def test_patterns_that_take_python_forever_end(pattern: str) -> None:
    assert not Pattern(f"{pattern}!").search("a" * 250)


def test_a_pattern_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(TooComplex):
        Pattern("((){1000}){1000}").search("a" * 250)


def test_names_have_one_spelling() -> None:
    decomposed = unicodedata.normalize("NFD", "b\u00fccher.internal")
    for name in ("B\u00dcCHER.Internal.", "b\u00fccher\u3002internal", decomposed):
        assert same_name(name) == "xn--bcher-kva.internal"
    assert unicode_name("xn--bcher-kva.internal") == "b\u00fccher.internal"
    assert unicode_name("xn--\ud800.xn--99999999999.a") == "xn--\ud800.xn--99999999999.a"
    for name in ("\ud800.internal", "\u00fc" * 100, "a" * 2000):
        with pytest.raises(BadInput):
            same_name(name)


@given(st.text())
def test_any_text_is_a_name_or_is_refused(text: str) -> None:
    try:
        name = same_name(text)
    except BadInput:
        return
    assert name.isascii()
    unicode_name(name)
    plain_text(text)
