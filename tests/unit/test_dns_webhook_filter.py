"""The domain filter of a webhook, and the spelling of names."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.capabilities.dns.webhook.filter import DomainFilter
from koi_agent.capabilities.dns.webhook.spelling import plain_text, same_name
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
        ({"regexInclude": "^a"}, [], ["a.b"]),
        ({"regexExclude": "^x"}, [], ["a.b", "x.b"]),
        ({"regexInclude": "", "regexExclude": None}, ["a.b"], []),
    ],
)
def test_a_filter_permits_names(answer: object, sent: list[str], held: list[str]) -> None:
    domains = DomainFilter(answer)
    assert [name for name in (*sent, *held) if not domains.refusal(name)] == sent


@pytest.mark.parametrize(
    "answer",
    [
        *([], 5, "b", {"include": "b"}, {"include": [5]}, {"exclude": {}}),
        {"include": ["\ud800.b"]},
    ],
)
def test_a_filter_that_can_not_be_read_is_refused(answer: object) -> None:
    with pytest.raises(BadInput):
        DomainFilter(answer)


def test_names_have_one_spelling() -> None:
    decomposed = unicodedata.normalize("NFD", "b\u00fccher.internal")
    for name in ("B\u00dcCHER.Internal.", "b\u00fccher\u3002internal", decomposed):
        assert same_name(name) == "xn--bcher-kva.internal"
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
    plain_text(text)
