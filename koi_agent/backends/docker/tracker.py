"""How events, inspections and lists change the containers of one engine.

Nothing here waits: changes go to the ``ContainerTable``, and ids to inspect to the
``InspectQueue``. An event that carries the new state is applied as it is. After any other event
the container is inspected.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Final

from koi_agent.backends.docker.containers import (
    Container,
    container_from_start,
    copied,
    shown_name,
    with_last_run,
)
from koi_agent.backends.docker.events import Event
from koi_agent.backends.docker.kinds import Kind
from koi_agent.backends.docker.stop_notices import StopNotices, is_fatal
from koi_agent.backends.docker.table import ContainerTable
from koi_agent.backends.docker.tunables import Tunables
from koi_agent.backends.http_engine.inspect_queue import InspectQueue
from koi_agent.core.events import GoneReason
from koi_agent.core.instance import Health, InstanceState

STOPPING: Final = "stopping"


class Tracker:
    """Keeps the containers of ``table`` up to date with the engine, over one connection.

    ``event_times`` has the containers with a recent event or inspection, and when it came, in
    monotonic seconds: lists are not applied to those.
    """

    def __init__(
        self, table: ContainerTable, kind: Kind, queue: InspectQueue, tunables: Tunables
    ) -> None:
        self.event_times: dict[str, float] = {}
        self._table = table
        self._containers: Mapping[str, Container] = table.containers
        self._kind = kind
        self._queue = queue
        self._tunables = tunables
        self._starting: dict[str, Event] = {}
        self._reasons: dict[str, str] = {}
        self._restarting: dict[str, float] = {}
        """The loop times until which containers may be about to start again."""
        self._ended: set[str] = set()
        self._notices = StopNotices(tunables.stop_notice, self._publish_stopping)
        self._actions: Mapping[str, Callable[[Event], None]] = {
            "start": self._on_start,
            "die": self._on_die,
            "destroy": self._on_destroy,
            "kill": self._on_kill,
            "pause": self._on_pause,
            "unpause": self._on_unpause,
            "rename": self._on_rename,
            "health_status": self._on_health_status,
            "oom": self._on_oom,
            "restart": self._on_restart,
            "stop": self._on_stop,
        }

    # Events

    def apply_event(self, event: Event, now: float) -> None:
        """Apply an event that came at ``now``, in monotonic seconds."""
        self.event_times[event.id] = now
        self._queue.outdate(event.id)
        self._actions.get(event.action, self._inspect)(event)

    def _inspect(self, event: Event) -> None:
        """Inspect the container, unless it is not known to run."""
        if event.id in self._containers:
            self._queue.put(event.id, urgent=True)

    def _on_start(self, event: Event) -> None:
        if event.id not in self._containers or event.id in self._ended:
            self._starting[event.id] = event
        self._queue.put(event.id, urgent=True)

    def _on_die(self, event: Event) -> None:
        """Remove the container, unless the engine may restart it by itself: then inspect it."""
        self._publish_uninspected(event.id)
        self._notices.discard(event.id)
        self._restarting.pop(event.id, None)
        container = self._containers.get(event.id)
        code = event.exit_code
        reason = "died" if code is None else f"exited with {code}"
        if container and container.inspected and not container.inspected.restart_policy:
            self._remove(event.id, reason)
        elif container:
            self._ended.add(event.id)
            self._reasons.setdefault(event.id, reason)
            self._inspect_ended(event.id)

    def _inspect_ended(self, id_: str) -> None:
        """Inspect a container that ended; one that announces its restart gets time to do so."""
        if self._kind.announces_restart:
            self._queue.put_after(self._tunables.end_check, id_)
        else:
            self._queue.put(id_, urgent=True)

    def _on_destroy(self, event: Event) -> None:
        self._publish_uninspected(event.id)
        self._remove(event.id, GoneReason.REMOVED)

    def _publish_uninspected(self, id_: str) -> None:
        """Publish a container that ran, but ended before its first inspection."""
        started = self._starting.pop(id_, None)
        if started and id_ not in self._containers:
            self._table.publish(container_from_start(started, self._kind))

    def _on_kill(self, event: Event) -> None:
        """Publish that a container is stopping, unless its stop signal ends it in a moment."""
        container = self._containers.get(event.id) if self._kind.kill_names_signal else None
        if container and container.status != STOPPING and is_fatal(event.signal, container):
            self._notices.add(event.id)

    def _publish_stopping(self, id_: str) -> None:
        if container := self._containers.get(id_):
            self._table.publish(copied(container, status=STOPPING))
            self._queue.put_after(self._tunables.stop_check, id_, self._is_stopping)

    def _is_stopping(self, id_: str) -> bool:
        container = self._containers.get(id_)
        return container is not None and container.status == STOPPING

    def _on_pause(self, event: Event) -> None:
        self._notices.discard(event.id)
        self._set_state(event.id, InstanceState.PAUSED)

    def _on_unpause(self, event: Event) -> None:
        # "docker stop" sends the signal first, and then unpauses the container: its notice stays.
        self._set_state(event.id, InstanceState.RUNNING)

    def _set_state(self, id_: str, state: InstanceState) -> None:
        if container := self._containers.get(id_):
            self._table.publish(copied(container, state=state, status=str(state)))

    def _on_rename(self, event: Event) -> None:
        container = self._containers.get(event.id)
        if container and event.name:
            self._table.publish(copied(container, name=shown_name(event.name, event.id)))

    def _on_health_status(self, event: Event) -> None:
        """Apply the health in the event. Why it is bad is only in an inspection."""
        container = self._containers.get(event.id)
        if container and event.health in (None, Health.UNHEALTHY):
            self._inspect(event)
        if container and event.health and event.health is not container.health:
            self._table.publish(copied(container, health=event.health, health_detail=""))

    def _on_restart(self, event: Event) -> None:
        """Publish that Podman restarts a container by itself.

        That event comes between the end and the start. Of a restart on request the event comes
        before the end, and Docker's after the start.
        """
        container = self._containers.get(event.id)
        if container and event.id in self._reasons and self._kind.announces_restart:
            self._set_state(event.id, InstanceState.RESTARTING)
            until = self.event_times[event.id] + self._tunables.restart_check
            self._restarting[event.id] = until
            self._queue.put_after(self._tunables.restart_check, event.id)
        else:
            self._inspect(event)

    def _on_stop(self, event: Event) -> None:
        """Inspect a container that was stopped: its policy does not restart it."""
        self._restarting.pop(event.id, None)
        self._inspect(event)

    def _on_oom(self, event: Event) -> None:
        if event.id in self._containers:
            self._reasons[event.id] = "out of memory"

    # Inspections

    def apply_inspection(self, id_: str, container: Container | None, now: float) -> None:
        """Apply an inspection that came at ``now``; None means that there is no such container."""
        self.event_times[id_] = now
        before = self._containers.get(id_)
        if container is None:
            self._remove(id_, GoneReason.REMOVED)
            return
        if container.state is InstanceState.STOPPED:
            if now >= self._restarting.get(id_, -math.inf):
                self._remove(id_, _end_of(container))
            return
        self._restarting.pop(id_, None)
        self._starting.pop(id_, None)
        self._reasons.pop(id_, None)
        if before and _is_new_run(before, container, has_ended=id_ in self._ended):
            self._remove(id_, "restarted")
        self._ended.discard(id_)
        self._table.publish(with_last_run(container, before))

    def known(self, id_: str) -> Container | None:
        """Return a container that runs by what is known."""
        return self._containers.get(id_)

    def found_dead(self, id_: str, status: str) -> None:
        """Remove a container without a process, even if the engine still reports it as running."""
        self._remove(id_, f"control group is empty, though the engine says {status}")

    def inspection_failed(self, id_: str) -> None:
        """Continue with what is known of a container that can't be inspected."""
        if id_ in self._starting:
            if id_ not in self._containers:
                self._publish_uninspected(id_)
        elif id_ in self._ended:
            self._remove(id_, "died")

    # Lists

    def forget_unlisted(self, listed: Set[str]) -> None:
        """Forget the containers that a list does not have, unless an event named them lately."""
        kept = listed | self.event_times.keys() | self._restarting.keys()
        for id_ in self._containers.keys() - kept:
            self._forget(id_)
        for id_ in self._starting.keys() - listed - self.event_times.keys():
            del self._starting[id_]
        self._queue.outdate_unlisted(listed)

    def apply_list(self, containers: Iterable[Container]) -> None:
        """Apply a list, or a part of it, to the containers that no event named lately."""
        for container in containers:
            if container.id in self.event_times:
                continue
            before = self._containers.get(container.id)
            # A list does not show that a container was sent its stop signal.
            is_stopping = before and before.status == STOPPING and container.status == "running"
            shown = copied(container, status=STOPPING) if is_stopping else container
            self._table.store_listed(shown)

    def close(self) -> None:
        """Remove ended containers without an inspection.

        After the next connection, an inspected container is compared with its inspection.
        """
        self._notices.close()
        for id_ in sorted(self._ended):
            if not self._containers[id_].inspected:
                self._remove(id_, "died")

    def _remove(self, id_: str, reason: str) -> None:
        """Remove a container, for the reason that its events gave, or else for this one."""
        reason = self._reasons.get(id_, reason)
        self._clear(id_)
        self._table.remove(id_, reason)

    def _forget(self, id_: str) -> None:
        self._clear(id_)
        self._table.remove_unlisted(id_)

    def _clear(self, id_: str) -> None:
        self._notices.discard(id_)
        self._reasons.pop(id_, None)
        self._restarting.pop(id_, None)
        self._ended.discard(id_)


def _is_new_run(before: Container, now: Container, *, has_ended: bool) -> bool:
    """Return True if a container was stopped and started again without events.

    ``has_ended`` is True if an event reported an end. A restart by the engine itself continues
    the run.
    """
    then, inspected = before.inspected, now.inspected
    if inspected is None or (then is None and not has_ended):
        return False
    if then and then.started_at == inspected.started_at:
        return False
    restarts = then.restart_count if then else 0
    return before.state is not InstanceState.RESTARTING and inspected.restart_count <= restarts


def _end_of(container: Container) -> str:
    """Return the reason of an end that only an inspection shows."""
    code = container.inspected and container.inspected.exit_code
    return "exited" if code is None else f"exited with {code}"
