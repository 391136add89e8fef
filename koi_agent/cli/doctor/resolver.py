"""How the programs of this host find names: whether libc asks systemd-resolved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from koi_agent.cli.doctor.findings import Host

USE_STUB: Final = "ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf"
STUB: Final = "127.0.0.53"
START: Final = "systemctl enable --now systemd-resolved"
NO_NAMES: Final = "this host finds no names"
NOT_RUNNING: Final = "systemd-resolved is not running"
NOT_ASKED: Final = "its programs do not ask systemd-resolved"


def is_asked_by_programs(host: Host) -> bool:
    """Return True if libc asks systemd-resolved: by its stub, or by nss-resolve(8)."""
    servers = [line.split()[1:2] for line in _lines(host.resolver) if line.startswith("nameserver")]
    services = [line for line in _lines(host.name_services) if line.startswith("hosts:")]
    return [STUB] in servers or any("resolve" in line.split() for line in services)


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ()
