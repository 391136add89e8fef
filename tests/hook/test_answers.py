"""The answers of the hook: pure, from the agent's file and the parameters of a call."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.core.errors import BadInput
from koi_agent.services.hook import messages
from koi_agent.services.hook.answers import FAILED, answer
from koi_agent.services.hook.records import EMPTY, Records

FILE = (
    '{"version":1,"ttl":5,"domains":["internal","2.0.17.172.in-addr.arpa"],\n"names":{\n'
    '"internal":{},\n"wiki.internal":{"1":["wAACAQ=="]},\n"bad.internal":{"1":[7]},\n'
    '"odd.internal":{"1":["?"],"x":["wAACAQ=="]},\n"cut.internal":{"1"\n}}\n'
)
RECORDS = Records(FILE.encode())


def ask(name: object, *types: object, records: Records = RECORDS) -> Any:
    keys = [{"key": {"class": 1, "type": one, "name": name}} for one in types or (1,)]
    return answer(records, {"question": keys})


@pytest.mark.parametrize("name", ["wiki.internal", "WIKI.Internal.", r"wi\107i.internal"])
def test_a_name_is_found_as_it_is_typed(name: str) -> None:
    found = ask(name, 1, 28)
    assert found["rcode"] == 0
    assert len(found["answer"]) == 1


def test_what_is_not_there_is_denied_in_our_domains_only() -> None:
    assert ask("wiki.internal", 28) == {"rcode": 0, "answer": []}
    assert ask("internal") == {"rcode": 0, "answer": []}
    assert ask("none.internal") == {"rcode": 3}
    assert ask("9.2.0.17.172.in-addr.arpa", 12) == {"rcode": 3}
    for name in ("example.org", "wikiinternal", "internal.org", "", ".", "arpa"):
        assert ask(name) == {}


def test_no_word_of_the_file_is_a_name() -> None:
    text = FILE.replace('"internal"', '"names"').replace(".internal", ".names")
    records = Records(text.encode())
    assert ask("names", records=records) == {"rcode": 0, "answer": []}
    assert ask("wiki.names", records=records)["rcode"] == 0


def test_any_has_all_types_and_another_class_none() -> None:
    assert len(ask("wiki.internal", 255)["answer"]) == 1
    key = {"class": 3, "type": 1, "name": "wiki.internal"}
    assert answer(RECORDS, {"question": [{"key": key}]}) == {"rcode": 0, "answer": []}


@pytest.mark.parametrize("name", ["bad.internal", "odd.internal", "cut.internal"])
def test_a_bad_line_costs_its_name_only(name: str) -> None:
    assert ask(name, 255) == FAILED
    assert ask("wiki.internal")["rcode"] == 0


@pytest.mark.parametrize(
    "question",
    [
        None,
        {},
        [],
        [{}],
        [{"key": None}],
        [{"key": {"name": 5, "type": 1}}],
        [{"key": {"name": "wiki.internal", "type": "1"}}],
        [{"key": {"name": "wiki.internal"}}],
        [{"key": {"name": "a..internal", "type": 1}}],
        [{"key": {"name": "\ud800.internal", "type": 1}}],
        [{"key": {"name": "wiki.internal", "type": 1}}] * 99,
    ],
)
def test_a_question_that_is_not_one_leaves_no_name_to_others(question: object) -> None:
    assert answer(RECORDS, {"question": question}) == FAILED


def test_a_file_that_is_not_usable_answers_only_that_it_failed() -> None:
    broken = RECORDS.unusable("no file")
    assert broken.domains == RECORDS.domains
    assert ask("wiki.internal", records=broken) == FAILED
    assert ask("none.internal", records=broken) == FAILED
    assert ask("example.org", records=broken) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        FILE[:-3],
        FILE.replace('"version":1', '"version":2'),
        FILE.replace('"ttl":5', '"ttl":-1'),
        FILE.replace('"ttl":5', '"ttl":"5"'),
        FILE.replace('["internal"', '["internal",5'),
        FILE.replace('["internal"', '["a..b"'),
        FILE.replace('["internal"', '["."'),
        FILE.replace('"domains":[', '"domains":[[['),
        "[" * 100_000 + FILE,
    ],
)
def test_a_file_without_its_first_line_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Records(text.encode())
    assert Records(EMPTY).domains == ()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["question", "x"]), VALUES))
def test_any_parameters_have_an_answer(parameters: dict[str, object]) -> None:
    assert answer(RECORDS, parameters) in (FAILED, {})


@given(st.lists(st.tuples(st.text(max_size=12), st.integers(-9, 70_000)), min_size=1, max_size=3))
def test_any_question_has_an_answer(keys: list[tuple[str, int]]) -> None:
    question = [
        {"key": {"class": 1, "type": kind, "name": f"{name}.internal"}} for name, kind in keys
    ]
    # A backslash at the end of the name escapes the dot before the domain.
    assert answer(RECORDS, {"question": question}).get("rcode") in (0, 2, 3, None)


@given(st.binary(max_size=60) | st.builds(lambda value: json.dumps(value).encode(), VALUES))
def test_any_bytes_are_a_call_or_refused(data: bytes) -> None:
    try:
        call = messages.parse(data)
    except BadInput:
        return
    assert isinstance(call.method, str)


def test_all_interfaces_are_described() -> None:
    info = json.loads(messages.info()[:-1])["parameters"]
    for name in info["interfaces"]:
        described = json.loads(messages.description(name)[:-1])["parameters"]["description"]
        assert described.startswith(f"interface {name}\n")
    for other in (None, 5, "x"):
        error = json.loads(messages.description(other)[:-1])["error"]
        assert error == "org.varlink.service.InterfaceNotFound"
