"""The containers of a fake engine, with their lists, inspections and events."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

Record = dict[str, Any]

SHOWN: Final = frozenset({"running", "paused", "restarting"})
STATUS: Final = {
    "running": "Up 2 minutes",
    "paused": "Up 2 minutes (Paused)",
    "restarting": "Restarting (1) 1 second ago",
}


@dataclass
class FakeContainer:
    """A container that does not run anywhere."""

    id: str
    name: str
    state: str = "running"
    health: str = ""
    policy: str = ""
    labels: dict[str, Any] = field(default_factory=dict)
    environment: tuple[str, ...] = ()
    port: int = 0
    networks: dict[str, str] = field(default_factory=dict)
    started: int = 0
    restarts: int = 0
    pid: int = 0
    image: str = ""

    def ports(self) -> Iterator[tuple[str, int]]:
        if self.port and self.state in ("running", "paused"):
            yield from (("0.0.0.0", self.port), ("::", self.port))

    def addresses(self) -> Record:
        up = self.state in ("running", "paused")
        return {
            name: {"IPAddress": address if up else "", "GlobalIPv6Address": ""}
            for name, address in self.networks.items()
        }

    def listed(self) -> Record:
        """Return its record in a list."""
        health = {"": "", "starting": " (health: starting)"}.get(self.health, f" ({self.health})")
        status = STATUS.get(self.state, "Exited (0) 1 second ago")
        return {
            "Id": self.id,
            "Names": [f"/{self.name}"],
            "Image": "busybox",
            "ImageID": "sha256:0",
            "Command": "sleep 1000",
            "Created": 1_700_000_000,
            "Ports": [
                {"IP": ip, "PrivatePort": 80, "PublicPort": port, "Type": "tcp"}
                for ip, port in self.ports()
            ],
            "Labels": self.labels,
            "State": self.state,
            "Status": status + (health if self.state == "running" else ""),
            "HostConfig": {"NetworkMode": "default"},
            "NetworkSettings": {"Networks": self.addresses()},
            "Mounts": [],
        }

    def inspected(self) -> Record:
        """Return its inspection."""
        state: Record = {
            "Status": self.state,
            "Running": self.state in SHOWN,
            "Pid": self.pid if self.state in ("running", "paused") else 0,
            "StartedAt": f"2026-11-24T00:00:00.{self.started:09d}Z",
        }
        if self.health:
            log = [{"ExitCode": 0 if self.health == "healthy" else 1, "Output": "not for you"}]
            state["Health"] = {"Status": self.health, "FailingStreak": 1, "Log": log}
        binds = [{"HostIp": ip, "HostPort": str(port)} for ip, port in self.ports()]
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Created": "2023-11-14T22:13:20.5Z",
            "RestartCount": self.restarts,
            "Image": self.image,
            "State": state,
            "Config": {
                "Image": "busybox",
                "Labels": self.labels,
                "Env": ["PATH=/bin", *self.environment],
            },
            "HostConfig": {
                "NetworkMode": "default",
                "RestartPolicy": {"Name": self.policy or "no"},
                "CgroupParent": "",
            },
            "NetworkSettings": {
                "Ports": {"80/tcp": binds} if binds else {},
                "Networks": self.addresses(),
            },
        }


class FakeContainers:
    """The containers of an engine; ``emit`` is called with the object of each event."""

    def __init__(self, emit: Callable[[Record], None]) -> None:
        self.all: dict[str, FakeContainer] = {}
        self._emit = emit
        self._numbers = itertools.count(1)
        self._last_time = 0

    def running(self) -> dict[str, FakeContainer]:
        return {id_: container for id_, container in self.all.items() if container.state in SHOWN}

    def _emit_event(self, container: FakeContainer, action: str, **attributes: str) -> None:
        self._last_time = max(time.time_ns(), self._last_time + 1)
        labels = {key: value for key, value in container.labels.items() if isinstance(value, str)}
        attributes = {"image": "busybox", "name": container.name, **labels, **attributes}
        self._emit(
            {
                "status": action,
                "id": container.id,
                "from": "busybox",
                "Type": "container",
                "Action": action,
                "Actor": {"ID": container.id, "Attributes": attributes},
                "scope": "local",
                "time": self._last_time // 1_000_000_000,
                "timeNano": self._last_time,
            }
        )

    def _emit_network(self, container: FakeContainer, action: str, network: str) -> None:
        self._last_time = max(time.time_ns(), self._last_time + 1)
        attributes = {"container": container.id, "name": network, "type": "bridge"}
        self._emit(
            {
                "Type": "network",
                "Action": action,
                "Actor": {"ID": "f" * 64, "Attributes": attributes},
                "scope": "local",
                "time": self._last_time // 1_000_000_000,
                "timeNano": self._last_time,
            }
        )

    def run(self, **fields: Any) -> FakeContainer:
        number = next(self._numbers)
        container = FakeContainer(
            id=f"{number:064x}", name=f"box-{number}", state="created", **fields
        )
        container.networks = {"bridge": f"172.17.{number // 250 % 250}.{number % 250 + 2}"}
        self.all[container.id] = container
        self.start(container)
        return container

    def start(self, container: FakeContainer) -> None:
        if container.state in SHOWN:
            return
        container.state, container.started, container.pid = (
            "running",
            next(self._numbers),
            next(self._numbers),
        )
        container.health = "starting" if container.health else ""
        self._emit_network(container, "connect", "bridge")
        self._emit_event(container, "start")

    def die(self, container: FakeContainer, code: int = 0) -> None:
        """End its process; with a restart policy the engine is about to restart it."""
        if container.state not in ("running", "paused"):
            return
        if container.policy:
            container.restarts += 1
            container.state = "restarting"
        else:
            container.state = "exited"
        self._emit_event(container, "die", exitCode=str(code))
        self._emit_network(container, "disconnect", "bridge")

    def restart_by_policy(self, container: FakeContainer) -> None:
        """Restart a container that ended and has a restart policy."""
        if container.state == "restarting":
            container.state, container.started, container.pid = (
                "running",
                next(self._numbers),
                next(self._numbers),
            )
            self._emit_event(container, "start")

    def stop(self, container: FakeContainer) -> None:
        if container.state not in SHOWN:
            return
        before, container.state = container.state, "exited"
        if before != "restarting":
            self._emit_event(container, "kill", signal="15")
            self._emit_event(container, "die", exitCode="143")
        self._emit_event(container, "stop")

    def restart(self, container: FakeContainer) -> None:
        self.stop(container)
        self.start(container)
        self._emit_event(container, "restart")

    def remove(self, container: FakeContainer) -> None:
        if container.state in ("running", "paused"):
            container.state = "exited"
            self._emit_event(container, "kill", signal="9")
            self._emit_event(container, "die", exitCode="137")
        del self.all[container.id]
        self._emit_event(container, "destroy")

    def pause(self, container: FakeContainer) -> None:
        if container.state == "running":
            container.state = "paused"
            self._emit_event(container, "pause")

    def unpause(self, container: FakeContainer) -> None:
        if container.state == "paused":
            container.state = "running"
            self._emit_event(container, "unpause")

    def rename(self, container: FakeContainer) -> None:
        old, container.name = container.name, f"renamed-{next(self._numbers)}"
        self._emit_event(container, "rename", oldName=f"/{old}")

    def toggle_health(self, container: FakeContainer) -> None:
        """Change the health of a container."""
        if container.state == "running":
            container.health = "unhealthy" if container.health == "healthy" else "healthy"
            self._emit_event(container, f"health_status: {container.health}")

    def toggle_network(self, container: FakeContainer) -> None:
        """Connect a container to a second network, or disconnect it from that."""
        if container.networks.pop("second", None) is None:
            container.networks["second"] = f"10.0.0.{next(self._numbers) % 250 + 1}"
            self._emit_network(container, "connect", "second")
        else:
            self._emit_network(container, "disconnect", "second")
