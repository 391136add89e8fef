"""What is tracked now: changes in, events out, nothing awaited.

``apply`` is the only way in. Backends' words are kept as they were said (``_tracked``); what
others may see of them (``visible``) is derived: a unit that a container claims is the
container, and a unit that a container runtime may yet claim is held back for as long as that
runtime may: its container is on its way when the unit starts, and on its way out when it stops.
What capabilities made of an instance is shown with it (``results``).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from operator import attrgetter

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
    Event,
    Followed,
    Gone,
    Listing,
    Lost,
    Result,
    Seen,
    Started,
    Stopped,
    Unfollowed,
    Updated,
)
from koi_agent.core.instance import Instance
from koi_agent.core.metadata.parser import over
from koi_agent.core.ownership import Ownership
from koi_agent.core.status import StatusTable

Ids = dict[str, Instance]

_OURS = {"discovered_at", "stale", "announcements", "checked"}
_SAID = attrgetter(*(field.name for field in fields(Instance) if field.name not in _OURS))
"""What a backend says of an instance: of thousands listed each minute hardly one is new."""


class Registry:
    """The only mutable state of the core."""

    def __init__(self, backends: Iterable[str]) -> None:
        self.generation = 0
        self._tracked: dict[str, Ids] = {name: {} for name in backends}
        self._status = {name: BackendStatus(name=name) for name in self._tracked}
        self._visible: dict[str, Instance] = {}
        self._claims = Ownership()
        self._results = StatusTable()

    @property
    def visible(self) -> Mapping[str, Instance]:
        """What there is to see, by key."""
        return self._visible

    @property
    def backends(self) -> Mapping[str, BackendStatus]:
        """Where each backend stands, by name."""
        return self._status

    def contradiction(self) -> str:
        """Say what does not add up here, which is a bug; "" where all does."""
        counted = sum(status.instances for status in self._status.values())
        seen = len(self._visible)
        return "" if counted == seen else f"registry: {counted} instances counted, {seen} visible"

    def of_unit(self, unit: str) -> list[Instance]:
        """Find what a unit is: the containers that claim it or are in it, or itself."""
        keys = sorted(self._claims.known_as(unit))
        return [self._visible[key] for key in keys if key in self._visible]

    def differences(self, listing: Listing) -> Iterator[tuple[str, str]]:
        """Tell for each id how a listing differs from what is tracked; "" where it does not.

        One after the other, for there may be thousands: whoever asks may pause meanwhile.
        """
        held = self._tracked[listing.backend]
        listed = {instance.id: instance for instance in listing.instances}
        for id_ in (held.keys() | listed.keys()) - listing.touched:
            yield id_, _difference(held.get(id_), listed.get(id_))

    def apply(self, change: Change, now: int) -> list[Event]:
        """Take one change at ``now`` (microseconds since the epoch); returns what it meant."""
        events = self._take(change, now)
        self.generation += bool(events)
        return events

    def _take(self, change: Change, now: int) -> list[Event]:
        match change:
            case Listing():
                return self._list(change, now)
            case Seen(instance):
                return self._show(self._note(instance, now), "")
            case Gone():
                return self._show(self._forget(change.backend, change.id), change.reason)
            case Lost() | Absent():
                return self._leave(change)
            case Announced() | Checked():
                return self._note_result(change)
            case Followed(backend):
                return self._follow(backend)
            case Unfollowed(backend):
                return self._unfollow(backend)

    def _follow(self, backend: str) -> list[Event]:
        self._tracked[backend] = {}
        self._status[backend] = BackendStatus(name=backend)
        held_back = self._show(self._waiting_for(backend), "")
        return [BackendAdded(self._status[backend]), *held_back]

    def _unfollow(self, backend: str) -> list[Event]:
        """Forget a backend; what it claimed or held back is judged without it."""
        affected: set[str] = set()
        for id_ in list(self._tracked[backend]):
            affected |= self._forget(backend, id_)
        events = self._show(affected, "followed no more")
        del self._tracked[backend], self._status[backend]
        events += self._show(self._waiting_for(backend), "")
        return [*events, BackendRemoved(backend)]

    def _list(self, listing: Listing, now: int) -> list[Event]:
        held = self._tracked[listing.backend]
        before = self._status[listing.backend]
        listed = {instance.id for instance in listing.instances}
        again = before.last_sync and before.state is not BackendState.SYNCED
        affected: set[str] = set()
        for id_ in held.keys() - listed - listing.touched:
            affected |= self._forget(listing.backend, id_)
        for instance in listing.instances:
            known = held.get(instance.id)
            fresh = known is not None and not known.stale and _same(known, instance)
            if instance.id not in listing.touched and not fresh:
                affected |= self._note(instance, now)
        events = self._show(affected, "not listed")
        events += self._update_status(
            replace(
                self._status[listing.backend],
                state=BackendState.SYNCED,
                endpoint=listing.endpoint,
                runtime_version=listing.runtime_version,
                last_error="",
                reconnects=before.reconnects + bool(again),
                drift=before.drift + len(listing.drifted),
                last_sync=now,
            )
        )
        events += self._unhold(before)
        if again:
            events.append(BackendReconnected(listing.backend))
        return events

    def _note(self, said: Instance, now: int) -> set[str]:
        """Keep what was said; returns the keys of what may look different now."""
        held = self._tracked[said.backend].get(said.id)
        first = held.discovered_at if held else now
        instance = replace(said, discovered_at=first, stale=False)
        self._tracked[said.backend][said.id] = instance
        return {instance.key, *self._claims.put(instance)}

    def _note_result(self, result: Result) -> list[Event]:
        """Keep a result of what is visible; on what has gone meanwhile it is late."""
        if result.key not in self._visible:
            return []
        self._results.put(result)
        return self._show([result.key], "")

    def _forget(self, backend: str, id_: str) -> set[str]:
        """Keep an instance no more; returns the keys of what may look different now."""
        instance = self._tracked[backend].pop(id_, None)
        return {instance.key, *self._claims.drop(instance)} if instance else set()

    def _leave(self, change: Lost | Absent) -> list[Event]:
        before = self._status[change.backend]
        events: list[Event] = []
        if before.state is BackendState.SYNCED:
            events.append(BackendDisconnected(change.backend, change.reason))
            events += self._mark_stale(change.backend)
        state = BackendState.FAILED if isinstance(change, Lost) else BackendState.ABSENT
        if before.last_sync:
            state = BackendState.STALE
        events += self._update_status(
            replace(self._status[change.backend], state=state, last_error=change.reason)
        )
        return events + self._unhold(before)

    def _mark_stale(self, backend: str) -> list[Event]:
        held = self._tracked[backend]
        for id_, instance in held.items():
            held[id_] = replace(instance, stale=True)
        return self._show({instance.key for instance in held.values()}, "")

    def _unhold(self, before: BackendStatus) -> list[Event]:
        """Look again at what waits for a backend that may claim it now, or may no more."""
        if _may_claim(before) == _may_claim(self._status[before.name]):
            return []
        return self._show(self._waiting_for(before.name), "")

    def _waiting_for(self, backend: str) -> set[str]:
        return {
            instance.key
            for held in self._tracked.values()
            for instance in held.values()
            if instance.awaits == backend
        }

    def _update_status(self, status: BackendStatus) -> list[Event]:
        old = self._status[status.name]
        self._status[status.name] = status
        return [BackendUpdated(old, status)] if status != old else []

    def _show(self, keys: Iterable[str], reason: str) -> list[Event]:
        """Make the visible agree with the tracked for some keys; what goes, goes first.

        ``reason`` is why what is tracked no more is gone.
        """
        events: list[Event] = []
        seen = {key: self._seen(key) for key in keys}
        for key in sorted(seen, key=lambda key: (seen[key] is not None, key)):
            old, new = self._visible.get(key), seen[key]
            if old == new:
                continue
            if new is None:
                del self._visible[key]
            else:
                self._visible[key] = new
            events += self._told(old, new, reason)
        return events

    def _told(self, old: Instance | None, new: Instance | None, reason: str) -> list[Event]:
        match old, new:
            case None, Instance() as started:
                return [Started(started), *self._count(started.backend, 1)]
            case Instance() as stopped, None:
                self._results.drop(stopped.key)
                hidden = stopped.id in self._tracked[stopped.backend]
                why = "claimed" if hidden else reason
                return [Stopped(stopped, why), *self._count(stopped.backend, -1)]
            case Instance() as before, Instance() as after:
                return [Updated(before, after)]
            case _:
                return []

    def _count(self, backend: str, by: int) -> list[Event]:
        status = self._status[backend]
        return self._update_status(replace(status, instances=status.instances + by))

    def _seen(self, key: str) -> Instance | None:
        """Derive what others may see of a tracked instance."""
        backend, _, id_ = key.partition(":")
        instance = self._tracked[backend].get(id_)
        if instance is None or self._claims.claimed(instance):
            return None
        awaited = self._status.get(instance.awaits)
        if awaited and _may_claim(awaited):
            return None
        unit = self._tracked.get("systemd", {}).get(self._claims.unit_of(instance))
        if unit is not None:
            instance = replace(instance, metadata=over(instance.metadata, unit.metadata))
        return self._results.over(instance)


def _may_claim(status: BackendStatus) -> bool:
    """Tell whether a backend may yet show the container of a unit that waits for it."""
    return status.state not in (BackendState.ABSENT, BackendState.FAILED)


def _same(held: Instance, listed: Instance) -> bool:
    return bool(_SAID(held) == _SAID(listed))


def _difference(held: Instance | None, listed: Instance | None) -> str:
    if held is None or listed is None:
        return "added" if listed else "removed"
    return "" if _same(held, listed) else "changed"
