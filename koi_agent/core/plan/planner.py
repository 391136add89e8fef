"""The plan of one capability: which records each instance gets.

The plan follows from the requests of all instances and from nothing else: neither the order in
which instances appeared nor the previous plan counts. Requests for the same name are ranked by
creation time, backend and id; one-offs come last. The rules of the capability decide each contest.
An instance that is held gets no name, and others do not wait for it.

Only instances that request the same name affect each other. A change costs the same for any
number of other instances.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance, RecordState
from koi_agent.core.key import Key
from koi_agent.core.plan.records import Decision, Record
from koi_agent.core.plan.requests import (
    NO_REQUESTS,
    Award,
    Contender,
    Hold,
    Request,
    Requests,
    Rules,
    requested,
)


@frozen(kw_only=True)
class Planned:
    """The plan for the instance ``name``: its records, and what decided about its requests."""

    name: str = ""
    records: tuple[Record, ...] = ()
    made: Requests = NO_REQUESTS
    awards: tuple[Award | None, ...] = ()
    hold: Hold | None = None

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The decision on each request. Its text is long, so it is not kept."""
        pairs = zip(self.made.requests, self.awards, strict=True)
        decided = [(d, award) for r, award in pairs if award and (d := r.decision(award))]
        if (hold := self.hold) is None:
            return (*self.made.decisions, *(decision for decision, _ in decided))
        final = [_held(decision, hold.reason) for decision in self.made.decisions]
        held = [_held(d, hold.beside(award.reason, self.name)) for d, award in decided]
        return (*final, *held)


def _held(decision: Decision, reason: str) -> Decision:
    """Return the decision as held, if the request was not refused."""
    if decision.state is not RecordState.WANTED:
        return decision
    return replace(decision, state=RecordState.HELD, reason=reason)


NOTHING: Final = Planned()


class Planner:
    """Plans for the instances that were ``put`` and not dropped, by ``rules``.

    When ``rules`` is replaced, an instance is planned by the new rules after the next ``put``.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._entries: dict[Key, _Entry] = {}
        self._contenders: dict[Hashable, tuple[Key, ...]] = {}  # rarely more than one
        self._open_contests: set[Hashable] = set()
        self._changed: set[Key] = set()
        self._planned: dict[Key, Planned] = {}

    def planned(self, key: Key) -> Planned:
        """Return the plan for an instance as of the last ``settle``."""
        return self._planned.get(key, NOTHING)

    def all(self) -> Sequence[Planned]:
        """Return the plans for all instances as of the last ``settle``."""
        return [*self._planned.values()]

    def put(self, instance: Instance) -> None:
        """Add or replace an instance."""
        known = self._entries.get(instance.key)
        if known and known.follows_from(instance, self.rules):
            self._hold(known, self.rules.hold(instance))
            return
        made = self.rules.requests(instance)
        if made is NO_REQUESTS:
            self.drop(instance.key)
            return
        if known:
            made = known.made if known.made == made else made  # the plan has the same objects
            self._withdraw(known)
        entry = self._entries[instance.key] = _Entry(instance, self.rules, made)
        alone = (entry.key,)
        for contest in entry.contests:
            others = self._contenders.get(contest)
            self._contenders[contest] = (*others, entry.key) if others else alone
        self._open_contests.update(entry.contests)
        self._changed.add(entry.key)

    def _hold(self, entry: "_Entry", hold: Hold | None) -> None:
        """Hold the requests of an entry, or end that."""
        if entry.hold != hold:
            entry.hold = hold
            self._open_contests.update(entry.contests)
            self._changed.add(entry.key)

    def drop(self, key: Key) -> None:
        """Remove an instance."""
        if entry := self._entries.pop(key, None):
            self._withdraw(entry)

    def _withdraw(self, entry: "_Entry") -> None:
        """Remove the requests of an entry from their contests."""
        key = entry.key
        self._changed.add(key)
        self._open_contests.update(entry.contests)
        for contest in entry.contests:
            others = tuple(other for other in self._contenders[contest] if other != key)
            if others:
                self._contenders[contest] = others
            else:
                del self._contenders[contest]

    def settle(self) -> Mapping[Key, Planned]:
        """Decide the contests in which an instance was put or dropped.

        Returns the previous plan of each instance whose plan has changed.
        """
        for contest in self._open_contests:
            self._changed.update(self._decide(contest))
        self._open_contests.clear()
        changed, self._changed = self._changed, set()
        return {key: before for key in changed if (before := self._replan(key)) is not None}

    def _decide(self, contest: Hashable) -> Iterator[Key]:
        """Decide a contest; yield the instances that get another award than before."""
        entries = [self._entries[key] for key in self._contenders.get(contest, ())]
        ranked = sorted(entries, key=lambda entry: entry.rank)
        slots = [_Slot(entry, number) for entry in ranked for number in entry.numbers(contest)]
        serving = [slot for slot in slots if not slot.entry.is_held]
        contenders = [slot.contender for slot in serving]
        holders: dict[str, _Slot] = {}
        for slot, award in zip(serving, self.rules.award(contenders), strict=True):
            holders.setdefault(award.name.lower(), slot)
            yield from slot.set(award)
        for slot in slots:
            if slot.entry.is_held:
                yield from slot.set(self._outlook(slot, holders))

    def _outlook(self, slot: "_Slot", holders: Mapping[str, "_Slot"]) -> Award:
        """Return the name that a held request is to get, and which instance has it meanwhile."""
        (alone,) = self.rules.award([slot.contender])
        holder = holders.get(alone.name.lower())
        if not alone.name or holder is None:
            return alone
        _, beside = self.rules.award([holder.contender, slot.contender])
        if beside.is_shared or beside.name == alone.name:  # replicas share it
            return alone
        return Award(alone.name, f"'{alone.name}' is {holder.entry.name}'s")

    def _replan(self, key: Key) -> Planned | None:
        """Build the plan for an instance; return the previous one if it differs."""
        before, entry = self.planned(key), self._entries.get(key)
        now = entry.planned() if entry else NOTHING
        if now == before:
            return None
        if entry:
            self._planned[entry.key] = now
        else:
            del self._planned[key]
        return before


class _Slot(NamedTuple):
    """One request in a contest: the entry, and the position of the request."""

    entry: "_Entry"
    number: int

    @property
    def contender(self) -> Contender:
        return Contender(self.entry.key, self.entry.requests[self.number])

    def set(self, award: Award) -> Iterator[Key]:
        """Store an award; yield the instance if the award has changed."""
        if self.entry.awards[self.number] != award:
            self.entry.awards[self.number] = award
            yield self.entry.key


class _Entry:
    """The requests of one instance and their awards, and the hold on them."""

    __slots__ = (
        *("_requested", "_rules"),
        *("awards", "contests", "hold", "key", "made", "name", "rank"),
    )

    def __init__(self, instance: Instance, rules: Rules, made: Requests) -> None:
        created = instance.created_at if instance.traits.has_creation_time else 0
        self.key = instance.key
        self.rank = instance.one_off, created, instance.backend, instance.id
        self.name = instance.name
        self.hold = rules.hold(instance)
        self._requested = requested(instance)
        self._rules = rules
        self.made = made
        contests = (one.contest for one in self.requests if one.contest is not None)
        self.contests = tuple(dict.fromkeys(contests))
        self.awards: list[Award | None] = [
            Award(one.name) if one.contest is None else None for one in self.requests
        ]

    @property
    def requests(self) -> tuple[Request, ...]:
        return self.made.requests

    @property
    def is_held(self) -> bool:
        """True if all requests of the instance are held."""
        return self.hold is not None

    def follows_from(self, instance: Instance, rules: Rules) -> bool:
        """Return True if these requests are also those of ``instance`` under ``rules``."""
        return self._rules is rules and bool(self._requested == requested(instance))

    def numbers(self, contest: Hashable) -> Iterator[int]:
        """Yield the positions of the requests in a contest."""
        return (n for n, request in enumerate(self.requests) if request.contest == contest)

    def planned(self) -> Planned:
        """Build the records from the awards."""
        pairs = zip(self.requests, self.awards, strict=True)
        named = [] if self.is_held else [(r, award) for r, award in pairs if award and award.name]
        made = (request.record(self.key, award) for request, award in named)
        return Planned(
            name=self.name,
            records=tuple(one for one in made if one is not None),
            made=self.made,
            awards=tuple(self.awards),
            hold=self.hold,
        )
