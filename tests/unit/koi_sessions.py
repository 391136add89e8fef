"""Sessions with a Koi daemon, for tests: the provider of a user's agent that reads a breadcrumb."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from koi_agent.core.contracts import Provider, ProviderSession
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.core.plan.records import Record
from koi_agent.host.koi_daemon.settings import KoiSettings
from tests.real.agents import eventually
from tests.unit.fake_koi import FakeKoi
from tests.unit.fake_koi_server import KoiServer, served

SETTINGS = KoiSettings(scope="user")


class Opened:
    """A session that works, and what it reported."""

    def __init__(self, session: ProviderSession[Any]) -> None:
        self.session = session
        self.reported: dict[Key, Sequence[RecordStatus]] = {}

    async def put(self, *records: Any) -> None:
        """Set the records of the owners of these records."""
        owners: dict[Key, list[Record]] = {}
        for one in records:
            owners.setdefault(one.owner, []).append(one)
        for owner, of_owner in owners.items():
            await self.session.put(owner, of_owner)

    async def drop(self, owner: Key) -> None:
        self.reported.pop(owner, None)
        await self.session.put(owner, ())

    async def reports(self, owner: Key, state: RecordState, text: str = "") -> None:
        """Wait until all records of an owner are in a state, with a text in the reason."""

        def is_so() -> bool:
            found = self.reported.get(owner, ())
            return bool(found) and all(one.state is state and text in one.reason for one in found)

        await eventually(is_so, f"{owner} {state} {text}: {self.reported}")

    async def announced(self, *owners: Key) -> None:
        for one in owners:
            await self.reports(one, RecordState.ANNOUNCED)


@pytest.fixture
async def koi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KoiServer]:
    """Serve a daemon, whose breadcrumb a user's agent finds."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/no-bus")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    async with served(FakeKoi(time.monotonic), tmp_path) as server:
        yield server


@asynccontextmanager
async def opened(provider: Provider[Any]) -> AsyncIterator[Opened]:
    """Open a session, and close it as an agent does that ends for good."""
    reported: dict[Key, Sequence[RecordStatus]] = {}
    async with provider.session(reported.__setitem__) as session:
        made = Opened(session)
        made.reported = reported
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                running = group.create_task(session.run())
                yield made
                running.cancel()
