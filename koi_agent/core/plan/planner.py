"""What the network should know, decided from what all instances ask for and from nothing else.

Neither the order in which instances came nor what was planned before has a say. Who wants the
same name is ranked by creation time, then backend, then id: the first has it. Services that come
later are numbered, as Avahi numbers them; a host name has one owner, or the replicas of one.

Only those who may want the same name have to do with each other. So a change costs what the few
cost that it concerns, however many instances there are.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from koi_agent.core.checks import HealthCheck
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Instance
from koi_agent.core.metadata import names
from koi_agent.core.ownership import UNITS
from koi_agent.core.plan.records import Decision, HostName, Outcome, Record, Service
from koi_agent.core.plan.requests import (
    CHECK,
    HOST,
    UNHEALTHY,
    HostRequest,
    Policy,
    ServiceRequest,
    considered,
    requests_of,
)

Wish = ServiceRequest | HostRequest
Place = tuple[str, str]
"""What several may want: a name without its number and a service type, or a host name and ""."""

_NUMBERS: Final = re.compile("(?: #[0-9]+)+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What is planned for one instance: records, a check, and what was decided and why."""

    records: tuple[Record, ...] = ()
    decisions: tuple[Decision, ...] = ()
    check: HealthCheck | None = None


NOTHING: Final = Planned()


class Named(NamedTuple):
    """The name that a wish gets, with a word on why if it is not the one asked for.

    Without a name the reason says why there is none.
    """

    name: str
    reason: str = ""


class Planner:
    """Plans for the instances that were ``put`` and not dropped, by ``policy``.

    Another policy counts for an instance from when it is put again.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._parts: dict[str, _Part] = {}
        self._at: dict[Place, tuple[str, ...]] = {}  # hardly ever more than one
        self._touched: set[Place] = set()
        self._changed: set[str] = set()
        self._planned: dict[str, Planned] = {}

    def of(self, key: str) -> Planned:
        """Tell what was planned for an instance when all was settled last."""
        return self._planned.get(key, NOTHING)

    def put(self, instance: Instance) -> None:
        """Note an instance as it is now."""
        if not self.policy.admits(instance):
            self.drop(instance.key)
            return
        known = self._parts.get(instance.key)
        if known and known.says_the_same(instance, self.policy):
            return
        self.drop(instance.key)
        part = _Part(instance, self.policy)
        self._parts[part.key] = part
        for place in set(part.places):
            self._at[place] = (*self._at.get(place, ()), part.key)
        self._touched.update(part.places)
        self._changed.add(part.key)

    def drop(self, key: str) -> None:
        """Note that there is no such instance any more."""
        part = self._parts.pop(key, None)
        if part is None:
            return
        self._changed.add(key)
        self._touched.update(part.places)
        for place in set(part.places):
            self._at[place] = tuple(other for other in self._at[place] if other != key)
            if not self._at[place]:
                del self._at[place]

    def settle(self) -> Mapping[str, Planned]:
        """Decide anew where something was put or dropped.

        Returns what was planned before for each instance for which something else is planned now.
        """
        for place in self._touched:
            parts = [self._parts[key] for key in self._at.get(place, ())]
            named = _named(place, sorted(parts, key=lambda part: part.rank))
            self._changed.update(part.key for part in named)
        self._touched.clear()
        changed, self._changed = self._changed, set()
        return {key: before for key in changed if (before := self._replan(key)) is not None}

    def _replan(self, key: str) -> Planned | None:
        """Put a plan together from names; returns the one before, if it was another."""
        before, part = self.of(key), self._parts.get(key)
        now = part.planned() if part else NOTHING
        if now == before:
            return None
        if part:
            self._planned[part.key] = now
        else:
            del self._planned[key]
        return before


class _Part:
    """What one instance asks for, and the names it gets."""

    __slots__ = ("_considered", "_policy", "_wishes", "asked", "key", "named", "places", "rank")

    def __init__(self, instance: Instance, policy: Policy) -> None:
        created = 0 if instance.backend == UNITS else instance.created_at
        self.key = instance.key
        self.rank = created, instance.backend, instance.id
        self._considered = considered(instance)
        self._policy = policy
        self._wishes = requests_of(instance, policy)
        self.asked: tuple[Wish, ...] = self._wishes.services
        if self._wishes.host:
            self.asked += (self._wishes.host,)
        self.places = [_place(wish) for wish in self.asked]
        self.named: list[Named | None] = [None] * len(self.asked)

    def says_the_same(self, instance: Instance, policy: Policy) -> bool:
        """Tell whether an instance asks for just this."""
        now = considered(instance)
        if self._policy is not policy or self._considered != now:
            return False
        self._considered = now  # equal, and what it was before need not be kept
        return True

    def planned(self) -> Planned:
        """Put records and decisions together, all names being known."""
        wished, held = self._wishes, self._wishes.held
        pairs = [(wish, has) for wish, has in zip(self.asked, self.named, strict=True) if has]
        decided = (*wished.said, *(_decision(wish, has) for wish, has in pairs))
        records = (_record(self.key, wish, has) for wish, has in pairs if has.name and not held)
        return Planned(
            records=tuple(records),
            decisions=tuple(_held(one, held) for one in decided),
            check=wished.check if held in ("", UNHEALTHY) else None,
        )


def _place(wish: Wish) -> Place:
    if isinstance(wish, HostRequest):
        return wish.name, ""
    return _NUMBERS.sub("", wish.name.lower()), wish.type


def _named(place: Place, parts: Iterable[_Part]) -> Iterator[_Part]:
    """Give out the names at a place, first come, first served; yields who gets another."""
    names_there = _Names()
    for part in parts:
        for number, wish in enumerate(part.asked):
            if part.places[number] != place:
                continue
            has = names_there.give(part.key, wish)
            if part.named[number] != has:
                part.named[number] = has
                yield part


class _Names:
    """Who has which name at a place, so far."""

    def __init__(self) -> None:
        self._services: dict[str, str] = {}
        self._free_from: dict[tuple[str, int], int] = {}
        self._host: tuple[str, tuple[str, ...]] | None = None

    def give(self, key: str, wish: Wish) -> Named:
        return (
            self._host_name(key, wish) if isinstance(wish, HostRequest) else self._free(key, wish)
        )

    def _free(self, key: str, wish: ServiceRequest) -> Named:
        """Find a service name that is free, and take it."""
        first = _numbered(wish.name, wish.number)
        number = self._free_from.get((wish.name.lower(), wish.number), wish.number)
        while (name := _numbered(wish.name, number)).lower() in self._services:
            number += 1
        self._free_from[wish.name.lower(), wish.number] = number
        try:
            names.instance_name(name)
        except BadInput as bad:
            return Named("", str(bad))
        self._services[name.lower()] = key
        owner = self._services.get(first.lower(), "")
        return Named(name, f"'{first}' is {owner}'s" if name != first else "")

    def _host_name(self, key: str, wish: HostRequest) -> Named:
        """Take a host name, unless somebody else has it."""
        owner, family = self._host = self._host or (key, wish.family)
        if family != wish.family:
            return Named("", f"{wish.name}.local is {owner}'s, which was there before")
        return Named(wish.name)


def _numbered(name: str, number: int) -> str:
    return f"{name} #{number}" if number > 1 else name


def _record(key: str, wish: Wish, has: Named) -> Record:
    if isinstance(wish, HostRequest):
        return HostName(owner=key, name=has.name, addresses=wish.addresses)
    return Service(
        owner=key,
        name=has.name,
        type=wish.type,
        port=wish.offer.port,
        addresses=wish.offer.addresses,
        txt=wish.txt,
        subtypes=wish.subtypes,
    )


def _decision(wish: Wish, has: Named) -> Decision:
    about = HOST if isinstance(wish, HostRequest) else wish.about
    if not has.name:
        return Decision(about=about, outcome=Outcome.REFUSED, reason=has.reason)
    words = f"{has.name}.local" if isinstance(wish, HostRequest) else _words(wish, has)
    return Decision(about=about, outcome=Outcome.WANTED, reason=words)


def _words(wish: ServiceRequest, has: Named) -> str:
    """Say of a service what it is called and where it is."""
    where = ", ".join(wish.offer.addresses) or "this host"
    subtypes = f" ({', '.join(wish.subtypes)})" if wish.subtypes else ""
    why = f" ({has.reason})" if has.reason else ""
    return f"'{has.name}' of type {wish.type}{subtypes} at {where}, port {wish.offer.port}{why}"


def _held(decision: Decision, why: str) -> Decision:
    """Hold what is wanted, if there is a reason; a check goes on where it may end that."""
    if not why or decision.outcome is not Outcome.WANTED:
        return decision
    if decision.about == CHECK and why == UNHEALTHY:
        return decision
    return Decision(about=decision.about, outcome=Outcome.HELD, reason=why)
