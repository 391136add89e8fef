"""Root file systems of machines: each is a Debian suite, made by mmdebstrap and kept.

They contain Debian packages only: those that koi-runtime and its tests need.
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
"""The folder of all images; ``make clean`` removes it."""

USER: Final = "plain"
"""A user of every machine without privileges."""
UID: Final = 1000

SYSTEM: Final = (
    *("systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "polkitd"),
    *("curl", "make", "procps", "util-linux"),
)
AGENT: Final = (
    *("python3", "python3-aiohttp", "python3-dbus-next", "python3-dnspython"),
    "python3-sdnotify",
    "python3-systemd",
)
TESTS: Final = (
    *("autopkgtest", "openssl"),
    *("python3-hypothesis", "python3-jsonschema", "python3-pytest", "python3-pytest-asyncio"),
    *("python3-pytest-timeout", "python3-yaml"),
)
ENGINES: Final = (
    *("podman", "crun", "netavark", "aardvark-dns", "nftables", "iptables", "busybox-static"),
    "docker.io",
)
OTHERS: Final = ("caddy", "systemd-container")
LXD: Final = ("lxd", "lxd-client", "dnsmasq-base", "xz-utils", "squashfs-tools")
INCUS: Final = ("incus", "incus-client", "dnsmasq-base", "xz-utils")
VIRTUAL: Final = ("qemu-system-x86", "ovmf", "openssh-client")
"""The programs that systemd-vmspawn needs."""
ANNOUNCERS: Final = ("avahi-daemon", "avahi-utils", "iproute2", "systemd-resolved")
ENABLED: Final = (
    *("avahi-daemon.service", "avahi-daemon.socket", "systemd-resolved.service"),
    "caddy.service",
    *("docker.service", "docker.socket", "containerd.service", "podman.socket", "podman.service"),
    *("podman-auto-update.timer", "podman-auto-update.service", "podman-restart.service"),
    *("podman-clean-transient.service", "netavark-dhcp-proxy.socket", "nftables.service"),
    *("incus.socket", "incus.service", "incus-user.socket", "incus-startup.service"),
    *("lxd.socket", "lxd.service", "lxd-containers.service"),
)
PACKAGES: Final = {
    "bookworm": SYSTEM + AGENT + ENGINES + LXD + OTHERS + ANNOUNCERS,
    "trixie": (*SYSTEM, *AGENT, *ENGINES, *INCUS, *OTHERS, *ANNOUNCERS, "docker-cli"),
    "forky": (*SYSTEM, *AGENT, *ENGINES, *OTHERS, *ANNOUNCERS, "docker-cli", *VIRTUAL, *TESTS),
}
"""The packages of each suite's machine."""


def image(suite: str) -> Path:
    """Return a suite's root file system; making one takes half a minute."""
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
        # The mirror may be weeks old; its signature is checked all the same.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        f"--include={','.join(sorted(PACKAGES[suite]))}",
        f'--customize-hook=chroot "$1" useradd --create-home --uid {UID} {USER}',
        '--customize-hook=rm "$1/etc/resolv.conf"',  # the host's; machines have no network
        # Tests start the engines and the Avahi that they need.
        f'--customize-hook=chroot "$1" systemctl disable --quiet {" ".join(ENABLED)} || true',
        # Kernel modules are the host's.
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
    """Hold a lock file, so that two test runs in one checkout do not make the same image."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
