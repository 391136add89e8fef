"""Frozen classes behave as those of the standard decorator."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from functools import partial
from inspect import signature
from typing import Any, Generic, TypeVar

import pytest

from koi_agent.core.frozen import frozen

T = TypeVar("T")
Decorate = Callable[..., Callable[[type], type]]
BOTH = pytest.mark.parametrize(
    "decorate", [frozen, partial(dataclass, frozen=True, slots=True)], ids=["frozen", "dataclass"]
)


def port(decorate: Decorate) -> Any:
    """Return a class with each kind of field."""

    class Port:
        number: int
        protocol: str = "tcp"
        names: list[str] = field(default_factory=list)
        source: str = field(default="", compare=False, kw_only=True)
        hidden: str = field(default="", repr=False)
        title: str = field(init=False, repr=False, compare=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "title", f"{self.number}/{self.protocol}")

    return decorate(order=True)(Port)


@BOTH
def test_fields_have_their_values_and_defaults(decorate: Decorate) -> None:
    kind = port(decorate)
    one = kind(80, "udp", ["a"], source="list")
    assert (one.number, one.protocol, one.names, one.source) == (80, "udp", ["a"], "list")
    assert one.title == "80/udp"
    assert kind(80).names == []
    assert kind(80).names is not kind(80).names
    assert [one.name for one in fields(kind)] == list(kind.__slots__)
    assert str(signature(kind)).startswith(
        "(number: int, protocol: str = 'tcp', names: list[str] ="
    )


@BOTH
@pytest.mark.parametrize("arguments", [(), (1, "tcp", [], "", "x")])
def test_wrong_arguments_are_refused(decorate: Decorate, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        port(decorate)(*arguments)
    with pytest.raises(TypeError):
        port(decorate)(1, unknown=2)


@BOTH
def test_fields_can_not_be_changed(decorate: Decorate) -> None:
    one = port(decorate)(80)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'number'"):
        one.number = 81
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'number'"):
        del one.number
    assert not hasattr(one, "__dict__")
    assert replace(one, protocol="udp").title == "80/udp"


@BOTH
def test_equal_are_instances_of_one_class_whose_compared_fields_are_equal(
    decorate: Decorate,
) -> None:
    kind = port(decorate)
    assert kind(80, source="a") == kind(80, source="b")
    assert kind(80) != kind(81)
    assert kind(80) != port(decorate)(80)
    assert kind(80) != (80, "tcp", [], "")
    assert hash(kind(80, names=())) == hash(kind(80, names=(), source="b"))


@BOTH
def test_order_is_that_of_the_fields(decorate: Decorate) -> None:
    kind = port(decorate)
    assert sorted([kind(81), kind(80, "udp"), kind(80)]) == [kind(80), kind(80, "udp"), kind(81)]
    assert kind(80) <= kind(80)
    assert kind(81) > kind(80)
    assert kind(80) >= kind(80)
    with pytest.raises(TypeError):
        assert kind(80) < port(decorate)(81)


@BOTH
def test_the_representation_names_class_and_fields(decorate: Decorate) -> None:
    text = repr(port(decorate)(80))
    assert text.endswith("Port(number=80, protocol='tcp', names=[], source='')")


@BOTH
def test_methods_of_the_class_are_kept(decorate: Decorate) -> None:
    class Named:
        name: str

        def __repr__(self) -> str:
            return self.name

        def __hash__(self) -> int:
            return 7

    kind = decorate()(Named)
    assert (repr(kind("a")), hash(kind("a")), kind("a") == kind("a")) == ("a", 7, True)


@BOTH
def test_classes_without_comparison_are_equal_only_to_themselves(decorate: Decorate) -> None:
    class Token:
        name: str

    kind = decorate(eq=False, kw_only=True)(Token)
    one = kind(name="a")
    assert one == one  # noqa: PLR0124 - by its identity
    assert one != kind(name="a")
    with pytest.raises(TypeError):
        kind("a")


@BOTH
def test_a_class_may_be_empty_or_generic(decorate: Decorate) -> None:
    class Nothing: ...

    class Box(Generic[T]):
        content: T

    nothing, box = decorate()(Nothing), decorate()(Box)
    assert nothing() == nothing()
    assert box(5) == box(content=5)
    assert vars(box)["__match_args__"] == ("content",)
