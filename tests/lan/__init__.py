"""A small network: a private world as one host, and a peer, each with a real Avahi.

They are joined by a pair of virtual interfaces and see nothing else. Everything dies with the
one who made it, also when that is killed. It needs root.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.lan import resolved
from tests.world import World, namespaces

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
# By default a peer forgets what it heard of past some 800 services.
cache-entries-max=65536
"""
QUIET: Final = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}


def missing() -> str:
    """What this machine lacks for such a network, or nothing."""
    if os.geteuid() != 0:
        return "not root (make test asks for it)"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


@dataclass(frozen=True)
class Found:
    """What a browser found and resolved."""

    name: str
    host: str
    address: str
    port: int
    txt: str


class Host:
    """A host with a system bus and an Avahi, both of which may die and come back."""

    def __init__(self, pid: int, name: str, folder: Path) -> None:
        self.pid = pid
        self.name = name
        self.log = folder / f"{name}.log"
        self._bus_file = folder / f"{name}-bus.conf"
        self._bus_file.write_text(BUS)
        self._avahi_file = folder / f"{name}-avahi.conf"
        self._avahi_file.write_text(AVAHI.format(name=name))
        self._daemons: dict[str, subprocess.Popen[str]] = {}

    def spawn(self, *argv: str | Path, **popen: Any) -> subprocess.Popen[str]:
        """Start a program on this host; it dies with the host."""
        environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": SYSTEM_BUS, "LC_ALL": "C.UTF-8"}
        popen.setdefault("stderr", subprocess.DEVNULL)
        return namespaces.spawn(self.pid, map(str, argv), text=True, env=environment, **popen)

    def run(self, *argv: str | Path, timeout: float = 15, **popen: Any) -> str:
        """Run a program on this host to its end; returns what it wrote."""
        with self.spawn(
            *argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **popen
        ) as process:
            try:
                out, _ = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        return out

    def start_bus(self) -> None:
        self.run("mkdir", "-p", "/run/dbus", "/run/avahi-daemon")
        self._start(
            "bus", "dbus-daemon", "--nofork", "--nopidfile", f"--config-file={self._bus_file}"
        )
        self._wait("/run/dbus/system_bus_socket")

    def start_avahi(self) -> None:
        """Start Avahi, and wait until it has its name."""
        options = ("--no-drop-root", "--no-chroot", "--no-rlimits", "-f")
        self._start("avahi", "avahi-daemon", *options, str(self._avahi_file))
        deadline = time.monotonic() + 15
        while f"{self.name}.local" not in self.run(
            "avahi-resolve", "-n", f"{self.name}.local", stderr=subprocess.DEVNULL
        ):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def start_resolved(self) -> None:
        """Start systemd-resolved with mDNS, and wait until it answers."""
        for folder in ("/run/systemd/resolved.conf.d", "/run/systemd/resolve"):
            self.run("mkdir", "-p", folder)
        settings = Path(f"/proc/{self.pid}/root/run/systemd/resolved.conf.d/test.conf")
        settings.write_text(resolved.SETTINGS)
        self._add_user(resolved.USER)
        self.run("chown", f"{resolved.USER}:", "/run/systemd/resolve")
        self._start("resolved", *resolved.command("systemd-resolved"))
        deadline = time.monotonic() + 15
        while "+mDNS" not in self.run(*resolved.command("resolvectl"), "status", "lan0"):
            self.run(*resolved.command("resolvectl"), "mdns", "lan0", "yes")
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def _add_user(self, name: str) -> None:
        """Let a user exist on this host, where the machine has none of this name."""
        for file, line in (
            ("passwd", f"{name}:x:64123:64123::/:/bin/false"),
            ("group", f"{name}:x:64123:"),
        ):
            known = Path(f"/proc/{self.pid}/root/etc/{file}").read_text()
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
        """The Avahi that runs."""
        return self._daemons["avahi"]

    def close(self) -> None:
        for name in list(self._daemons):
            self.end(name)

    def _start(self, name: str, *argv: str) -> None:
        with self.log.open("a") as log:
            self._daemons[name] = self.spawn(*argv, **QUIET, stderr=log)

    def _wait(self, path: str) -> None:
        deadline = time.monotonic() + 10
        while not Path(f"/proc/{self.pid}/root{path}").exists():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)

    # As a client of what others publish

    def resolve(self, name: str, family: str = "-4") -> str:
        """Resolve a host name; returns the address, "" for none."""
        answer = self.run("timeout", "2", "avahi-resolve", family, "-n", name).split()
        return answer[1] if len(answer) == 2 else ""

    def browse(self, type_: str, *, seconds: float = 15) -> list[Found]:
        """Browse for services and resolve them, until nothing new comes."""
        lines = self.run("avahi-browse", "-rtp", type_, timeout=seconds).splitlines()
        fields = [line.split(";", 9) for line in lines if line.startswith("=;")]
        found = {Found(_plain(f[3]), f[6], f[7], int(f[8]), f[9]) for f in fields if len(f) == 10}
        return sorted(found, key=lambda one: (one.name, one.address))

    @contextmanager
    def watching(self, type_: str) -> Iterator[list[str]]:
        """Browse until the block is left; then the list has what came (+) and went (-)."""
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


class Lan:
    """The world ``box`` and a ``peer``; use it as a context manager."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._keeper = subprocess.Popen(
                ["unshare", "-m", "-p", "-n", "-f", "--kill-child", "--", SCRIPT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            stack.callback(self._end_peer)
            assert self._keeper.stdout is not None
            assert self._keeper.stdout.readline() == "ready\n"
            task = Path(f"/proc/{self._keeper.pid}/task/{self._keeper.pid}/children")
            self.peer = Host(int(task.read_text()), "peer", self._folder)
            self.box = Host(self._world.pid, "box", self._folder)
            self._join()
            for host in (self.peer, self.box):
                stack.callback(host.close)
                host.start_bus()
            self.peer.start_avahi()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _end_peer(self) -> None:
        with self._keeper:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
            self._keeper.wait(timeout=20)

    def _join(self) -> None:
        box, peer = str(self.box.pid), str(self.peer.pid)
        pair = ["name", "lan0", "netns", box, "type", "veth", "peer", "name", "lan0", "netns", peer]
        subprocess.run(["ip", "link", "add", *pair], check=True)
        for host, number in ((self.box, 1), (self.peer, 2)):
            host.run("ip", "addr", "add", f"192.0.2.{number}/24", "dev", "lan0")
            host.run("ip", "addr", "add", f"2001:db8::{number}/64", "dev", "lan0", "nodad")
            host.run("ip", "link", "set", "lan0", "up")


def _plain(name: str) -> str:
    r"""Undo what avahi-browse -p does to a name: ``\032`` is a space."""
    parts = name.split("\\")
    return parts[0] + "".join(chr(int(part[:3])) + part[3:] for part in parts[1:])
