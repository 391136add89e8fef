"""What is known of one engine's containers, and what each event makes of it.

Pure of any waiting: events, answers and lists come in, changes go out, and wishes for an
answer are left with ``InspectQueue``. An event that carries the state is believed as it is; of the
others only the container's name is, and the engine is asked.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace
from typing import Final

from koi_agent.backends.docker.containers import Container, heard, instance, shown_name
from koi_agent.backends.docker.events import Event
from koi_agent.backends.docker.inspect_queue import InspectQueue
from koi_agent.backends.docker.listeners import HostPorts
from koi_agent.backends.docker.runs import started_anew
from koi_agent.core.contracts import Deliver
from koi_agent.core.events import Gone, Seen
from koi_agent.core.instance import Health, Instance, InstanceState

FATAL: Final = frozenset({9, 15})
"""Signals that end a container; of others, only its own stop signal does (``docker stop``)."""
STOPPING: Final = "stopping"
END_PATIENCE: Final = 0.1
"""Seconds from an end to the question whether it is one; Podman starts again after a few ms."""
RESTART_PATIENCE: Final = 10.0
"""Seconds after which one that was to be started again is looked at."""
STOP_PATIENCE: Final = 15.0
"""Seconds after which one that was told to end, and did not, is looked at again."""
_JOINED = "container:"


class Tracker:
    """The containers of one engine, over one connection.

    ``known`` outlives the connection: what it held tells, when the engine is back, which
    containers were started anew.
    """

    def __init__(
        self,
        backend: str,
        known: dict[str, Container],
        deliver: Deliver,
        inquiries: InspectQueue,
        ports: HostPorts,
    ) -> None:
        self.known = known
        self.spoken: dict[str, float] = {}
        self._backend = backend
        self._deliver = deliver
        self._inquiries = inquiries
        self._ports = ports
        self._starting: dict[str, Event] = {}
        self._reasons: dict[str, str] = {}
        self._awaited: set[str] = set()
        self._ended: set[str] = set()
        self._joiners: dict[str, set[str]] = {}
        self._acts: Mapping[str, Callable[[Event], None]] = {
            "start": self._start,
            "die": self._die,
            "destroy": self._destroy,
            "kill": self._kill,
            "pause": self._pause,
            "unpause": self._unpause,
            "rename": self._rename,
            "health_status": self._check,
            "oom": self._starve,
            "restart": self._restart,
        }
        for container in known.values():
            self._join(container)
            self._follow_ports(container, None)

    def take(self, event: Event, now: float) -> None:
        """Take an event; ``now`` is the caller's monotonic seconds, kept in ``spoken``."""
        self.spoken[event.id] = now
        self._inquiries.spoken(event.id)
        self._acts.get(event.action, self._ask)(event)

    def _ask(self, event: Event) -> None:
        """Look at a container again, unless it does not run."""
        if event.id in self.known:
            self._inquiries.put(event.id, urgent=True)

    def _start(self, event: Event) -> None:
        if event.id not in self.known:
            self._starting[event.id] = event
        self._inquiries.put(event.id, urgent=True)

    def _die(self, event: Event) -> None:
        """Tell that it is gone, unless its engine may start it again by itself: then ask."""
        self._tell_of_short_life(event.id)
        container = self.known.get(event.id)
        code = event.exit_code
        reason = "died" if code is None else f"exited with {code}"
        if container and container.inspected and not container.inspected.restart_policy:
            self._drop(event.id, reason)
        elif container:
            self._ended.add(event.id)
            self._reasons.setdefault(event.id, reason)
            self._ask_whether_over(event.id)

    def _ask_whether_over(self, id_: str) -> None:
        """Ask, of Podman a little later: it says soon whether it starts one again."""
        if self._backend == "podman":
            self._inquiries.put_after(END_PATIENCE, id_)
        else:
            self._inquiries.put(id_, urgent=True)

    def _destroy(self, event: Event) -> None:
        self._tell_of_short_life(event.id)
        self._drop(event.id, "removed")

    def _tell_of_short_life(self, id_: str) -> None:
        """Show what ended before anybody could look at it: it did run."""
        if started := self._starting.pop(id_, None):
            self._show(heard(started, self._backend))

    def _kill(self, event: Event) -> None:
        """Show that it is told to end; what Podman's event calls a signal is a label."""
        container = self.known.get(event.id) if self._backend == "docker" else None
        if container and event.signal and event.signal in FATAL | {_stop_signal(container)}:
            self._show(replace(container, status=STOPPING))
            self._inquiries.put_after(STOP_PATIENCE, event.id)

    def _pause(self, event: Event) -> None:
        self._set_state(event.id, InstanceState.PAUSED)

    def _unpause(self, event: Event) -> None:
        self._set_state(event.id, InstanceState.RUNNING)

    def _set_state(self, id_: str, state: InstanceState) -> None:
        if container := self.known.get(id_):
            self._show(replace(container, state=state, status=str(state)))

    def _rename(self, event: Event) -> None:
        container = self.known.get(event.id)
        if container and event.name:
            self._show(replace(container, name=shown_name(event.name, event.id)))

    def _check(self, event: Event) -> None:
        """Take the health that the event tells; why it is bad, only the engine knows."""
        container = self.known.get(event.id)
        if container and event.health in (None, Health.UNHEALTHY):
            self._ask(event)
        if container and event.health and event.health is not container.health:
            self._show(replace(container, health=event.health, health_detail=""))

    def _restart(self, event: Event) -> None:
        """Note that Podman starts it again by itself: that it says between end and start.

        A restart that somebody asked for is said before the end, or, by Docker, after the start.
        """
        container = self.known.get(event.id)
        if container and event.id in self._reasons and self._backend == "podman":
            restarting = InstanceState.RESTARTING
            self._show(replace(container, state=restarting, status=str(restarting)))
            self._awaited.add(event.id)
            self._inquiries.put_after(RESTART_PATIENCE, event.id)
        else:
            self._ask(event)

    def _starve(self, event: Event) -> None:
        if event.id in self.known:
            self._reasons[event.id] = "out of memory"

    def answered(self, id_: str, said: Container | None, now: float) -> None:
        """Take what inspection said; ``None`` is that there is no such container.

        A list that is made meanwhile is not believed on it, as with an event.
        """
        self.spoken[id_] = now
        before = self.known.get(id_)
        if said is None or said.state is InstanceState.STOPPED:
            if id_ in self._awaited:  # this once: that it will start was said a moment ago
                self._awaited.discard(id_)
            else:
                self._drop(id_, "exited" if said else "removed")
            return
        self._awaited.discard(id_)
        self._starting.pop(id_, None)
        self._reasons.pop(id_, None)
        if before and started_anew(before, said, has_ended=id_ in self._ended):
            self._drop(id_, "restarted")
        self._ended.discard(id_)
        self._show(said)

    def unanswered(self, id_: str) -> None:
        """Go on with what is known of a container that can't be inspected."""
        if started := self._starting.pop(id_, None):
            self._show(heard(started, self._backend))
        elif id_ in self._ended:
            self._drop(id_, "died")

    def close(self) -> None:
        """Tell of the ends that nobody can be asked about any more.

        Of a container that was inspected, the next connection tells whether it was started anew.
        """
        for id_ in sorted(self._ended):
            if not self.known[id_].inspected:
                self._drop(id_, "died")

    def not_listed(self, ids: Set[str]) -> None:
        """Forget those that a list does not have, but for those that events spoke of lately."""
        for id_ in self.known.keys() - ids - self.spoken.keys():
            self._forget(id_)
        for id_ in self._starting.keys() - ids - self.spoken.keys():
            del self._starting[id_]
        self._inquiries.not_listed(ids)

    def listed(self, containers: Iterable[Container]) -> None:
        """Take a list, or a part of it, but for those that events spoke of lately."""
        for container in containers:
            id_ = container.id
            if id_ in self.spoken:
                continue
            before = self.known.get(id_)
            is_ending = before and before.status == STOPPING and container.status == "running"
            self._note(replace(container, status=STOPPING) if is_ending else container)

    def instances(self, ids: Iterable[str]) -> list[Instance]:
        """Make what is known of some containers fit to be told."""
        return [self._instance(self.known[id_]) for id_ in ids if id_ in self.known]

    def again(self, id_: str) -> None:
        """Show a container once more: something around it has changed."""
        if container := self.known.get(id_):
            self._deliver(Seen(self._instance(container)))

    def _show(self, container: Container) -> None:
        self._note(container)
        self.again(container.id)
        self._show_joiners(container.id)

    def _note(self, container: Container) -> None:
        before = self.known.get(container.id)
        self.known[container.id] = container
        if before is None or before.network != container.network:
            self._join(container)
        self._follow_ports(container, before)

    def _follow_ports(self, container: Container, before: Container | None) -> None:
        """Look for the listeners of one on the host's network, anew for each of its runs."""
        group = _host_group(container)
        if group and (before is None or before.inspected != container.inspected):
            self._ports.follow(container.id, group, container.owned.metadata)

    def _join(self, container: Container) -> None:
        if container.network.startswith(_JOINED):
            target = container.network.removeprefix(_JOINED)
            self._joiners.setdefault(target, set()).add(container.id)

    def _drop(self, id_: str, reason: str) -> None:
        """Tell that one is gone, for the reason that its events gave, or else for this one."""
        reason = self._reasons.get(id_, reason)
        if self._forget(id_):
            self._deliver(Gone(backend=self._backend, id=id_, reason=reason))
            self._show_joiners(id_)

    def _forget(self, id_: str) -> bool:
        container = self.known.pop(id_, None)
        self._reasons.pop(id_, None)
        self._awaited.discard(id_)
        self._ended.discard(id_)
        self._ports.forget(id_)
        if container and container.network.startswith(_JOINED):
            target = container.network.removeprefix(_JOINED)
            joiners = self._joiners.get(target, set())
            joiners.discard(id_)
            if not joiners:
                self._joiners.pop(target, None)
        return container is not None

    def _show_joiners(self, id_: str) -> None:
        """Show those in a container's network, whose addresses and ports are its."""
        for joiner in sorted(self._joiners.get(id_, ())):
            self.again(joiner)

    def _instance(self, container: Container) -> Instance:
        target = container.network.removeprefix(_JOINED)
        joined = self.known.get(target) if target != container.network else None
        return instance(container, host_ports=self._ports.of(container.id), joined=joined)


def _host_group(container: Container) -> str:
    """Name the control group whose listeners are a container's ports."""
    inspected = container.inspected
    return inspected.control_group if inspected and container.network == "host" else ""


def _stop_signal(container: Container) -> int:
    return container.inspected.stop_signal if container.inspected else 0
