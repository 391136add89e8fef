"""Copies are those of ``dataclasses.replace``."""

from dataclasses import fields, replace

import pytest
from hypothesis import given

from koi_agent.core.instance import Instance, InstanceState, copied
from tests.unit.strategies import INSTANCES


@given(INSTANCES, INSTANCES)
def test_a_copy_differs_in_the_changed_fields_only(old: Instance, new: Instance) -> None:
    assert copied(old) == old
    assert copied(old) is not old
    for field in fields(Instance):
        if field.name in {"id", "backend", "key"}:  # these never change
            continue
        change = {field.name: getattr(new, field.name)}
        copy = copied(old, **change)
        assert copy == replace(old, **change)
        assert hash(copy) == hash(replace(old, **change))


def test_an_unknown_field_is_an_error() -> None:
    one = Instance(id="a", name="web", backend="docker", state=InstanceState.RUNNING)
    with pytest.raises(KeyError):
        copied(one, colour="red")


@given(INSTANCES, INSTANCES)
def test_equal_fields_are_shared_with_a_known_value(value: Instance, known: Instance) -> None:
    shared = copied.sharing(value, known)
    assert shared == value
    for field in fields(Instance):
        before, now = getattr(known, field.name), getattr(shared, field.name)
        assert now is before or now != before
