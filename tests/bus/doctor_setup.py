"""The surroundings of an examination: a bus, a folder, facts of a host, and a fake systemd."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from koi_agent.bus.interfaces import Emits, ErrorReply, Interface, Method, Property, interface
from koi_agent.cli.doctor import units
from koi_agent.cli.doctor.examination import examine
from koi_agent.cli.doctor.findings import Case, Host
from tests.bus.tables import playing
from tests.world.bus import PrivateBus

UNIT_PATH = "/org/freedesktop/systemd1/unit/koi"


@dataclass(frozen=True)
class Setup:
    """The bus and the folder in which the doctor finds a user's agent, and the facts of its host.

    ``timeout`` is the seconds that a check may take.
    """

    bus: PrivateBus
    folder: Path
    host: Host = field(default_factory=Host)
    timeout: float = 5.0

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder),
            "DBUS_SESSION_BUS_ADDRESS": self.bus.address,
        }

    async def findings(self, scope: str = "user") -> dict[str, list[tuple[str, str, str]]]:
        """Examine; return verdict, text and advice of each finding, by check."""
        case = Case(scope=scope, environment=self.environment, host=self.host, timeout=self.timeout)
        found: dict[str, list[tuple[str, str, str]]] = {}
        for name, one in await examine(case):
            found.setdefault(name, []).append((str(one.verdict), one.text, one.advice))
        return found


@asynccontextmanager
async def systemd(
    setup: Setup,
    *,
    file: str,
    active: str,
    version: str = "257.1",
    unit_name: str = "koi-runtime.service",
    others: Mapping[str, str] = {},
) -> AsyncIterator[None]:
    """Run a fake systemd with these states of one unit; "" means that there is no unit.

    ``others`` are the active states of further units by name.
    """
    loaded = {name: state for name, state in ({unit_name: active} | {**others}).items() if state}
    paths = {name: f"{UNIT_PATH}{number}" for number, name in enumerate(loaded)}

    def file_state(_call: object, unit: str) -> Sequence[Any]:
        if not file or unit != unit_name:
            raise ErrorReply("org.freedesktop.DBus.Error.FileNotFound", "no such file")
        return (file,)

    def path_of(_call: object, unit: str) -> Sequence[Any]:
        if unit not in paths:
            raise ErrorReply("org.freedesktop.systemd1.NoSuchUnit", f"{unit} not loaded")
        return (paths[unit],)

    name = (("name", "s"),)
    manager = interface(
        units.MANAGER[2],
        Method(name="GetUnitFileState", handle=file_state, takes=name, returns=(("state", "s"),)),
        Method(name="GetUnit", handle=path_of, takes=name, returns=(("unit", "o"),)),
        Property("Version", "s", Emits.CONST, lambda _: version),
    )
    objects: dict[str, Interface] = {units.MANAGER[1]: manager}
    objects |= {path: _unit(loaded[name]) for name, path in paths.items()}
    async with playing(setup.bus.address, units.SYSTEMD, objects):
        yield


def _unit(active: str) -> Interface:
    state = Property("ActiveState", "s", Emits.TRUE, lambda _: active)
    return interface("org.freedesktop.systemd1.Unit", state)
