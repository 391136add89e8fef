"""How events, inspections and lists change the instances of one server.

Nothing here waits: ids to inspect go to the ``InspectQueue``. An event that carries the new state
is applied as it is. Then the instance is inspected, unless the event ended it.
"""

import time
from collections.abc import Mapping, Set
from typing import Final

from koi_agent.backends.http_engine.inspect_queue import InspectQueue
from koi_agent.backends.incus.address_checks import AddressChecks
from koi_agent.backends.incus.events import Event
from koi_agent.backends.incus.guests import Guest, copied_guest, is_new_run, started_guest
from koi_agent.backends.incus.tunables import Tunables
from koi_agent.core.contracts import Deliver
from koi_agent.core.events import Gone, GoneReason, Seen
from koi_agent.core.instance import Instance, InstanceState

_ENDS: Final = {
    "instance-stopped": "stopped",
    "instance-shutdown": "shut down",
    "instance-deleted": str(GoneReason.REMOVED),
}
"""Events after which an instance does not run, with the reason of the end."""
_STATES: Final = {
    "instance-paused": (InstanceState.PAUSED, "frozen"),
    "instance-resumed": (InstanceState.RUNNING, "running"),
}
"""Events that carry a state, with the state and the server's word for it."""
_RENAMED: Final = "instance-renamed"
_STARTED: Final = "instance-started"


class Tracker:
    """Keeps ``guests``, which outlive a connection, up to date with the server.

    ``deliver`` gets each change as an instance of ``backend``.
    """

    def __init__(
        self,
        backend: str,
        guests: dict[str, Guest],
        deliver: Deliver,
        queue: InspectQueue,
        tunables: Tunables,
    ) -> None:
        self.guests = guests
        self._backend = backend
        self._deliver = deliver
        self._queue = queue
        self._starting: set[str] = set()
        self._unlisted: set[str] = set()
        self._awaiting: set[str] = set()
        """Instances that the last list leaves to the inspections that were under way."""
        self._has_listed = False
        self._checks = AddressChecks(tunables.address_checks, self._check_addresses)
        self._touched: set[str] | None = None  # while a list is requested

    # Events

    def apply_event(self, event: Event) -> None:
        """Apply an event."""
        self._touch(event.id)
        self._queue.outdate(event.id)
        if event.action in _ENDS:
            self._publish_uninspected(event.id)
            self._remove(event.id, _ENDS[event.action])
            return
        if event.action == _RENAMED and event.old_id:
            self._touch(event.old_id)
            self._queue.outdate(event.old_id)
            self._remove(event.old_id, f"renamed to {event.name}")
        if event.action == _STARTED and event.id not in self.guests:
            self._starting.add(event.id)
        if event.action in _STATES:
            self._set_state(event.id, *_STATES[event.action])
        self._queue.put(event.id, urgent=True)
        self._checks.begin(event.id)

    def _set_state(self, id_: str, state: InstanceState, word: str) -> None:
        if guest := self.guests.get(id_):
            self._publish(copied_guest(guest, state=state, state_detail=word))

    def _check_addresses(self, id_: str) -> None:
        if id_ in self.guests:
            self._queue.put(id_, urgent=False)

    def _publish_uninspected(self, id_: str) -> None:
        """Publish an instance that ran, but ended before its first inspection."""
        if id_ in self._starting:
            self._publish(started_guest(id_, self._backend))

    # Inspections

    def apply_inspection(self, id_: str, guest: Guest | None) -> None:
        """Apply an inspection; None means that there is no such instance."""
        self._touch(id_)
        if guest is None:
            self._remove(id_, GoneReason.REMOVED)
        elif id_ in self.guests and not guest.is_here:
            self._remove(id_, "not running")
        elif not guest.is_here:  # the registry may have it from an earlier connection
            self._deliver(Gone(backend=self._backend, id=id_, reason="not running"))
        else:
            before = self.guests.get(id_)
            if before and is_new_run(before, guest):
                self._remove(id_, "restarted")
                self._checks.begin(id_)
            self._publish(guest)

    def inspection_failed(self, id_: str) -> None:
        """Publish what a list or an event has shown of an instance that can't be inspected."""
        if id_ in self._awaiting and (guest := self.guests.get(id_)):
            self._publish(guest)
        else:
            self._publish_uninspected(id_)

    # Lists

    def begin_list(self) -> None:
        """Record the instances that change from now on: a list that is requested now is older."""
        self._touched = set()

    def inspect_touched(self) -> None:
        """Inspect again what has changed since ``begin_list``: the forwards have changed."""
        for id_ in self.guests.keys() & (self._touched or set()):
            self._queue.put(id_, urgent=False)

    def end_list(self) -> Set[str]:
        """Return the ids that changed since ``begin_list``, and those that will be inspected."""
        touched, self._touched = self._touched or set(), None
        return touched | self._queue.ids()

    def apply_list(self, listed: Mapping[str, Guest | None]) -> None:
        """Apply a list; None stands for a record that could not be parsed.

        An instance that is missing is kept until the next list, or an event: a server may be
        restarting it, and reports that at the end. A listed instance that an inspection did not
        find is inspected again, because it is not known which answer is older. So is a missing
        instance that waits for an inspection.
        """
        touched = self._touched or set()
        inspected = self._queue.ids()
        for id_, guest in listed.items():
            if guest and id_ not in touched:
                self._apply_listed(id_, guest)
        self._awaiting = set(inspected & listed.keys() - touched)
        missing = self.guests.keys() - listed.keys() - touched
        again = listed.keys() & (touched - self.guests.keys() | inspected) | missing & inspected
        for id_ in again:
            self._queue.put(id_, urgent=True)
        missing -= inspected
        for id_ in missing & self._unlisted:
            self._forget(id_)
        self._unlisted = missing & self.guests.keys()
        self._has_listed = True

    def _apply_listed(self, id_: str, guest: Guest) -> None:
        before = self.guests.get(id_)
        if before and is_new_run(before, guest):
            self._queue.put(id_, urgent=True)
        elif before and before.instance.ips != guest.instance.ips:
            self._publish(guest)  # what no event reports must not count as drift
        else:
            self.guests[id_] = guest
        if not self._has_listed and self._may_get_address(guest):
            self._checks.begin(id_)  # events report the start of the others

    def _may_get_address(self, guest: Guest) -> bool:
        """Return True for an instance without an address, and for one that started just now.

        Such an instance may have only one of several addresses: the families come apart.
        """
        return guest.awaits_address or time.time() - guest.started_at < self._checks.span

    def instances(self) -> list[Instance]:
        """Return the instances of the last list and of the events since."""
        return [guest.instance for id_, guest in self.guests.items() if id_ not in self._unlisted]

    def close(self) -> None:
        """End the checks of addresses."""
        self._checks.close()

    def _publish(self, guest: Guest) -> None:
        self._awaiting.discard(guest.instance.id)
        self._starting.discard(guest.instance.id)
        self._unlisted.discard(guest.instance.id)
        self.guests[guest.instance.id] = guest
        self._touch(guest.instance.id)
        self._deliver(Seen(guest.instance))

    def _remove(self, id_: str, reason: str) -> None:
        """Remove an instance, and deliver that: a list may have been ahead of the event."""
        self._forget(id_)
        self._deliver(Gone(backend=self._backend, id=id_, reason=reason))

    def _forget(self, id_: str) -> None:
        self._starting.discard(id_)
        self._unlisted.discard(id_)
        self._checks.end(id_)
        self.guests.pop(id_, None)

    def _touch(self, id_: str) -> None:
        if self._touched is not None:
            self._touched.add(id_)
