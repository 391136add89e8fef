"""A Docker as one host of a network: the agent follows it there, and a peer sees what it announces.

Docker has a network of its own, so the agent and its bus run beside it and not in the world.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.dockerd import Dockerd
from tests.lan import SYSTEM_BUS, Lan
from tests.namespaces import CHECKOUT

CONFIG: Final = "[Runtime]\nBackends=docker\n[Docker]\nSocket={}\n"
HEALTH: Final = {"koi.health.path": "/bin/busybox", "koi.health.interval": "1"}
ASK: Final = "import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5)"


class DockerHost:
    """The agent's surroundings, for the functions of ``tests.real.agents``."""

    def __init__(self, docker: Dockerd, lan: Lan, folder: Path) -> None:
        self.docker = docker
        self.box = lan.box
        self.peer = lan.peer
        self.home = folder / "home"
        self.bus_address = f"unix:path=/proc/{docker.pid}/root/run/dbus/system_bus_socket"

    def spawn(self, *argv: str | Path, **popen: Any) -> subprocess.Popen[str]:
        """Start a program beside Docker."""
        environment = os.environ | {
            "HOME": str(self.home),
            "PYTHONPATH": str(CHECKOUT),
            "XDG_RUNTIME_DIR": "/run",
            "DBUS_SESSION_BUS_ADDRESS": SYSTEM_BUS,
            "DBUS_SYSTEM_BUS_ADDRESS": SYSTEM_BUS,
        }
        return self.docker.spawn(*argv, env=environment, **popen)

    def serve(self, name: str, *options: str, port: int = 80) -> str:
        """Run a container that opts in and serves HTTP on a port; return its id."""
        labels = {"koi.announce": name, "koi.type": "_http._tcp"}
        flags = [f"--label={key}={value}" for key, value in labels.items()]
        command = ("koi-busybox", "httpd", "-f", "-p", f"{port}")
        return self.docker.run(
            "run", "--detach", f"--name={name}", *flags, *options, *command
        ).stdout.strip()

    def peer_gets(self, url: str) -> bool:
        """Return True if the peer gets a page."""
        process = self.peer.spawn(sys.executable, "-c", ASK, url)
        return process.wait(30) == 0


@contextmanager
def docker_host(folder: Path, *options: str) -> Iterator[DockerHost]:
    """Start a Docker with options of its own, and a peer that is on a network with it."""
    with Dockerd(folder, *options) as docker, Lan(docker, folder) as lan:
        lan.box.start_avahi()
        host = DockerHost(docker, lan, folder)
        settings = host.home / ".config/koi-runtime/koi-runtime.conf"
        settings.parent.mkdir(parents=True)
        settings.write_text(CONFIG.format(docker.socket))
        yield host
