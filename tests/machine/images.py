"""Root file systems of machines: each a Debian suite, made by mmdebstrap and kept.

They have what a machine needs on which koi-runtime is installed, and all of it is Debian's:
nothing of ours is in them.
"""

import fcntl
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[2] / "build/machines"
"""Where they are kept; ``make clean`` removes them."""

USER: Final = "plain"
"""A user of every machine who may do nothing in particular."""
UID: Final = 1000

SYSTEM: Final = (
    *("systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "polkitd"),
    *("curl", "make", "procps", "util-linux"),
)
AGENT: Final = (
    *("python3", "python3-aiohttp", "python3-dbus-next", "python3-sdnotify"),
    "python3-systemd",
)
TESTS: Final = (
    *("autopkgtest", "openssl"),
    *("python3-hypothesis", "python3-jsonschema", "python3-pytest", "python3-pytest-asyncio"),
    "python3-pytest-timeout",
)
ENGINES: Final = (
    *("podman", "crun", "netavark", "aardvark-dns", "nftables", "iptables", "busybox-static"),
    "docker.io",
)
ANNOUNCERS: Final = ("avahi-daemon", "avahi-utils", "iproute2", "systemd-resolved")
ENABLED: Final = (
    *("avahi-daemon.service", "avahi-daemon.socket", "systemd-resolved.service"),
    *("docker.service", "docker.socket", "containerd.service", "podman.socket", "podman.service"),
    *("podman-auto-update.timer", "podman-auto-update.service", "podman-restart.service"),
    *("podman-clean-transient.service", "netavark-dhcp-proxy.socket", "nftables.service"),
)
PACKAGES: Final = {
    "bookworm": SYSTEM + AGENT + ENGINES + ANNOUNCERS,
    "trixie": (*SYSTEM, *AGENT, *ENGINES, *ANNOUNCERS, "docker-cli"),
    "forky": (*SYSTEM, *AGENT, *ENGINES, *ANNOUNCERS, "docker-cli", *TESTS),
}
"""What is in which suite's machine."""


def image(suite: str) -> Path:
    """Find a suite's root file system; it is made, in half a minute, if it is not there yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    folder, recipe = FOLDER / suite, FOLDER / f"{suite}.recipe"
    command = _recipe(suite)
    with _alone(FOLDER / f"{suite}.lock"):
        if not (folder.is_dir() and recipe.exists() and recipe.read_text() == shlex.join(command)):
            recipe.unlink(missing_ok=True)
            if folder.exists():
                shutil.rmtree(folder)
            _make([*command, str(folder)], FOLDER / f"{suite}.build.log")
            recipe.write_text(shlex.join(command))
    return folder


def _recipe(suite: str) -> list[str]:
    return [
        "mmdebstrap",
        "--variant=minbase",
        "--mode=root",
        # A mirror may have stood still for weeks; its signature is checked all the same.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        f"--include={','.join(sorted(PACKAGES[suite]))}",
        f'--customize-hook=chroot "$1" useradd --create-home --uid {UID} {USER}',
        '--customize-hook=rm "$1/etc/resolv.conf"',  # the host's; machines have no network
        # Whoever wants an engine, or an Avahi, starts it; nobody else is to do that.
        f'--customize-hook=chroot "$1" systemctl disable --quiet {" ".join(ENABLED)} || true',
        # What modules there are is the host's concern.
        '--customize-hook=chroot "$1" systemctl mask --quiet systemd-modules-load.service',
        suite,
    ]


def _make(command: list[str], log: Path) -> None:
    with log.open("w") as output:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}: exit {done.returncode}, see {log}")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let two test runs in one checkout not make the same image."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
