"""Brings the entries of one kind into agreement with what is wanted: reads, writes, reads again.

The entries of the daemon are read before each round and after the last one. The daemon may accept
an entry without keeping it, and other clients may change entries at any time. An entry is recorded
before it is sent.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import RecordState
from koi_agent.core.text import printable
from koi_agent.host.koi_daemon.daemon import Daemon, Refused, Uncertain, segment
from koi_agent.host.koi_daemon.decisions import Act, Bodies, KeyState, Situation, decide
from koi_agent.host.koi_daemon.intents import Intents
from koi_agent.host.koi_daemon.kinds import PRESENT, Kind, Listed, Outcome, Seen
from koi_agent.host.koi_daemon.trial import FIRST_RETRY, Trial

log = logging.getLogger(__name__)

ROUNDS: Final = 10
"""Rounds of one pass; another pass follows if they were not enough."""
SETTLE: Final = 15.0
"""Seconds in which a request without a response may still take effect."""
MOST_FAILURES: Final = 16
"""Failed requests after which a pass ends."""
_LONGEST_NAME: Final = 300
_AT_ONCE: Final = 200
"""Entries that are compared before other work of the agent continues."""


PENDING: Final = Outcome(RecordState.WANTED, "it is sent to the Koi daemon")
FOREIGN: Final = Outcome(
    RecordState.HELD, "the Koi daemon has an entry of this name from another client"
)
CONTESTED: Final = Outcome(
    RecordState.HELD, "it is sent, and another client of the Koi daemon has one of this name, too"
)


class Step(NamedTuple):
    """An act for a key. ``is_new`` is True if its content was not recorded before."""

    key: str
    act: Act
    is_new: bool


_Deed = tuple[Act, tuple[str, ...]]
"""An act, and the contents that the daemon listed before."""


class Keeper:
    """The entries of one kind at one daemon. ``wanted`` has their bodies by key.

    ``outcomes`` has what became of each entry, and ``present`` those that the daemon has.
    """

    def __init__(self, daemon: Daemon, kind: Kind, intents: Intents) -> None:
        self.wanted: dict[str, str] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.present: dict[str, Seen] = {}
        self._before: Mapping[str, Seen] = {}
        self._daemon = daemon
        self._kind = kind
        self._intents = intents
        self._trials: dict[str, Trial] = {}
        self._used: set[str] = set()
        """The keys that were wanted before the wanted entries were complete."""
        self._is_complete = False
        self._done: dict[str, set[_Deed]] = {}
        """The acts for a key, until the daemon lists its result."""
        self._broken: set[str] = set()
        self._contested: set[str] = set()
        now = _now()
        self._open = dict.fromkeys(intents.all(), now + SETTLE)
        """The time at which a request for a key is over.

        A killed agent may have sent the last one.
        """

    def set_wanted(self, wanted: Mapping[str, str]) -> None:
        """Set the bodies that are wanted from now on."""
        for key in self.wanted.keys() | wanted.keys():
            if self.wanted.get(key) != wanted.get(key):
                self.outcomes.pop(key, None)
                self._trials.pop(key, None)
                self._broken.discard(key)
                self._contested.discard(key)
        self.wanted = dict(wanted)
        if self._is_complete:
            self._used.clear()
        else:
            self._used.update(wanted)

    def outcome(self, key: str) -> Outcome:
        """Return what became of an entry."""
        return self.outcomes.get(key, PENDING)

    def recorded(self, key: str) -> Bodies:
        """Return the bodies that were sent for a key."""
        return self._intents.of(key)

    def is_empty(self) -> bool:
        """Return True if nothing is wanted, and nothing is recorded."""
        return not self.wanted and not [*self._intents.all()]

    def next_due(self) -> float | None:
        """Return the seconds until the next work, None without any."""
        times = [one.due for one in self._trials.values()]
        times += [at for key, at in self._open.items() if key not in self.wanted]
        return max(min(times) - _now(), FIRST_RETRY) if times else None

    async def converge(self, *, is_complete: bool) -> bool:
        """Write all entries; return False if another pass must follow.

        ``is_complete`` is True once the wanted entries are complete. Unwanted entries of an earlier
        run are then removed. Raises ``ProviderLost``.
        """
        self._is_complete = self._is_complete or is_complete
        left = MOST_FAILURES
        for _ in range(ROUNDS):
            listed = await self.listed()
            steps = [one async for one in _paced(self._steps(listed))]
            if trouble := self._intents.store():
                for step in steps:
                    self._fail(
                        step.key, f"{trouble}; without the file, entries of the agent may stay"
                    )
                return True
            if not steps:
                await self._check()
                return True
            for step in steps:
                seen = listed.get(step.key, ())
                if await self._act(step, seen):
                    self._done.setdefault(step.key, set()).add(_deed(step.act, seen))
                else:
                    left -= 1
                if left <= 0:
                    return False
        return False

    async def _check(self) -> None:
        """Check what became of the entries that the daemon has."""
        states = await self._states() if self.present else {}
        for key in self.present:
            usual = CONTESTED if key in self._contested else PRESENT
            outcome = self.outcomes[key] = states.get(key, usual)
            if outcome.state in (RecordState.WANTED, RecordState.FAILED):
                self._trials.setdefault(key, Trial()).fail()
            else:
                self._trials.pop(key, None)
            if outcome.state is RecordState.FAILED:
                self._broken.add(key)
            else:
                self._broken.discard(key)

    async def _states(self) -> Mapping[str, Outcome]:
        try:
            return await self._kind.states(self._daemon)
        except BadInput as bad:
            raise self._daemon.lost(str(bad)) from bad

    async def listed(self) -> Listed:
        """Return the entries that the daemon has; raise ``ProviderLost``."""
        try:
            return self._kind.read(await self._daemon.get(self._kind.listing))
        except BadInput as bad:
            raise self._daemon.lost(str(bad)) from bad

    def _steps(self, listed: Listed) -> Iterator[Step | None]:
        """Decide about each key; yield the step, or None if there is nothing to do."""
        self._close_settled()
        known = dict.fromkeys((*self.wanted, *self._intents.all()))
        self._before, self.present = self.present, {}
        for key in known:
            if self._is_complete or key in self._used:
                yield self._step(key, listed.get(key, ()))

    def _step(self, key: str, seen: Sequence[Seen]) -> Step | None:
        """Decide about a key, and store its outcome."""
        recorded = self._intents.of(key)
        bodies = tuple(one.body for one in seen)
        situation = Situation(self.wanted.get(key), recorded, bodies, key not in self._open)
        decision = decide(situation, self._kind.form)
        self._intents.record(key, decision.recorded)
        act = decision.act
        if decision.state in (KeyState.PRESENT, KeyState.CONTESTED):
            act = self._add_present(key, seen)
        elif act is None:
            self._trials.pop(key, None)
            self._done.pop(key, None)
        if key in self.wanted and decision.state is KeyState.FOREIGN:
            self.outcomes[key] = FOREIGN
        is_due = key not in self._trials or self._trials[key].due <= _now()
        if not act or not is_due:
            return None
        if _deed(act, seen) in self._done.get(key, ()):
            del self._done[key]
            self._fail(key, "the Koi daemon accepts a change and does not make it")
            return None
        return Step(key, act, decision.recorded != recorded)

    def _add_present(self, key: str, seen: Sequence[Seen]) -> Act | None:
        """Store an entry that the daemon has; return ``REMOVE`` if it must be added again."""
        self.present[key] = self._own(key, seen)[0]
        self._done.pop(key, None)
        was_contested = key in self._contested
        if len(seen) > 1:
            self._contested.add(key)
            return None
        self._contested.discard(key)
        # Removing one of two equal entries ends both, and a failed listener is not started again.
        return Act.REMOVE if was_contested or key in self._broken else None

    def _own(self, key: str, seen: Sequence[Seen]) -> Sequence[Seen]:
        """Return the recorded entries, that of the last round first."""
        recorded, before = self._intents.of(key), self._before.get(key)
        own = [one for one in seen if one.body in recorded]
        return sorted(own, key=lambda one: one != before)

    def _close_settled(self) -> None:
        now = _now()
        for key in [key for key, at in self._open.items() if at <= now]:
            del self._open[key]

    async def _act(self, step: Step, seen: Sequence[Seen]) -> bool:
        """Do a step; return False if that failed."""
        key, kind = step.key, self._kind
        if step.act is Act.REMOVE:
            self._broken.discard(key)
            # Of several entries with one content, only one is the agent's.
            own = self._own(key, seen)
            return not own or await self._remove(key, own[0].handle)
        body = {**json.loads(self.wanted[key]), **kind.extra}
        # Cancelled requests and earlier ones may still take effect later.
        before, self._open[key] = self._open.get(key), _now() + SETTLE
        try:
            await self._daemon.send("POST", kind.add, body)
        except Uncertain as error:
            return self._fail(key, str(error))
        except Refused as refused:
            self._close(key, before)
            if step.is_new and refused.status < 500 and before is None:
                # It was not added: an entry with this content belongs to another client.
                self._intents.record(key, self._intents.of(key) - {self.wanted[key]})
            return self._fail(key, str(refused))
        self._close(key, before)
        return True

    def _close(self, key: str, before: float | None) -> None:
        """Store that the last request for a key is over; one ``before`` may still be open."""
        if before is None:
            del self._open[key]
        else:
            self._open[key] = before

    async def _remove(self, key: str, handle: str) -> bool:
        try:
            await self._daemon.send("DELETE", f"{self._kind.remove}/{segment(handle)}")
        except (Uncertain, Refused) as error:
            is_gone = isinstance(error, Refused) and error.status == 404
            return is_gone or self._fail(key, str(error))
        return True

    def _fail(self, key: str, reason: str) -> bool:
        """Store why a request failed, and when it is sent again; return False."""
        if key in self.wanted:
            self.outcomes[key] = Outcome(RecordState.FAILED, reason)
        elif key not in self._trials:
            shown = printable(f"{self._kind.name} entry {key}", _LONGEST_NAME)
            log.warning("%s stays at the Koi daemon: %s; trying again", shown, reason)
        self._trials.setdefault(key, Trial()).fail()
        return False


def _deed(act: Act, seen: Sequence[Seen]) -> _Deed:
    return act, tuple(sorted(one.body for one in seen))


async def _paced(steps: Iterator[Step | None]) -> AsyncIterator[Step]:
    """Yield the steps; other work of the agent goes on meanwhile."""
    for number, step in enumerate(steps):
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
        if step:
            yield step


def _now() -> float:
    return asyncio.get_running_loop().time()
