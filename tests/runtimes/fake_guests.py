"""The instances of a fake Incus, with their records and events."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

Record = dict[str, Any]

STATUS_CODES = {"Running": 103, "Frozen": 110, "Stopped": 102}


@dataclass
class FakeGuest:
    """An instance that does not run anywhere."""

    name: str
    project: str = "default"
    status: str = "Running"
    config: dict[str, Any] = field(default_factory=dict)
    devices: dict[str, Any] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    started: int = 0
    day: str = "2026-11-24T00:00:00"
    location: str = "none"
    kind: str = "container"

    @property
    def id(self) -> str:
        return f"{self.project}/{self.name}"

    @property
    def runs(self) -> bool:
        return self.status != "Stopped"

    @property
    def source(self) -> str:
        query = "" if self.project == "default" else f"?project={quote(self.project)}"
        return f"/1.0/instances/{self.name}{query}"

    def record(self) -> Record:
        """Return its record, with its state."""
        return {
            "name": self.name,
            "project": self.project,
            "type": self.kind,
            "status": self.status,
            "status_code": STATUS_CODES.get(self.status, 0),
            "location": self.location,
            "created_at": "2026-11-24T00:00:00.5Z",
            "last_used_at": f"{self.day}.{self.started:09d}Z",
            "config": {"user.secret": "not for you"},
            "expanded_config": {
                "image.description": "busybox",
                "environment.TOKEN": "not for you",
                "cloud-init.user-data": "not for you",
                "volatile.eth0.hwaddr": "10:66:6a:64:22:06",
                **self.config,
            },
            "expanded_devices": {
                "eth0": {"type": "nic", "name": "eth0", "network": "incusbr0"},
                "root": {"type": "disk", "path": "/", "pool": "default"},
                **self.devices,
            },
            "state": self.state(),
        }

    def state(self) -> Record:
        shown = self.addresses if self.runs else ()
        return {
            "status": self.status,
            "pid": self.started if self.runs else 0,
            "network": {
                "eth0": _interface("10:66:6a:64:22:06", shown),
                "docker0": _interface("02:42:00:00:00:01", ("172.17.0.1",)),
                "lo": {"type": "loopback", "addresses": [_address("127.0.0.1", "local")]},
            }
            if self.runs
            else None,
        }


def _interface(hardware: str, addresses: tuple[str, ...]) -> Record:
    local = _address("fe80::1266:6aff:fe64:2206", "link")
    listed = [local, *(_address(one, "global") for one in addresses)]
    return {"type": "broadcast", "hwaddr": hardware, "state": "up", "addresses": listed}


def _address(address: str, scope: str) -> Record:
    family = "inet6" if ":" in address else "inet"
    return {"family": family, "address": address, "netmask": "24", "scope": scope}


class FakeGuests:
    """All instances of a fake server; ``emit`` sends an event to those that read events."""

    def __init__(self, emit: Callable[[Record], None]) -> None:
        self.all: dict[str, FakeGuest] = {}
        self._emit = emit
        self._numbers = itertools.count(1)

    def running(self) -> dict[str, FakeGuest]:
        return {id_: one for id_, one in self.all.items() if one.runs}

    def emit(self, guest: FakeGuest, action: str, **context: str) -> None:
        metadata: Record = {"action": f"instance-{action}", "source": guest.source}
        if context:
            metadata["context"] = context
        self._emit({"type": "lifecycle", "metadata": metadata, "project": guest.project})

    def launch(self, name: str = "", project: str = "default", **fields: Any) -> FakeGuest:
        guest = FakeGuest(name or f"g{next(self._numbers)}", project, "Stopped", **fields)
        self.all[guest.id] = guest
        self.emit(guest, "created")
        self.start(guest)
        return guest

    def start(self, guest: FakeGuest) -> None:
        if not guest.runs:
            guest.status, guest.started, guest.addresses = "Running", next(self._numbers), ()
            self.emit(guest, "started")

    def stop(self, guest: FakeGuest) -> None:
        if guest.runs:
            guest.status = "Stopped"
            self.emit(guest, "shutdown")

    def stop_forcibly(self, guest: FakeGuest) -> None:
        self.pause(guest)
        if guest.runs:
            guest.status = "Stopped"
            self.emit(guest, "stopped")

    def restart(self, guest: FakeGuest) -> None:
        if guest.runs:
            guest.status, guest.started, guest.addresses = "Running", next(self._numbers), ()
            self.emit(guest, "restarted")

    def pause(self, guest: FakeGuest) -> None:
        if guest.status == "Running":
            guest.status = "Frozen"
            self.emit(guest, "paused")

    def resume(self, guest: FakeGuest) -> None:
        if guest.status == "Frozen":
            guest.status = "Running"
            self.emit(guest, "resumed")

    def snapshot(self, guest: FakeGuest) -> None:
        metadata = {"action": "instance-snapshot-created", "source": f"{guest.source}/snapshots/s"}
        self._emit({"type": "lifecycle", "metadata": metadata, "project": guest.project})
        self.pause(guest)
        self.resume(guest)

    def update(self, guest: FakeGuest) -> None:
        guest.config = {"user.koi.name": f"Name {next(self._numbers)}", "user.koi.enable": "true"}
        self.emit(guest, "updated")

    def rename(self, guest: FakeGuest) -> None:
        if not guest.runs:
            del self.all[guest.id]
            old, guest.name = guest.name, f"r{next(self._numbers)}"
            self.all[guest.id] = guest
            self.emit(guest, "renamed", old_name=old)

    def delete(self, guest: FakeGuest) -> None:
        self.stop_forcibly(guest)
        del self.all[guest.id]
        self.emit(guest, "deleted")

    def lease(self, guest: FakeGuest) -> None:
        """Set another address of an instance, which no event reports."""
        guest.addresses = (f"10.0.0.{next(self._numbers) % 250 + 1}", "fd42::1")
