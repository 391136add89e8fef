"""Decides what is done about one entry, given the list of the daemon: pure.

Entries have no place for a mark of their owner. So an entry belongs to the agent if the agent
recorded its content before it was sent. All others belong to other clients and are left alone.
"""

from enum import Enum, auto
from typing import NamedTuple

Bodies = frozenset[str]
"""The contents of entries at one key."""


class Form(Enum):
    """The rule of a daemon for an entry whose key is taken."""

    REPLACED = auto()
    """The new entry replaces the old one."""
    UNIQUE = auto()
    """The new entry is refused."""
    SHARED = auto()
    """Both entries stay."""


class Act(Enum):
    """A change at the daemon. ``REMOVE`` affects recorded entries only."""

    ADD = auto()
    REMOVE = auto()


class KeyState(Enum):
    """The state of a key at the daemon."""

    PENDING = auto()
    """Nothing yet, or an entry that was wanted earlier."""
    PRESENT = auto()
    """The wanted entry."""
    CONTESTED = auto()
    """The wanted entry, and one of another client."""
    FOREIGN = auto()
    """An entry of another client."""


class Decision(NamedTuple):
    """The next act for a key, None if there is nothing to do.

    ``recorded`` is stored before the act.
    """

    state: KeyState
    recorded: Bodies
    act: Act | None = None


class Situation(NamedTuple):
    """The facts about one key.

    ``wanted`` is the content that is wanted, None for none. ``seen`` has a content for each entry
    that the daemon lists. ``is_settled`` is False if an earlier request may still take effect.
    """

    wanted: str | None
    recorded: Bodies
    seen: tuple[str, ...]
    is_settled: bool = True


def decide(one: Situation, form: Form) -> Decision:
    """Return what is done about a key."""
    own = {body for body in one.seen if body in one.recorded}
    if set(one.seen) - own:
        return _decide_beside_others(one, form, own)
    if one.wanted is None:
        return Decision(KeyState.PENDING, _kept(one), Act.REMOVE if own else None)
    if own == {one.wanted}:
        return Decision(KeyState.PRESENT, _kept(one))
    is_replaced = form is Form.REPLACED and len(one.seen) == 1
    act = Act.ADD if not own or is_replaced else Act.REMOVE
    return Decision(KeyState.PENDING, one.recorded | {one.wanted}, act)


def _decide_beside_others(one: Situation, form: Form, own: set[str]) -> Decision:
    """Return what is done if other clients have entries too: only own entries are removed."""
    if form is not Form.SHARED or not own:
        return Decision(KeyState.FOREIGN, _kept(one))
    if own == {one.wanted}:
        return Decision(KeyState.CONTESTED, _kept(one))
    return Decision(KeyState.FOREIGN, _kept(one), Act.REMOVE)


def _kept(one: Situation) -> Bodies:
    """Return what stays recorded: contents that were sent and may still appear, or are there."""
    needed = {one.wanted, *one.seen}
    return frozenset(one.recorded & needed) if one.is_settled else one.recorded
