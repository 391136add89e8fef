"""Machines of systemd-nspawn in a booted machine, and what is published of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.machine import Machine
from tests.namespaces import HarnessFailed, wait_until
from tests.system.engines import instances
from tests.system.service import Service

ROOT: Final = "/var/lib/machines/web"
TEMPLATE: Final = "systemd-nspawn@web.service"
DROP_IN: Final = f"/etc/systemd/system/{TEMPLATE}.d/koi.conf"
SETTINGS: Final = "/etc/systemd/nspawn/web.nspawn"
ROOTS: Final = "/srv/machines"
INIT: Final = """\
#!/bin/sh
ip addr add 10.77.0.2/24 dev host0 2>/dev/null
ip link set lo up; ip link set host0 up
httpd -p 8081
exec sleep 1000
"""
COMMAND: Final = ("systemd-nspawn", "--quiet", "--register=yes", "--volatile=no")


class Machines:
    """Machines of systemd-nspawn in a booted machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def make_root(self, root: str = ROOT) -> str:
        """Make a root file system of busybox."""
        script = (
            f"set -e; mkdir -p {root}; cd {root}; mkdir -p bin sbin etc usr proc sys dev run tmp;"
            "cp /bin/busybox bin/;"
            "for name in sh sleep httpd ip; do ln -sf busybox bin/$name; done;"
            "echo ID=busybox > etc/os-release"
        )
        self.machine.run("sh", "-c", script)
        self.machine.write(f"{root}/sbin/init", INIT)
        self.machine.run("chmod", "755", f"{root}/sbin/init")
        return root

    def run(self, name: str, *options: str) -> None:
        """Start a machine with a scope of its own, as an administrator does on a terminal."""
        self.machine.run(*self.start_command(name, *options))
        wait_until(lambda: name in self.running(), f"{name} is registered")

    def start_command(self, name: str, *options: str) -> tuple[str, ...]:
        """Return the command that starts a machine; make its root file system."""
        root = self.make_root(f"{ROOTS}/{name}")
        command = (*COMMAND, f"--directory={root}", f"--machine={name}", *options)
        return ("systemd-run", "--quiet", "--collect", f"--unit={unit_of(name)}", *command)

    def call(self, *arguments: str) -> str:
        return self.machine.run("machinectl", "--no-pager", *arguments).stdout

    def running(self) -> set[str]:
        """Return the names of all machines, without starting systemd-machined."""
        listed = self.machine.run("machinectl", "list", "--no-legend", "--no-pager", check=False)
        return {line.split()[0] for line in listed.stdout.splitlines() if line.split()}

    def stop_all(self) -> None:
        for name in self.running():
            self.machine.run("machinectl", "terminate", name, check=False)
        self.machine.systemctl("stop", TEMPLATE, "koi-runs-*", check=False)
        wait_until(lambda: not self.running(), "no machine runs")

    def leaders(self) -> dict[str, int]:
        """Return the PIDs of the leaders of all machines, by name."""
        names = sorted(self.running())
        shown = [self._properties(name) for name in names]
        return {one["Name"]: int(one["Leader"]) for one in shown if one}

    def _properties(self, name: str) -> dict[str, str]:
        """Return name and leader of a machine, nothing if it is gone."""
        show = ("machinectl", "show", "--property=Name", "--property=Leader", name)
        lines = self.machine.run(*show, check=False).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)


@contextmanager
def nspawn(machine: Machine) -> Iterator[Machines]:
    """Yield what starts machines; stop all of them, and remove their files."""
    machines = Machines(machine)
    try:
        yield machines
    finally:
        machines.stop_all()
        for path in (DROP_IN, SETTINGS, ROOT, ROOTS):
            machine.remove(path)
        machine.systemctl("daemon-reload")


def unit_of(name: str) -> str:
    """Return the unit in which the supervisor of a machine runs."""
    return f"koi-runs-{name}"


def known(service: Service) -> dict[str, Any]:
    """Return the machines that are published, by name."""
    return dict(instances(service, "machined"))


def fetched(service: Service) -> dict[str, Any] | None:
    """Return the machines that are published, None while the agent starts again."""
    try:
        return known(service)
    except (HarnessFailed, ValueError):
        return None


def await_machine(service: Service, name: str) -> dict[str, Any]:
    """Wait until a machine is published, and return it."""
    wait_until(lambda: name in known(service), lambda: f"{name} is known: {known(service)}")
    return dict(known(service)[name])
