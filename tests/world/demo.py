"""``make run``: the agent in the foreground, on this host's systemd or in a private world."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.namespaces import CHECKOUT
from tests.world import World

NAME: Final = "demo"
SAMPLES: Final = CHECKOUT / "tests/samples"
BUS_NAME: Final = "org.sylin.koi.Runtime1"
POLICY_FOLDERS: Final = (Path("/usr/share/dbus-1/system.d"), Path("/etc/dbus-1/system.d"))

# dbus-daemon reads policies from the two folders above and, on Debian 12 and 13, from no folder
# in /run. So this file is written to /etc and removed when the agent ends.
POLICY: Final = f"""\
<busconfig>
  <policy user="root"><allow own="{BUS_NAME}"/></policy>
  <policy context="default"><allow send_destination="{BUS_NAME}"/></policy>
</busconfig>
"""

ABOUT_HOST: Final = "The agent watches the {scope} manager of this machine."
ABOUT_WORLD: Final = """\
This machine runs no systemd. So here is a private one, which ends with this command:
{units}
In another terminal, `make enter` opens a shell in it, where you can type these lines;
`make enter CMD="..."` runs one of them."""
LINES: Final = """\
  busctl --{scope} tree {name}
  busctl --{scope} introspect {name} /{path}
  busctl --{scope} monitor {name}
  {koi_runtime} --{scope} list
  {koi_runtime} --{scope} watch
  {koi_runtime} --{scope} show web.service
Ctrl-C ends it.

"""


def host_has_systemd() -> bool:
    """Return whether systemd is PID 1; some containers have the folder without it."""
    booted = Path("/run/systemd/system").is_dir()
    return booted and Path("/proc/1/comm").read_text().strip() == "systemd"


def on_host(command: list[str]) -> int:
    """Run the agent on this host's systemd: the system's manager for root, else the user's."""
    scope = "system" if os.geteuid() == 0 else "user"
    koi_runtime = str(Path(sys.executable).with_name("koi-runtime"))
    tell(ABOUT_HOST.format(scope=scope), scope=scope, koi_runtime=koi_runtime)
    with name_allowed() if scope == "system" else contextlib.nullcontext():
        return wait(subprocess.Popen([*command, f"--{scope}"]))


@contextlib.contextmanager
def name_allowed() -> Iterator[None]:
    """Allow root to own the agent's name on the system bus, unless a policy is installed."""
    if any((folder / f"{BUS_NAME}.conf").exists() for folder in POLICY_FOLDERS):
        yield
        return
    policy = POLICY_FOLDERS[-1] / f"{BUS_NAME}-make-run.conf"
    sys.stdout.write(f"Until it ends, {policy} lets it own its name.\n")
    policy.write_text(POLICY)
    try:
        reload_bus()
        yield
    finally:
        policy.unlink()
        reload_bus()


def reload_bus() -> None:
    bus = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
    subprocess.run(["busctl", "--system", "call", *bus, "ReloadConfig"], check=True)


def in_private_world(command: list[str]) -> int:
    """Run the agent in a world of its own, with sample units to watch."""
    with World(NAME) as world:
        shutil.copytree(SAMPLES, world.units, dirs_exist_ok=True)
        world.reload()
        world.systemctl("start", "demo.target")
        tell(ABOUT_WORLD.format(units=samples()), scope="user", koi_runtime="koi-runtime")
        return wait(world.spawn(*command, "--user", env=engines(world)))


def engines(world: World) -> dict[str, str]:
    """Return the agent's variables for the sockets of this host's engines in the world."""
    found = {"DOCKER_HOST": "docker.sock", "CONTAINER_HOST": "podman.sock"}
    return {
        variable: f"unix://{world.home / name}"
        for variable, name in found.items()
        if (world.home / name).exists()
    }


def samples() -> str:
    """Return a line for each sample unit: its name and its description."""
    lines: list[str] = []
    for path in sorted(SAMPLES.iterdir()):
        _, _, text = path.read_text().partition("Description=")
        lines.append(f"  {path.name:16} {text.splitlines()[0]}")
    return "\n".join(lines)


def tell(about: str, *, scope: str, koi_runtime: str) -> None:
    path = BUS_NAME.replace(".", "/")
    lines = LINES.format(scope=scope, name=BUS_NAME, path=path, koi_runtime=koi_runtime)
    sys.stdout.write(f"{about}\nTo try:\n{lines}")
    sys.stdout.flush()


def wait(child: subprocess.Popen[str] | subprocess.Popen[bytes]) -> int:
    """Wait until a program ends; it gets our signals, and Ctrl-C from the terminal itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    with child:
        code = child.wait()
    return 128 - code if code < 0 else code
