"""Rations: what an owner uses comes back with time, and others lose nothing by it."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.core.ration import Ration

RATE, BURST = 0.5, 4.0
USES = st.tuples(st.sampled_from("ab"), st.floats(0, BURST), st.floats(0, 10))
"""An owner, the amount that it uses, and the seconds until the next use."""


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = 100.0
        self.ration = Ration(RATE, BURST, lambda: self.time, {"root"})


def test_owner_has_a_burst_and_then_waits() -> None:
    clock = Clock()
    ration = clock.ration
    assert ration.left("a") == BURST
    ration.spend("a", 3)
    assert (ration.left("a"), ration.pause("a")) == (1, 0)
    ration.spend("a", 2)
    assert (ration.left("a"), ration.pause("a")) == (-1, 2)
    assert (ration.left("b"), ration.pause("b")) == (BURST, 0)
    clock.time += 2
    assert (ration.left("a"), ration.pause("a")) == (0, 0)
    clock.time += 1000
    assert ration.left("a") == BURST


def test_debt_is_bounded() -> None:
    clock = Clock()
    for _ in range(100):
        clock.ration.spend("a", 3 * BURST)
        assert clock.ration.left("a") == pytest.approx(-BURST)
    clock.time += BURST / RATE
    assert clock.ration.pause("a") == pytest.approx(0)


def test_some_owners_are_unlimited() -> None:
    ration = Clock().ration
    ration.spend("root", 1000)
    assert (ration.left("root"), ration.pause("root")) == (inf, 0)


def test_nothing_is_kept_of_owners_that_have_all_again() -> None:
    clock = Clock()
    for number in range(1000):
        clock.ration.spend(number, 0.1)
        clock.time += 1
    assert len(clock.ration._whole) < 3


@given(st.lists(USES, max_size=50))
def test_owner_that_waits_uses_its_rate_and_burst_at_most(
    uses: list[tuple[str, float, float]],
) -> None:
    clock = Clock()
    used = {"a": 0.0, "b": 0.0}
    for owner, amount, passed in uses:
        if not clock.ration.pause(owner):
            clock.ration.spend(owner, amount)
            # The last use may exceed what is left, and a debt is BURST at most.
            used[owner] += min(amount, clock.ration.left(owner) + amount + BURST)
        clock.time += passed
        whole = BURST + RATE * (clock.time - 100) + 10
        assert max(used.values()) <= whole + 1e-6
