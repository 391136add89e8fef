"""The instances that are tracked now: changes in, events out, no await.

``apply`` is the only way in. ``_tracked`` keeps what backends report, and the status of records.
``visible`` is derived from it: a unit that a container claims is shown as the container. A unit
that an engine may still claim is hidden: its container appears a moment after the unit starts and
disappears a moment before it ends. ``checks.py`` adds the results of health checks. Most instances
need neither, and are one object in both.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from koi_agent.core.checks import CheckTable
from koi_agent.core.events import (
    Absent,
    Announced,
    BackendAdded,
    BackendDisconnected,
    BackendReconnected,
    BackendRemoved,
    BackendState,
    BackendStatus,
    BackendUpdated,
    Change,
    Checked,
    CheckStatus,
    Event,
    Followed,
    Gone,
    GoneReason,
    Listing,
    Lost,
    Outdated,
    Result,
    Seen,
    Started,
    Stopped,
    Unfollowed,
    Updated,
    copied_backend,
)
from koi_agent.core.instance import Instance, copied
from koi_agent.core.key import Key
from koi_agent.core.ownership import Ownership, in_place_of
from koi_agent.core.reports import difference, is_same, merged

Ids = dict[str, Instance]


class Registry:
    """The only mutable state of the core; ``backends`` maps names to kinds."""

    def __init__(self, backends: Mapping[str, str]) -> None:
        self.generation = 0
        self._tracked: dict[str, Ids] = {name: {} for name in backends}
        self._backends = {n: BackendStatus(name=n, kind=kind) for n, kind in backends.items()}
        self._visible: dict[Key, Instance] = {}
        self._ownership = Ownership()
        self._checks = CheckTable()

    @property
    def visible(self) -> Mapping[Key, Instance]:
        """The instances that clients see."""
        return self._visible

    @property
    def backends(self) -> Mapping[str, BackendStatus]:
        """The status of each backend, by name."""
        return self._backends

    @property
    def checks(self) -> Mapping[Key, CheckStatus]:
        """The status of each health check."""
        return self._checks.all

    @property
    def check_counts(self) -> Mapping[str, int]:
        """The number of checks that ran, by ``success`` and ``failure``."""
        return self._checks.counts

    def contradiction(self) -> str:
        """Return an inconsistency, which is a bug; an empty string if all is consistent."""
        counted, seen = sum(one.instances for one in self._backends.values()), len(self._visible)
        return "" if counted == seen else f"registry: {counted} instances counted, {seen} visible"

    def of_unit(self, unit: str) -> list[Instance]:
        """Return the instances that a unit's name refers to: containers, or the unit itself."""
        keys = sorted(self._ownership.known_as(unit))
        return [self._visible[key] for key in keys if key in self._visible]

    def differences(self, listing: Listing) -> Iterator[tuple[str, str]]:
        """Yield each id with its difference: added, removed, changed, or an empty string.

        There may be thousands of ids. The caller may yield to the event loop in between.
        """
        held = self._tracked[listing.backend]
        listed = {instance.id: instance for instance in listing.instances}
        for id_ in (held.keys() | listed.keys()) - listing.touched:
            yield id_, difference(held.get(id_), listed.get(id_))

    def apply(self, change: Change, now: int) -> list[Event]:
        """Apply a change at ``now`` (microseconds since the epoch); return its events in order."""
        events = self._dispatch(change, now)
        self.generation += bool(events)
        return events

    def _dispatch(self, change: Change, now: int) -> list[Event]:
        match change:
            case Listing():
                return self._apply_listing(change, now)
            case Seen() | Gone() | Outdated():
                return self._apply_to_one(change, now)
            case Lost() | Absent():
                return self._apply_loss(change)
            case Announced() | Checked():
                return self._store_result(change)
            case Followed(backend, kind):
                return self._follow(backend, kind)
            case Unfollowed(backend):
                return self._unfollow(backend)

    def _apply_to_one(self, change: Seen | Gone | Outdated, now: int) -> list[Event]:
        match change:
            case Seen(instance):
                return self._refresh(self._track(instance, now), "")
            case Gone():
                return self._refresh(self._untrack(change.backend, change.id), change.reason)
            case Outdated(backend, id_):
                return self._mark_stale(backend, [id_])

    def _follow(self, backend: str, kind: str) -> list[Event]:
        self._tracked[backend] = {}
        self._backends[backend] = BackendStatus(name=backend, kind=kind)
        hidden = self._refresh(self._waiting_for(kind), "")
        return [BackendAdded(self._backends[backend]), *hidden]

    def _unfollow(self, backend: str) -> list[Event]:
        """Drop a backend; show what it claimed or what waited for it."""
        affected: set[Key] = set()
        for id_ in list(self._tracked[backend]):
            affected |= self._untrack(backend, id_)
        events = self._refresh(affected, GoneReason.UNFOLLOWED)
        kind = self._backends[backend].kind
        del self._tracked[backend], self._backends[backend]
        events += self._refresh(self._waiting_for(kind), "")
        return [*events, BackendRemoved(backend)]

    def _apply_listing(self, listing: Listing, now: int) -> list[Event]:
        held = self._tracked[listing.backend]
        before = self._backends[listing.backend]
        listed = {instance.id for instance in listing.instances}
        again = before.last_sync and before.state is not BackendState.SYNCED
        affected: set[Key] = set()
        for id_ in held.keys() - listed - listing.touched:
            affected |= self._untrack(listing.backend, id_)
        for instance in listing.instances:
            if instance.id not in listing.touched:
                affected |= self._track(instance, now)
        events = self._refresh(affected, "not listed")
        events += self._update_backend(
            replace(
                self._backends[listing.backend],
                state=BackendState.SYNCED,
                endpoint=listing.endpoint,
                runtime_version=listing.runtime_version,
                last_error="",
                reconnects=before.reconnects + bool(again),
                drift=before.drift + len(listing.drifted),
                last_sync=now,
            )
        )
        events += self._refresh_waiting(before)
        if again:
            events.append(BackendReconnected(listing.backend))
        return events

    def _track(self, reported: Instance, now: int) -> set[Key]:
        """Store what a backend reports; return the keys that may look different."""
        known = self._tracked[reported.backend].get(reported.id)
        if known and not known.stale and is_same(known, reported):
            return set()
        instance = merged(known, reported) if known else copied(reported, discovered_at=now)
        self._tracked[reported.backend][reported.id] = instance
        return {instance.key, *self._ownership.put(instance)}

    def _store_result(self, result: Result) -> list[Event]:
        """Store a result for a visible instance; drop one that arrives after the instance ended."""
        if result.key not in self._visible:
            return []
        match result:
            case Announced(key, announcements):
                held = self._tracked[key.backend]
                held[key.id] = copied(held[key.id], announcements=announcements)
            case Checked():
                self._checks.put(result)
        return self._refresh([result.key], "")

    def _untrack(self, backend: str, id_: str) -> set[Key]:
        """Remove an instance; return the keys that may look different."""
        instance = self._tracked[backend].pop(id_, None)
        return {instance.key, *self._ownership.drop(instance)} if instance else set()

    def _apply_loss(self, change: Lost | Absent) -> list[Event]:
        before = self._backends[change.backend]
        events: list[Event] = []
        if before.state is BackendState.SYNCED:
            events.append(BackendDisconnected(change.backend, change.reason))
        events += self._mark_stale(change.backend, list(self._tracked[change.backend]))
        state = BackendState.FAILED if isinstance(change, Lost) else BackendState.ABSENT
        if before.last_sync:
            state = BackendState.STALE
        events += self._update_backend(
            replace(self._backends[change.backend], state=state, last_error=change.reason)
        )
        return events + self._refresh_waiting(before)

    def _mark_stale(self, backend: str, ids: Sequence[str]) -> list[Event]:
        held = self._tracked[backend]
        fresh = [id_ for id_ in ids if id_ in held and not held[id_].stale]
        for id_ in fresh:
            held[id_] = copied(held[id_], stale=True)
        return self._refresh({held[id_].key for id_ in fresh}, "")

    def _refresh_waiting(self, before: BackendStatus) -> list[Event]:
        """Refresh what waits for a backend, if its right to claim has changed."""
        if _may_claim(before) == _may_claim(self._backends[before.name]):
            return []
        return self._refresh(self._waiting_for(before.kind), "")

    def _waiting_for(self, kind: str) -> set[Key]:
        return {
            instance.key
            for held in self._tracked.values()
            for instance in held.values()
            if instance.awaits == kind
        }

    def _update_backend(self, status: BackendStatus) -> list[Event]:
        old = self._backends[status.name]
        self._backends[status.name] = status
        return [BackendUpdated(old, status)] if status != old else []

    def _refresh(self, keys: Iterable[Key], reason: str) -> list[Event]:
        """Derive what is visible for some keys again; instances that end come first.

        ``reason`` is the reason of those that are no longer tracked.
        """
        events: list[Event] = []
        derived = {key: self._derive(key) for key in keys}
        for key in sorted(derived, key=lambda key: (derived[key] is not None, key)):
            old, new = self._visible.get(key), derived[key]
            if old == new:
                continue
            if new is None:
                del self._visible[key]
            else:
                self._visible[key] = new
            events += self._events(old, new, reason)
        return events

    def _events(self, old: Instance | None, new: Instance | None, reason: str) -> list[Event]:
        match old, new:
            case None, Instance() as started:
                return [Started(started), *self._count(started.backend, 1)]
            case Instance() as stopped, None:
                self._checks.drop(stopped.key)
                held = self._tracked[stopped.backend]
                if hidden := held.get(stopped.id):
                    held[stopped.id] = copied(hidden, announcements=())
                why = GoneReason.CLAIMED if hidden else reason
                return [Stopped(stopped, why), *self._count(stopped.backend, -1)]
            case Instance() as before, Instance() as after:
                return [Updated(before, after)]
            case _:
                return []

    def _count(self, backend: str, by: int) -> list[Event]:
        status = self._backends[backend]
        return self._update_backend(copied_backend(status, instances=status.instances + by))

    def _derive(self, key: Key) -> Instance | None:
        """Return what clients see of a tracked instance; None if they do not see it."""
        instance = self._tracked[key.backend].get(key.id)
        if instance is None or self._ownership.is_claimed(instance) or self._is_awaited(instance):
            return None
        if unit := self._ownership.unit_of(instance):
            instance = in_place_of(self._tracked[unit.backend][unit.id], instance)
        return self._checks.apply_to(instance)

    def _is_awaited(self, instance: Instance) -> bool:
        """Return True while a backend of the kind that the instance waits for may claim it."""
        if not instance.awaits:
            return False
        backends = self._backends.values()
        return any(one.kind == instance.awaits and _may_claim(one) for one in backends)


def _may_claim(status: BackendStatus) -> bool:
    """Return True if the backend may still report the container of a unit that waits for it."""
    return status.state not in (BackendState.ABSENT, BackendState.FAILED)
