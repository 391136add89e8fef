"""A few properties of many objects, read as the whole reply is read."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koi_agent.bus.reader import BIG, LITTLE, unmarshal
from koi_agent.bus.selection import MANAGED_OBJECTS, Selection, Wanted, managed_objects
from koi_agent.bus.variants import Variant
from koi_agent.core.errors import BadInput
from tests.bus.wire import VALUES, body_of

INTERFACE, OTHER = "t.Thing", "t.Other"
PORT: Selection = {"port": Wanted("port", "q", 0), "kind": Wanted("kind", "s", "?")}
SELECTION: Selection = {
    "Name": Wanted("name", "s", ""),
    "Stale": Wanted("stale", "b", default=False),
    "Ports": Wanted("ports", PORT, ()),
    "Tags": Wanted("tags", "as", ()),
}
Objects = dict[str, dict[str, dict[str, Any]]]

text = st.sampled_from(["", "web", "Name", "Ports", "Backend", "wörld", "x" * 40])
ports = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "port": st.integers(0, 65535).map(lambda one: Variant("q", one)),
            "kind": text.map(lambda one: Variant("s", one)),
            "Name": text.map(lambda one: Variant("s", one)),
        },
    ),
    max_size=3,
).map(lambda some: Variant("aa{sv}", some))
anything = VALUES.map(lambda one: Variant(*one))
entries: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "Before": anything,
        "Name": text.map(lambda one: Variant("s", one)) | anything,
        "Stale": st.booleans().map(lambda one: Variant("b", one)),
        "Ports": ports | anything,
        "Between": anything,
        "Tags": st.lists(text, max_size=3).map(lambda some: Variant("as", some)),
        "After": anything,
    },
).flatmap(lambda some: st.permutations(list(some.items())).map(dict))
objects: st.SearchStrategy[Objects] = st.lists(
    st.fixed_dictionaries({}, optional={OTHER: entries, INTERFACE: entries}), max_size=5
).map(lambda some: {f"/t/{number}": one for number, one in enumerate(some)})


def body(some: Objects, *, big: bool = False) -> bytes:
    return body_of(MANAGED_OBJECTS, [some], big=big)


def expected(some: Objects) -> list[dict[str, Any]]:
    """Return what the whole reply has under the selected names, read by the tests' own rules."""
    return [chosen(one[INTERFACE], SELECTION) for one in some.values() if INTERFACE in one]


def chosen(values: dict[str, Any], selection: Selection) -> dict[str, Any]:
    record = {wanted.key: wanted.default for wanted in selection.values()}
    for name, wanted in selection.items():
        value = values.get(name)
        if value is None:
            continue
        if value.signature == wanted.kind:
            record[wanted.key] = value.value
        elif not isinstance(wanted.kind, str) and value.signature == "aa{sv}":
            record[wanted.key] = [chosen(one, wanted.kind) for one in value.value]
    return record


@settings(deadline=None)
@given(some=objects, big=st.booleans())
def test_selected_properties_are_those_of_the_whole_reply(some: Objects, *, big: bool) -> None:
    data = body(some, big=big)
    assert managed_objects(data, BIG if big else LITTLE, INTERFACE, SELECTION) == expected(some)


@settings(deadline=None)
@given(some=objects, data=st.data())
def test_damaged_reply_is_bad_input_and_nothing_else(some: Objects, data: st.DataObject) -> None:
    damaged = bytearray(body(some))
    for at in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=4)):
        damaged[at] = data.draw(st.integers(0, 255))
    with suppress(BadInput):
        managed_objects(bytes(damaged), LITTLE, INTERFACE, SELECTION)


@settings(deadline=None)
@given(some=objects.filter(bool), data=st.data())
def test_reply_that_is_cut_or_too_long_is_bad_input(some: Objects, data: st.DataObject) -> None:
    whole = body(some)
    for bad in (whole[: data.draw(st.integers(0, len(whole) - 1))], whole + bytes(8)):
        with pytest.raises(BadInput):
            managed_objects(bad, LITTLE, INTERFACE, SELECTION)


def thing(**values: Any) -> dict[str, dict[str, Any]]:
    return {INTERFACE: values}


@pytest.mark.parametrize(
    "second",
    [
        {},
        {"Name": Variant("s", "b")},
        {"Name": Variant("u", 7)},
        {"Tags": Variant("as", ["t"]), "Name": Variant("s", "b"), "New": Variant("as", ["Name"])},
        {"New": Variant("a{sv}", {"Name": Variant("s", "no")}), "Stale": Variant("b", value=True)},
        {"Ports": Variant("aa{sv}", [{}, {"kind": Variant("s", "k")}])},
        {"Ports": Variant("as", ["Name"])},
    ],
    ids=str,
)
def test_object_with_other_entries_than_the_one_before(second: dict[str, Any]) -> None:
    port = {"port": Variant("q", 80), "kind": Variant("s", "k"), "more": Variant("s", "m")}
    first = {
        "Name": Variant("s", "a"),
        "Stale": Variant("b", value=False),
        "Ports": Variant("aa{sv}", [port, port]),
        "Tags": Variant("as", []),
        "Last": Variant("t", 1),
    }
    some: Objects = {"/a": thing(**first), "/b": thing(**second), "/c": thing(**first)}
    assert managed_objects(body(some), LITTLE, INTERFACE, SELECTION) == expected(some)
    assert unmarshal(MANAGED_OBJECTS, body(some))


def test_many_names_are_not_kept_forever() -> None:
    some = {
        f"/{n}": thing(**{f"N{n}": Variant("s", ""), "Name": Variant("s", "x")})
        for n in range(2000)
    }
    found = managed_objects(body(some), LITTLE, INTERFACE, SELECTION)
    assert [one["name"] for one in found] == ["x"] * 2000
