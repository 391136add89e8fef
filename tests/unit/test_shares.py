"""Shares of places: what an owner holds never keeps out another."""

from hypothesis import given
from hypothesis import strategies as st

from koi_agent.core.shares import Shares


def shares() -> Shares:
    return Shares(10, 4, kept=2, privileged={"root"})


def test_owner_gets_its_share_and_no_more() -> None:
    places = shares()
    for _ in range(4):
        assert places.fits("a")
        places.add("a")
    assert not places.fits("a")
    assert places.fits("b", 4)
    assert not places.fits("b", 5)


def test_kept_places_are_for_privileged_owners() -> None:
    places = shares()
    places.add("a", 4)
    places.add("b", 4)
    assert not places.fits("c")
    assert places.fits("root", 2)
    assert not places.fits("root", 3)


def test_privileged_owner_has_a_share_too() -> None:
    places = shares()
    assert places.fits("root", 4)
    assert not places.fits("root", 5)


def test_freed_places_are_given_again() -> None:
    places = shares()
    places.add("a", 4)
    places.remove("a", 3)
    assert (places.held("a"), places.total) == (1, 1)
    assert places.fits("a", 3)


def test_owner_with_the_most_yields() -> None:
    places = shares()
    places.add("a", 3)
    places.add("b", 4)
    places.add("root", 3)
    assert places.first_to_yield("c") == "b"
    assert places.first_to_yield("root") == "b"
    assert places.first_to_yield("b") is None


def test_no_owner_yields_to_its_equal() -> None:
    places = shares()
    places.add("a")
    assert places.first_to_yield("b") is None
    places.add("a")
    assert places.first_to_yield("b") == "a"


def test_privileged_owner_yields_to_no_other() -> None:
    places = shares()
    places.add("root", 10)
    assert places.first_to_yield("a") is None


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "root"]), st.booleans()), max_size=60))
def test_another_owner_always_finds_a_place(steps: list[tuple[str, bool]]) -> None:
    """Whatever two owners did, a third gets a place, unless privileged ones hold all."""
    places = shares()
    for owner, adding in steps:
        if adding and places.fits(owner):
            places.add(owner)
        elif not adding and places.held(owner):
            places.remove(owner)
    assert places.total == sum(map(places.held, ("a", "b", "root"))) <= 10
    if places.held("root") <= 2:
        assert places.fits("c") or places.first_to_yield("c") in {"a", "b"}
    if places.total < 10:
        assert places.fits("root") or places.held("root") == 4
