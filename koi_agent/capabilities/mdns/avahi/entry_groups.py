"""Entry groups of Avahi: made, watched until they are established, and freed.

A group is filled and committed once. Avahi delays commits of a group increasingly after the 15th,
so a change makes another group.
"""

import asyncio
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Never

from koi_agent.bus.calls import Call
from koi_agent.bus.client import CallError, Connection
from koi_agent.bus.signals import Signal
from koi_agent.capabilities.mdns.avahi.connections import (
    GROUP,
    NO_AUTO_START,
    SERVER,
    Connections,
)
from koi_agent.capabilities.mdns.avahi.entries import (
    Method,
    Part,
    ServiceEntry,
    SubtypeEntry,
)
from koi_agent.capabilities.mdns.bus_names import AVAHI

AT_ONCE: Final = 8
"""Groups that are made at the same time: a bus allows 128 calls without an answer."""
PATIENCE: Final = 3.0
"""Seconds from a commit until Avahi is asked for the state of a group; it needs about one."""
BUSY: Final = 0.2
"""Seconds after which an answer shows that Avahi is busy."""
REGISTERING, ESTABLISHED, COLLISION, FAILURE = 1, 2, 3, 4


class GroupState(Enum):
    """State of a group for the agent. A group that is not alive is replaced."""

    NEW = auto()
    REGISTERING = auto()
    ESTABLISHED = auto()
    COLLIDED = auto()
    FAILED = auto()


@dataclass(eq=False, slots=True)
class EntryGroup:
    """The group at ``path`` with the entries of ``part``; ``changed`` is called by its state.

    ``error`` is Avahi's answer to entries that it did not accept. ``missing`` lists the subtypes
    that it did not accept.
    """

    connection: Connection
    path: str
    part: Part
    changed: Callable[[], None]
    state: GroupState = GroupState.NEW
    reason: str = ""
    error: CallError | None = None
    missing: str = ""

    @property
    def is_alive(self) -> bool:
        """True if Avahi announces the group or is about to."""
        return self.state in (GroupState.REGISTERING, GroupState.ESTABLISHED)

    def call(self, method: Method) -> Call:
        """Return a call of the group."""
        return Call((AVAHI, self.path, GROUP), *method)

    def set(self, state: GroupState, reason: str = "") -> None:
        """Set another state and report it."""
        self.state, self.reason = state, reason
        self.changed()


Missing = tuple[Part, MutableMapping[Part, EntryGroup]]
"""A part that needs a group, and where the group is stored."""


class EntryGroups:
    """All groups of a session. Methods raise ``BusLost`` and ``TimeoutError``."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._by_path: dict[str, EntryGroup] = {}
        self._registering: dict[EntryGroup, float] = {}  # by the time at which each is checked
        self._some_register = asyncio.Event()

    async def make(self, parts: Sequence[Missing], changed: Callable[[], None]) -> None:
        """Make a group for each part, and store it as soon as Avahi has it.

        Raises ``CallError`` if Avahi makes no group.
        """
        for first in range(0, len(parts), AT_ONCE):
            few = parts[first : first + AT_ONCE]
            made = await self._new([part for part, _ in few], changed)
            for group, (part, groups) in zip(made, few, strict=False):
                groups[part] = group
            await self._fill(made)
            if len(made) < len(few):
                raise CallError(f"{AVAHI}.TooManyObjectsError", "avahi-daemon makes no entry group")

    async def _new(self, parts: Sequence[Part], changed: Callable[[], None]) -> list[EntryGroup]:
        """Return new groups, fewer than parts if Avahi refuses."""
        connection = await self._connections.reserve(len(parts))
        calls = [Call(SERVER, "EntryGroupNew")] * len(parts)
        answers = await connection.call_all(calls, flags=NO_AUTO_START)
        paths = [str(answer[0]) for answer in answers if not isinstance(answer, CallError)]
        self._connections.release(connection, len(parts) - len(paths))
        made = [
            EntryGroup(connection, path, part, changed)
            for path, part in zip(paths, parts, strict=False)
        ]
        self._by_path.update({group.path: group for group in made})
        return made

    async def _fill(self, groups: Sequence[EntryGroup]) -> None:
        """Add the entries and commit; a group with one entry is committed at the same time."""
        if not groups:
            return
        single = [group for group in groups if len(group.part) == 1]
        several = [group for group in groups if len(group.part) > 1]
        calls = [(group, entry) for group in groups for entry in group.part]
        commits = [(group, COMMIT) for group in single]
        methods = [(group, entry.method()) for group, entry in calls]
        answers = await _call(groups[0].connection, [*methods, *commits])
        for (group, entry), answer in zip(calls, answers, strict=False):
            if isinstance(answer, CallError) and isinstance(entry, SubtypeEntry):
                group.missing += f"; without {entry.subtype}: {answer}"
            elif isinstance(answer, CallError):
                group.error = answer
        self._committed(single, answers[len(calls) :])
        accepted = [group for group in several if not group.error]
        answers = await _call(groups[0].connection, [(group, COMMIT) for group in accepted])
        self._committed(accepted, answers)

    def _committed(
        self, groups: Sequence[EntryGroup], answers: Sequence[list[Any] | CallError]
    ) -> None:
        """Set the state of the groups that Avahi has committed."""
        due = asyncio.get_running_loop().time() + PATIENCE
        for group, answer in zip(groups, answers, strict=True):
            if isinstance(answer, CallError):
                group.error = group.error or answer
            elif group.state is GroupState.NEW:  # otherwise, its signal came earlier
                group.state = GroupState.REGISTERING
                self._registering[group] = due
                self._some_register.set()

    async def change_text(self, group: EntryGroup, part: Part) -> None:
        """Change the TXT record of a service in place; a group that refuses is replaced."""
        changed = [(group, entry.update()) for entry in part if isinstance(entry, ServiceEntry)]
        group.part = part
        for answer in await _call(group.connection, changed):
            if isinstance(answer, CallError):
                group.state = GroupState.FAILED

    async def free(self, groups: Sequence[EntryGroup]) -> None:
        """Withdraw groups; Avahi may have lost some of them."""
        for first in range(0, len(groups), AT_ONCE):
            few = groups[first : first + AT_ONCE]
            for connection in {group.connection for group in few}:
                its = [group for group in few if group.connection is connection]
                await _call(connection, [(group, FREE) for group in its])
                self._forget(its)

    def _forget(self, groups: Sequence[EntryGroup]) -> None:
        for group in groups:
            self._registering.pop(group, None)
            if self._by_path.pop(group.path, None):
                self._connections.release(group.connection, 1)

    def on_signal(self, signal: Signal) -> None:
        """Handle the StateChanged signal of a group."""
        if group := self._by_path.get(signal.path):
            state, _error = signal.body
            self._on_state(group, int(state))

    def _on_state(self, group: EntryGroup, state: int) -> None:
        if state == REGISTERING:
            return
        self._registering.pop(group, None)
        match state:
            case _ if state == ESTABLISHED:
                group.set(GroupState.ESTABLISHED)
            case _ if state == COLLISION:
                group.set(GroupState.COLLIDED, "another host on the network has this name")
            case _ if state == FAILURE:
                group.set(GroupState.FAILED, "avahi-daemon reports a failure")
            case _:
                group.set(GroupState.FAILED, "avahi-daemon has withdrawn it")

    async def watch(self) -> Never:
        """Check the states of groups that are not established in time, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._registering:
                self._some_register.clear()
                await self._some_register.wait()
            group, due = next(iter(self._registering.items()))
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            else:
                await self._look(group)

    async def _look(self, group: EntryGroup) -> None:
        """Check the state of a group; one that Avahi still registers has failed."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            (answer,) = await _call(group.connection, [(group, GET_STATE)])
        except TimeoutError:
            answer = [REGISTERING]
        if self._registering.pop(group, None) is None:
            return  # its signal has arrived
        if isinstance(answer, CallError):
            group.set(GroupState.FAILED, f"avahi-daemon has lost it: {answer}")
        elif answer[0] != REGISTERING:
            self._on_state(group, int(answer[0]))
        elif loop.time() - began > BUSY:
            self._registering[group] = loop.time() + PATIENCE
        else:
            group.set(GroupState.FAILED, f"avahi-daemon has not registered it in {PATIENCE:.0f} s")


COMMIT: Final[Method] = ("Commit", "", [])
FREE: Final[Method] = ("Free", "", [])
GET_STATE: Final[Method] = ("GetState", "", [])


async def _call(
    connection: Connection, methods: Sequence[tuple[EntryGroup, Method]]
) -> list[list[Any] | CallError]:
    """Call methods of groups on one connection; return the answers in order."""
    calls = [group.call(method) for group, method in methods]
    return await connection.call_all(calls, flags=NO_AUTO_START) if calls else []
