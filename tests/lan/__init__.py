"""A small network: a private world as one host, and a peer, each with a real Avahi.

A pair of virtual interfaces joins the two hosts; there is no other network. All of it ends with
its starter, also when that is killed. It needs root.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final, Protocol, Self

from tests import namespaces
from tests.lan import resolved
from tests.namespaces import Namespaces, kept, wait_until

SCRIPT: Final = Path(__file__).with_name("lan.sh")
PROGRAMS: Final = (
    *("avahi-daemon", "avahi-browse", "avahi-publish", "avahi-resolve"),
    *("dbus-daemon", "unshare", "nsenter", "ip"),
)
SYSTEM_BUS: Final = "unix:path=/run/dbus/system_bus_socket"
BUS: Final = f"""\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>{SYSTEM_BUS}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
  </policy>
</busconfig>
"""
AVAHI: Final = """\
[server]
host-name={name}
ratelimit-interval-usec=0
# By default a peer keeps records of about 800 services.
cache-entries-max=65536
"""
QUIET: Final = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}


def missing() -> str:
    """Return what this host lacks for such a network; "" if nothing."""
    return namespaces.missing(PROGRAMS)


@dataclass(frozen=True)
class Found:
    """A service that a browser found and resolved."""

    name: str
    host: str
    address: str
    port: int
    txt: str


@dataclass(frozen=True)
class Answer:
    """A record that came in by an interface; with a TTL of 0 it is a goodbye."""

    interface: str
    ttl: int
    type: str
    name: str
    data: str

    def is_of(self, service: str) -> bool:
        """Return True if this is a record of a service, or the pointer to it."""
        return service in (self.name, self.data)


class Host:
    """A host with a system bus and an Avahi; both can end and start again."""

    def __init__(self, pid: int, name: str, folder: Path) -> None:
        self.pid = pid
        """PID 1 of the host, by its PID on ours."""
        self.name = name
        self._inside = Namespaces(leader=pid, group="visitors", folder=Path.cwd())
        self.log = folder / f"{name}.log"
        self._bus_file = folder / f"{name}-bus.conf"
        self._bus_file.write_text(BUS)
        self._avahi_file = folder / f"{name}-avahi.conf"
        self._avahi_file.write_text(AVAHI.format(name=name))
        self._daemons: dict[str, subprocess.Popen[str]] = {}

    def spawn(self, *argv: str | Path, **popen: Any) -> subprocess.Popen[str]:
        """Start a program on this host; it ends with the host."""
        environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": SYSTEM_BUS, "LC_ALL": "C.UTF-8"}
        return self._inside.spawn(
            *argv, env=environment, **({"stderr": subprocess.DEVNULL} | popen)
        )

    def run(self, *argv: str | Path, timeout: float = 60) -> str:
        """Run a program on this host to its end, whatever its exit status; returns its output."""
        return self._inside.run(*argv, check=False, timeout=timeout, env=_environment()).stdout

    def start_bus(self) -> None:
        self.run("mkdir", "-p", "/run/dbus", "/run/avahi-daemon")
        self._start(
            "bus", "dbus-daemon", "--nofork", "--nopidfile", f"--config-file={self._bus_file}"
        )
        socket = self._inside.path("/run/dbus/system_bus_socket")
        wait_until(socket.exists, lambda: f"the bus of {self.name}: {self.log.read_text()}")

    def start_avahi(self) -> None:
        """Start Avahi, and wait until it has its name."""
        options = ("--no-drop-root", "--no-chroot", "--no-rlimits", "-f")
        self._start("avahi", "avahi-daemon", *options, str(self._avahi_file))
        name = f"{self.name}.local"
        wait_until(
            lambda: name in self.run("avahi-resolve", "-n", name),
            lambda: f"Avahi has the name {name}: {self.log.read_text()}",
        )

    def start_resolved(self) -> None:
        """Start systemd-resolved with mDNS, and wait until it answers."""
        for folder in ("/run/systemd/resolved.conf.d", "/run/systemd/resolve"):
            self.run("mkdir", "-p", folder)
        settings = self._inside.path("/run/systemd/resolved.conf.d/test.conf")
        settings.write_text(resolved.SETTINGS)
        self._add_user(resolved.USER)
        self.run("chown", f"{resolved.USER}:", "/run/systemd/resolve")
        self._start("resolved", *resolved.command("systemd-resolved"))
        wait_until(
            self._has_mdns, lambda: f"resolved of {self.name} uses mDNS: {self.log.read_text()}"
        )

    def _has_mdns(self) -> bool:
        self.run(*resolved.command("resolvectl"), "mdns", "lan0", "yes")
        return "+mDNS" in self.run(*resolved.command("resolvectl"), "status", "lan0")

    def _add_user(self, name: str) -> None:
        """Add a user to this host, unless our own host has one of this name."""
        for file, line in (
            ("passwd", f"{name}:x:64123:64123::/:/bin/false"),
            ("group", f"{name}:x:64123:"),
        ):
            known = self._inside.path(f"/etc/{file}").read_text()
            if f"\n{name}:" not in known:
                mine = self._bus_file.with_name(f"{self.name}-{file}")
                mine.write_text(f"{known}{line}\n")
                self.run("mount", "--bind", mine, f"/etc/{file}")

    def end(self, name: str, *, how: str = "kill") -> None:
        """End the ``bus`` or ``avahi``, killed or by ``terminate``."""
        with self._daemons.pop(name) as process:
            getattr(process, how)()
        if name == "avahi":
            self.run("rm", "-f", "/run/avahi-daemon/pid", "/run/avahi-daemon/socket")

    @property
    def avahi(self) -> subprocess.Popen[str]:
        """The running Avahi."""
        return self._daemons["avahi"]

    def close(self) -> None:
        for name in list(self._daemons):
            self.end(name)

    def _start(self, name: str, *argv: str) -> None:
        with self.log.open("a") as log:
            self._daemons[name] = self.spawn(*argv, **QUIET, stderr=log)

    # As a client of what other hosts publish

    def resolve(self, name: str, family: str = "-4") -> str:
        """Resolve a host name; returns the address, "" for none."""
        answer = self.run("timeout", "2", "avahi-resolve", family, "-n", name).split()
        return answer[1] if len(answer) == 2 else ""

    def browse(self, type_: str, *, seconds: float = 15) -> list[Found]:
        """Browse for services and resolve them, until nothing new comes.

        avahi-browse does not end if a service ends while it is resolved: it is asked once more.
        """
        command = ("avahi-browse", "-rtp", type_)
        try:
            answer = self.run(*command, timeout=seconds)
        except subprocess.TimeoutExpired:
            answer = self.run(*command, timeout=seconds)
        lines = answer.splitlines()
        fields = [line.split(";", 9) for line in lines if line.startswith("=;")]
        found = {Found(_plain(f[3]), f[6], f[7], int(f[8]), f[9]) for f in fields if len(f) == 10}
        return sorted(found, key=lambda one: (one.name, one.address))

    @contextmanager
    def watching(self, type_: str) -> Iterator[list[str]]:
        """Browse while the block runs; afterwards the list has additions (+) and removals (-)."""
        seen: list[str] = []
        process = self.spawn("avahi-browse", "-p", type_, stdout=subprocess.PIPE)
        try:
            time.sleep(1)
            yield seen
        finally:
            process.terminate()
            out, _ = process.communicate(timeout=10)
            for line in out.splitlines():
                mark, _, _, name, *_ = line.split(";")
                seen.append(mark + _plain(name))

    @contextmanager
    def listening(self) -> Iterator[list[Answer]]:
        """Record the mDNS answers of others while the block runs."""
        heard: list[Answer] = []
        process = self.spawn(sys.executable, "-m", "tests.lan.listener", stdout=subprocess.PIPE)
        lines = process.stdout
        assert lines
        assert lines.readline() == "ready\n"

        def record() -> None:
            for line in lines:
                interface, ttl, type_, name, data = line.rstrip("\n").split("\t", 4)
                heard.append(Answer(interface, int(ttl), type_, name, data))

        recorder = Thread(target=record)
        recorder.start()
        try:
            yield heard
        finally:
            process.terminate()
            recorder.join()
            process.wait(timeout=10)
            lines.close()

    @contextmanager
    def publishing(self, *records: Mapping[str, Any]) -> Iterator[None]:
        """Publish records with the agent's provider while the block runs."""
        program = ("-m", "tests.lan.publish", json.dumps(records))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = self.spawn(sys.executable, *program, **pipes)
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.communicate(timeout=10)


class Leader(Protocol):
    """A harness with network namespaces of its own: a world, or a Docker."""

    @property
    def pid(self) -> int:
        """PID 1 of the namespaces, by its PID on our host."""


class Lan:
    """A world, or a Docker, as ``box``, and a ``peer``; use it as a context manager."""

    def __init__(self, world: Leader, folder: Path) -> None:
        self._world = world
        self._folder = folder

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            keeper = stack.enter_context(kept(SCRIPT))
            self.peer = Host(int(keeper.read_line().split()[0]), "peer", self._folder)
            self.box = Host(self._world.pid, "box", self._folder)
            self._join()
            for host in (self.peer, self.box):
                stack.callback(host.close)
                host.start_bus()
            self.peer.start_avahi()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _join(self) -> None:
        self.plug("lan0")
        for host, number in ((self.box, 1), (self.peer, 2)):
            host.run("ip", "addr", "add", f"192.0.2.{number}/24", "dev", "lan0")
            host.run("ip", "addr", "add", f"2001:db8::{number}/64", "dev", "lan0", "nodad")
            host.run("ip", "link", "set", "lan0", "up")

    def plug(self, name: str) -> None:
        """Join the hosts by a pair of interfaces, which have no address and are down."""
        box, peer = str(self.box.pid), str(self.peer.pid)
        pair = ["name", name, "netns", box, "type", "veth", "peer", "name", name, "netns", peer]
        subprocess.run(["ip", "link", "add", *pair], check=True)


def _environment() -> dict[str, str]:
    return os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": SYSTEM_BUS, "LC_ALL": "C.UTF-8"}


def _plain(name: str) -> str:
    r"""Undo what avahi-browse -p does to a name: ``\032`` is a space, ``\.`` a dot."""
    return re.sub(r"\\(\d{3}|.)", lambda it: chr(int(it[1])) if it[1].isdigit() else it[1], name)
