"""Docker and Podman in a booted machine: Debian's own, with an image made on the spot."""

import json
from collections.abc import Mapping
from typing import Any, Final

from tests.machine import Machine
from tests.namespaces import wait_until
from tests.system.service import DROP_INS, Service

IMAGE: Final = "localhost/koi-busybox"
COMMANDS: Final = ("sh", "sleep", "httpd", "true", "test", "touch")
STORAGE: Final = {"docker": "/var/lib/docker", "podman": "/var/lib/containers"}
SOCKETS: Final = {"docker": "/run/docker.sock", "podman": "/run/podman/podman.sock"}
UNITS: Final = {
    "docker": ("docker.service", "docker.socket", "containerd.service"),
    "podman": ("podman.socket", "podman.service"),
}
GROUP: Final = "koi-engines"
ACCESS: Final = f"""\
[Socket]
SocketGroup={GROUP}
SocketMode=0660
DirectoryMode=0755
ExecStartPost=chmod 0755 /run/podman
"""
LIMITS: Final = {"docker": (), "podman": ("--pids-limit=0", "--ulimit=host")}
"""The hosts of machines may lack the controller, and the right to raise limits."""
AT_ONCE: Final = {"docker": (), "podman": ("--time=0",)}
"""How to remove what would not end for ten seconds; Docker has no such limit."""
RUNTIME_FILE: Final = "/etc/containers/containers.conf.d/10-koi-test.conf"
"""Bookworm's crun raises a limit for itself, to load BPF programs; its runc does not."""


class Engines:
    """The engines of a machine, each prepared when a test first asks for it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._prepared: dict[str, Engine] = {}

    def __getitem__(self, name: str) -> "Engine":
        if name not in self._prepared:
            engine = Engine(self._machine, name)
            engine.prepare()
            self._prepared[name] = engine
        return self._prepared[name]


class Engine:
    """One engine of a machine; it is stopped and may not be asked by the agent, until allowed."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name

    @property
    def socket(self) -> str:
        return SOCKETS[self.name]

    def prepare(self) -> None:
        """Prepare a file system for the engine, and an image."""
        self.stop()  # as a package may have started it
        # The machine's own is an overlay, and engines lay theirs over what they find.
        storage = STORAGE[self.name]
        self.machine.run("sh", "-c", f"rm -rf {storage}/*; mkdir -p {storage}")
        self.machine.run("mount", "-t", "tmpfs", "tmpfs", storage)
        if self.name == "podman" and self.machine.suite == "bookworm":
            self.machine.write(RUNTIME_FILE, '[engine]\nruntime="runc"\n')
        links = "; ".join(f"ln -sf busybox /srv/image/bin/{name}" for name in COMMANDS)
        make = "mkdir -p /srv/image/bin; cp /usr/bin/busybox /srv/image/bin/"
        pack = "tar -C /srv/image -cf /srv/image.tar ."
        self.machine.run("sh", "-c", f"{make}; {links}; {pack}")
        self.start()
        self.machine.run(self.name, "import", "/srv/image.tar", IMAGE)
        self.stop()

    def start(self) -> None:
        """Start what answers on its socket."""
        unit = "docker.service" if self.name == "docker" else "podman.socket"
        self.machine.systemctl("reset-failed", *UNITS[self.name], check=False)
        self.machine.systemctl("start", unit)

    def stop(self) -> None:
        self.machine.systemctl("stop", *UNITS[self.name])
        self.machine.remove(self.socket if self.name == "docker" else "/run/podman")

    def allow(self, service: Service) -> None:
        """Grant the agent access to the engine's socket, as an administrator may."""
        group = "docker"
        if self.name == "podman":
            group = GROUP
            self.machine.run("groupadd", "--force", "--system", GROUP)
            self.machine.write("/run/systemd/system/podman.socket.d/access.conf", ACCESS)
        text = f"[Service]\nSupplementaryGroups={group}\n"
        self.machine.write(f"{DROP_INS}/{self.name}.conf", text)
        self.machine.systemctl("daemon-reload")
        service.systemctl("restart")

    def open_gate(self, service: Service) -> None:
        """Grant the agent access through the gate only."""
        self.machine.systemctl("unmask", f"koi-runtime-gate@{self.name}.path")
        service.systemctl("restart")

    def close_gate(self) -> None:
        self.machine.systemctl("mask", "--now", f"koi-runtime-gate@{self.name}.path")

    def forbid(self) -> None:
        self.machine.remove("/run/systemd/system/podman.socket.d")
        self.machine.systemctl("daemon-reload")

    def run(self, *arguments: str) -> str:
        """Run a container of the image in the background; returns its id."""
        words = ("run", "--detach", *LIMITS[self.name], *arguments)
        return self.machine.run(self.name, *words, timeout=60).stdout.split()[-1]

    def call(self, *arguments: str) -> str:
        return self.machine.run(self.name, *arguments, timeout=60).stdout.strip()

    def inspect(self, id_: str) -> Mapping[str, Any]:
        (said,) = json.loads(self.call("inspect", id_))
        return dict(said)

    def empty(self) -> None:
        """Remove all its containers."""
        ids = self.call("ps", "--all", "--quiet", "--no-trunc").split()
        if ids:
            self.call("rm", "--force", "--volumes", *AT_ONCE[self.name], *ids)


def backend(service: Service, name: str) -> Mapping[str, Any]:
    """Return the state of a backend."""
    rows = service.get("/v1/runtime/backends")
    return next(row for row in rows if row["name"] == name)


def await_state(service: Service, name: str, *states: str) -> Mapping[str, Any]:
    """Wait until a backend is in one of some states."""
    wait_until(
        lambda: backend(service, name)["state"] in states,
        f"{name} is {' or '.join(states)}",
        timeout=30,
    )
    return backend(service, name)


def await_reason(service: Service, name: str, reason: str) -> None:
    """Wait until a backend's last error names this reason."""
    wait_until(
        lambda: reason in backend(service, name)["last_error"],
        lambda: f"{reason}: {backend(service, name)}",
    )


def instances(service: Service, name: str) -> dict[str, Mapping[str, Any]]:
    """Return a backend's instances, by id."""
    rows = service.get("/v1/runtime/instances")
    return {row["id"]: row for row in rows if row["backend"] == name}


def await_instance(service: Service, name: str, id_: str) -> Mapping[str, Any]:
    """Wait until a container is published, and was inspected."""
    wait_until(
        lambda: instances(service, name).get(id_, {}).get("main_pid"), f"{id_[:12]} is published"
    )
    return instances(service, name)[id_]
