"""The pauses between attempts."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from koi_agent.core.backoff import pauses


@given(st.floats(0.001, 10), st.floats(10, 1000))
def test_pauses_double_up_to_the_longest_and_are_shortened_by_up_to_half(
    first: float, longest: float
) -> None:
    for number, pause in enumerate(islice(pauses(first, longest), 40)):
        whole = min(first * 2**number, longest)
        assert whole / 2 <= pause <= whole


def test_pauses_are_random() -> None:
    assert len(set(islice(pauses(1, 1), 20))) > 1


def test_pauses_never_end() -> None:
    assert len(list(islice(pauses(0.1, 30), 5000))) == 5000
