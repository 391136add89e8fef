"""What really runs at a fake engine, and what a real one says of it: lists, inspections, events."""

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
class Box:
    """A container."""

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
        """Tell what a list has of it."""
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
        """Tell what an inspection has of it."""
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


class Truth:
    """The containers of an engine; what happens is told to ``emit``, as an event's object."""

    def __init__(self, emit: Callable[[Record], None]) -> None:
        self.boxes: dict[str, Box] = {}
        self._emit = emit
        self._numbers = itertools.count(1)
        self._last_time = 0

    def running(self) -> dict[str, Box]:
        return {id_: box for id_, box in self.boxes.items() if box.state in SHOWN}

    def say(self, box: Box, action: str, **attributes: str) -> None:
        self._last_time = max(time.time_ns(), self._last_time + 1)
        texts = {key: value for key, value in box.labels.items() if isinstance(value, str)}
        known = {"image": "busybox", "name": box.name, **texts, **attributes}
        self._emit(
            {
                "status": action,
                "id": box.id,
                "from": "busybox",
                "Type": "container",
                "Action": action,
                "Actor": {"ID": box.id, "Attributes": known},
                "scope": "local",
                "time": self._last_time // 1_000_000_000,
                "timeNano": self._last_time,
            }
        )

    def say_network(self, box: Box, action: str, network: str) -> None:
        self._last_time = max(time.time_ns(), self._last_time + 1)
        attributes = {"container": box.id, "name": network, "type": "bridge"}
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

    def run(self, **fields: Any) -> Box:
        number = next(self._numbers)
        box = Box(id=f"{number:064x}", name=f"box-{number}", state="created", **fields)
        box.networks = {"bridge": f"172.17.{number // 250 % 250}.{number % 250 + 2}"}
        self.boxes[box.id] = box
        self.start(box)
        return box

    def start(self, box: Box) -> None:
        if box.state in SHOWN:
            return
        box.state, box.started, box.pid = "running", next(self._numbers), next(self._numbers)
        box.health = "starting" if box.health else ""
        self.say_network(box, "connect", "bridge")
        self.say(box, "start")

    def die(self, box: Box, code: int = 0) -> None:
        """Let its process end; its engine starts it again where it is to."""
        if box.state not in ("running", "paused"):
            return
        if box.policy:
            box.restarts += 1
            box.state = "restarting"
        else:
            box.state = "exited"
        self.say(box, "die", exitCode=str(code))
        self.say_network(box, "disconnect", "bridge")

    def again(self, box: Box) -> None:
        """Let the engine start what it starts by itself."""
        if box.state == "restarting":
            box.state, box.started, box.pid = "running", next(self._numbers), next(self._numbers)
            self.say(box, "start")

    def stop(self, box: Box) -> None:
        if box.state not in SHOWN:
            return
        was, box.state = box.state, "exited"
        if was != "restarting":
            self.say(box, "kill", signal="15")
            self.say(box, "die", exitCode="143")
        self.say(box, "stop")

    def restart(self, box: Box) -> None:
        self.stop(box)
        self.start(box)
        self.say(box, "restart")

    def remove(self, box: Box) -> None:
        if box.state in ("running", "paused"):
            box.state = "exited"
            self.say(box, "kill", signal="9")
            self.say(box, "die", exitCode="137")
        del self.boxes[box.id]
        self.say(box, "destroy")

    def pause(self, box: Box) -> None:
        if box.state == "running":
            box.state = "paused"
            self.say(box, "pause")

    def unpause(self, box: Box) -> None:
        if box.state == "paused":
            box.state = "running"
            self.say(box, "unpause")

    def rename(self, box: Box) -> None:
        old, box.name = box.name, f"renamed-{next(self._numbers)}"
        self.say(box, "rename", oldName=f"/{old}")

    def check(self, box: Box) -> None:
        """Let its health change."""
        if box.state == "running":
            box.health = "unhealthy" if box.health == "healthy" else "healthy"
            self.say(box, f"health_status: {box.health}")

    def connect(self, box: Box) -> None:
        """Put it into a second network, or take it out of that again."""
        if box.networks.pop("second", None) is None:
            box.networks["second"] = f"10.0.0.{next(self._numbers) % 250 + 1}"
            self.say_network(box, "connect", "second")
        else:
            self.say_network(box, "disconnect", "second")
