"""Whom the doctor sees: a place on a bus, and a systemd that says what a test wants."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from koi_agent.bus.interfaces import Emits, ErrorReply, Interface, Method, Property, interface
from koi_agent.cli.doctor import examination, units
from koi_agent.cli.doctor.examination import examine
from tests.bus.tables import playing
from tests.world.bus import PrivateBus

UNIT_PATH = "/org/freedesktop/systemd1/unit/koi"


@dataclass(frozen=True)
class Place:
    """Where the user's agent is looked for: on this bus, below this folder."""

    bus: PrivateBus
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder),
            "DBUS_SESSION_BUS_ADDRESS": self.bus.address,
        }

    async def findings(self, scope: str = "user") -> dict[str, list[tuple[str, str, str]]]:
        """Examine; returns verdict, text and advice of each finding, by check."""
        found: dict[str, list[tuple[str, str, str]]] = {}
        for name, one in await examine(scope, self.environment):
            found.setdefault(name, []).append((str(one.verdict), one.text, one.advice))
        return found


def be_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have checks that nobody answers fail sooner."""
    monkeypatch.setattr(examination, "PATIENCE", 2.0)


@asynccontextmanager
async def systemd(
    place: Place, monkeypatch: pytest.MonkeyPatch, *, file: str, active: str, version: str = "257.1"
) -> AsyncIterator[None]:
    """Put a systemd on the bus that says this of our unit; "" is that it knows none."""

    def file_state(_call: object, unit: str) -> Sequence[Any]:
        assert unit == "koi-runtime.service"
        if not file:
            raise ErrorReply("org.freedesktop.DBus.Error.FileNotFound", "no such file")
        return (file,)

    def path_of(_call: object, unit: str) -> Sequence[Any]:
        if not active:
            raise ErrorReply("org.freedesktop.systemd1.NoSuchUnit", f"{unit} not loaded")
        return (UNIT_PATH,)

    name = (("name", "s"),)
    manager = interface(
        units.MANAGER[2],
        Method(name="GetUnitFileState", handle=file_state, takes=name, returns=(("state", "s"),)),
        Method(name="GetUnit", handle=path_of, takes=name, returns=(("unit", "o"),)),
        Property("Version", "s", Emits.CONST, lambda _: version),
    )
    state = Property("ActiveState", "s", Emits.TRUE, lambda _: active)
    unit = interface("org.freedesktop.systemd1.Unit", state)
    objects: dict[str, Interface] = {units.MANAGER[1]: manager, UNIT_PATH: unit}
    async with playing(place.bus.address, units.SYSTEMD, objects):
        yield
