"""The input and the results of checks."""

import platform
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

from koi_agent.bus.client import BUS, BUS_PATH, Connection
from koi_agent.core.frozen import frozen

DRIVER = (BUS, BUS_PATH, BUS)

INSTALLING = {
    "debian": "apt install --reinstall ./koi-runtime_*.deb",
    "fedora": "dnf reinstall ./koi-runtime-*.rpm || dnf install ./koi-runtime-*.rpm",
    "arch": "pacman -U ./koi-runtime-*.pkg.tar*",
}
"""Commands that reinstall the package from its file, by distribution; no archive has it."""


class Verdict(StrEnum):
    """The result of a check; only a failure makes the command fail."""

    OK = "ok"
    WARNING = "warn"
    FAILURE = "fail"


@frozen(kw_only=True)
class Finding:
    """One result with its text; ``advice`` is what to run or do next, or ""."""

    verdict: Verdict
    text: str
    advice: str = ""


@frozen(kw_only=True)
class Bus:
    """A bus that answers: the owner of the agent's name, or "", and the other names."""

    link: Connection
    owner: str
    names: frozenset[str]
    activatable: frozenset[str]


CREDENTIALS: Final = "/run/credentials/koi-runtime.service"
"""Where systemd passes credentials to the agent (systemd.exec(5)); root may read them."""


@frozen(kw_only=True)
class Host:
    """The facts about this host that advice depends on.

    ``distributions`` are the distribution and those that it is derived from (ID and ID_LIKE of
    os-release(5)). ``environment`` is the virtual environment of this command, such as pipx
    creates, or ``None``. ``policies`` are the folders of D-Bus policies (dbus-daemon(1)). The files
    of Kubernetes and of a Koi daemon are below ``root``.
    """

    distributions: Sequence[str] = ()
    environment: Path | None = None
    policies: Sequence[Path] = (Path("/etc/dbus-1/system.d"), Path("/usr/share/dbus-1/system.d"))
    avahi_daemon: Path = Path("/usr/sbin/avahi-daemon")
    libraries: Path = Path("/usr/lib")
    resolver: Path = Path("/etc/resolv.conf")
    name_services: Path = Path("/etc/nsswitch.conf")
    root: Path = Path("/")

    def choose(self, commands: Mapping[str, str], default: str) -> str:
        """Return the command of this distribution, or the default."""
        return next((commands[name] for name in self.distributions if name in commands), default)


@frozen(kw_only=True)
class Case:
    """The subject of an examination; ``bus`` is ``None`` if it does not answer.

    ``timeout`` is the seconds that a check may take.
    """

    scope: str
    environment: Mapping[str, str]
    host: Host
    timeout: float = 5.0
    bus: Bus | None = None

    @property
    def served(self) -> bool:
        return self.bus is not None and self.bus.owner != ""

    @property
    def systemctl(self) -> str:
        return "systemctl --user" if self.scope == "user" else "systemctl"

    @property
    def reload_units(self) -> str:
        """The command after which systemd and the agent read unit files again."""
        return f"{self.systemctl} daemon-reload"

    @property
    def reinstall(self) -> str:
        """The command that installs a missing part of the installation."""
        if self.scope == "user" and self.host.environment:
            return "koi-runtime install-units --user"
        return self.host.choose(INSTALLING, "make install")

    @property
    def journal(self) -> str:
        return f"journalctl{' --user' if self.scope == 'user' else ''} -u koi-runtime"


def this_host() -> Host:
    """Return the facts about the host that this command runs on."""
    environment = Path(sys.prefix) if sys.prefix != sys.base_prefix else None
    return Host(distributions=_distributions(), environment=environment)


def _distributions() -> list[str]:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return []
    return [release["ID"], *release.get("ID_LIKE", "").split()]


def ok(text: str) -> Finding:
    return Finding(verdict=Verdict.OK, text=text)


def warning(text: str, advice: str = "") -> Finding:
    return Finding(verdict=Verdict.WARNING, text=text, advice=advice)


def failure(text: str, advice: str = "") -> Finding:
    return Finding(verdict=Verdict.FAILURE, text=text, advice=advice)
