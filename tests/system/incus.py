"""Incus or LXD in a booted machine: Debian's own, with an image made on the spot."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.machine import Machine
from tests.namespaces import wait_until
from tests.system.engines import instances
from tests.system.service import Service


@dataclass(frozen=True)
class ServerKind:
    """The server of a suite, and its commands."""

    name: str
    command: str
    init: tuple[str, ...]
    snapshot: tuple[str, ...]
    units: tuple[str, ...]
    bridge: str

    @property
    def service(self) -> str:
        return f"{self.name}.service"

    @property
    def socket(self) -> str:
        return f"/var/lib/{self.name}/unix.socket"

    @property
    def gate(self) -> str:
        return f"/run/koi-runtime/gate/{self.name}.sock"


KINDS: Final = {
    "trixie": ServerKind(
        name="incus",
        command="incus",
        init=("incus", "admin", "init", "--minimal"),
        snapshot=("snapshot", "create"),
        units=("incus.socket", "incus.service", "incus-user.socket", "incus-startup.service"),
        bridge="incusbr0",
    ),
    "bookworm": ServerKind(
        name="lxd",
        command="lxc",
        init=("lxd", "init", "--minimal"),
        snapshot=("snapshot",),
        units=("lxd.socket", "lxd.service", "lxd-containers.service"),
        bridge="lxdbr0",
    ),
}
"""The server that each suite has a package of."""
IMAGE: Final = "bb"
COMMANDS: Final = ("sh", "init", "ip", "udhcpc", "httpd", "sleep", "poweroff", "reboot", "kill")
MAKE_IMAGE: Final = f"""
mkdir -p /srv/i/rootfs/bin /srv/i/rootfs/sbin /srv/i/rootfs/etc /srv/i/rootfs/proc
mkdir -p /srv/i/rootfs/sys /srv/i/rootfs/dev
cp /usr/bin/busybox /srv/i/rootfs/bin/
for name in {" ".join(COMMANDS)}; do ln -sf busybox /srv/i/rootfs/bin/$name; done
ln -sf ../bin/busybox /srv/i/rootfs/sbin/init
cd /srv/i/rootfs/etc
cat > inittab <<'END'
::sysinit:/bin/sh /etc/rc
::respawn:/bin/sleep 100000
::shutdown:/bin/true
END
cat > rc <<'END'
ip link set lo up
ip link set eth0 up
udhcpc -i eth0 -b -s /etc/lease
httpd -p 80 -h /etc
END
cat > lease <<'END'
#!/bin/sh
case $1 in bound|renew)
  ip addr flush dev eth0; ip addr add $ip/$mask dev eth0; ip route add default via $router;;
esac
END
chmod +x lease
cd /srv/i
cat > metadata.yaml <<'END'
architecture: x86_64
creation_date: 1700000000
properties: {{description: busybox, os: busybox, release: "1"}}
END
tar cJf /srv/image.tar.xz metadata.yaml rootfs
"""

MAKE_RESOLV_CONF: Final = """
file=$(readlink -m /etc/resolv.conf)
mkdir -p ${file%/*}
test -e $file || : > $file
"""
"""Its dnsmasq does not start without this file. It may be a link to one of systemd-resolved."""
STATES: Final = {"Running": "running", "Frozen": "paused"}


class IncusServer:
    """The server of a machine; it is stopped, and its gate is closed."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.kind = KINDS[machine.suite]
        self._gate = f"koi-runtime-gate@{self.kind.name}.path"

    def prepare(self) -> None:
        """Prepare a file system for the server, a network and an image."""
        self.machine.systemctl("stop", *self.kind.units)
        # The machine's own is an overlay, on which a storage pool can't be.
        storage = f"/var/lib/{self.kind.name}"
        self.machine.run("sh", "-c", f"rm -rf {storage}/*; mkdir -p {storage}")
        self.machine.run("mount", "-t", "tmpfs", "-o", "mode=0711", "tmpfs", storage)
        self.machine.run("sh", "-ec", MAKE_IMAGE)
        self.machine.run("sh", "-ec", MAKE_RESOLV_CONF)
        self.start()
        self.machine.run(*self.kind.init, timeout=120)
        self.call("image", "import", "/srv/image.tar.xz", f"--alias={IMAGE}")

    def start(self) -> None:
        self.machine.systemctl("start", f"{self.kind.name}.socket", self.kind.service)

    def open_gate(self, service: Service) -> None:
        """Grant the agent access through the gate."""
        self.machine.systemctl("unmask", self._gate)
        service.systemctl("restart")

    def stop(self) -> None:
        """Remove all instances, stop the server and its gate, and remove its socket."""
        for record in self.listed():
            self.call("delete", "--force", f"--project={record['project']}", record["name"])
        self.machine.systemctl("mask", "--now", self._gate)
        self.machine.systemctl("stop", *self.kind.units)
        self.machine.run("rm", "-f", self.kind.socket)  # as on a host without a server

    def call(self, *arguments: str) -> str:
        return self.machine.run(self.kind.command, *arguments, timeout=120).stdout

    def launch(self, name: str, *arguments: str, project: str = "default") -> None:
        """Create an instance and start it."""
        place = f"--project={project}"
        self.call("init", place, IMAGE, name, *arguments)
        self.start_instance(name, place)

    def start_instance(self, name: str, *place: str) -> None:
        """Start an instance; a server refuses until its networks are up."""
        start = (self.kind.command, "start", *place, name)
        errors = [""]

        def is_started() -> bool:
            done = self.machine.run(*start, check=False, timeout=120)
            errors.append(done.stderr)
            return done.returncode == 0 or "already running" in done.stderr

        wait_until(is_started, lambda: f"{name} is started: {errors[-1]}", timeout=120)

    def pause(self, name: str) -> None:
        """Freeze an instance of the default project; LXD 5.0 may wait forever at first."""
        command = ("timeout", "--signal=KILL", "30", self.kind.command, "pause", name)

        def is_paused() -> bool:
            self.machine.run(*command, check=False, timeout=60)
            return bool(self.running()[f"default/{name}"]["state"] == "paused")

        wait_until(is_paused, lambda: f"{name} is paused: {self.running()}", timeout=120)

    def listed(self) -> list[Mapping[str, Any]]:
        """Return all instances of all projects."""
        found = json.loads(self.call("list", "--all-projects", "--format=json"))
        return list(found)

    def running(self) -> dict[str, Any]:
        """Return what should be published, by id."""
        return {
            f"{one['project']}/{one['name']}": {
                "state": STATES.get(one["status"], one["status"]),
                "main_pid": (one["state"] or {}).get("pid"),
                "ips": sorted(_addresses(one)),
            }
            for one in self.listed()
            if one["status"] != "Stopped"
        }


def _addresses(record: Mapping[str, Any]) -> list[str]:
    """Return the global addresses of an instance."""
    networks = (record["state"] or {}).get("network") or {}
    return [
        address["address"]
        for one in networks.values()
        for address in one["addresses"]
        if address["scope"] == "global"
    ]


def published(incus: IncusServer, service: Service) -> dict[str, object]:
    return {
        id_: {"state": one["state"], "main_pid": one["main_pid"], "ips": sorted(one["ips"])}
        for id_, one in instances(service, incus.kind.name).items()
        if not one["stale"]
    }


def await_agreement(incus: IncusServer, service: Service, *, addresses: bool = False) -> None:
    """Wait until what is published is what runs, with an address each if they are wanted."""

    def agrees() -> bool:
        real = incus.running()
        return published(incus, service) == real and all(
            one["ips"] or not addresses for one in real.values()
        )

    wait_until(
        agrees, lambda: f"{published(incus, service)} is published of {incus.running()}", timeout=60
    )
