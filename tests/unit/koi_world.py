"""An agent, a Koi daemon, and another client of it, for tests in virtual time."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, cast
from unittest.mock import patch
from urllib.parse import quote

from koi_agent.announce.feed import Feed
from koi_agent.capabilities.mdns.koi import MdnsSession
from koi_agent.core import contracts
from koi_agent.core.contracts import ProviderSession, Report
from koi_agent.core.frozen import frozen
from koi_agent.core.key import Key
from koi_agent.host.koi_daemon.daemon import Daemon
from koi_agent.host.koi_daemon.kinds import KINDS, service_key, text_of
from koi_agent.host.koi_daemon.session import Entry, Plan, Recorded, keeping
from koi_agent.host.koi_daemon.settings import KoiSettings
from tests.unit.dns_zones import key
from tests.unit.fake_koi import FakeKoi
from tests.unit.fake_koi_server import LATE, KoiServer, served
from tests.unit.fake_koi_wire import Json, Request
from tests.unit.koi_sessions import SETTINGS
from tests.unit.virtual_time import run

NAMES: Final = ("x", "y")


class Event(NamedTuple):
    at: float
    act: str
    name: str
    number: int


def bodies(kind: str, name: str, number: int) -> Json:
    """Return the body of an entry; numbers from 100 are those of another client."""
    match kind:
        case "dns":
            return {"name": f"{name}.internal", "ip": f"10.0.0.{number}", "ttl": 30}
        case "proxy":
            fields = {"listen_port": 8000 + ord(name), "allow_remote": False}
            return {"name": name, "backend": f"http://127.0.0.1:{number}", **fields}
        case "health":
            fields = {"interval_secs": 30, "timeout_secs": 5}
            return {"name": name, "kind": "tcp", "target": f"127.0.0.1:{number}", **fields}
        case _:
            return {"name": name, "type": "_http._tcp", "port": number, "txt": {}}


@frozen()
class Item:
    """A record: one entry."""

    owner: Key
    title: str
    body: str


async def planned(
    _daemon: Daemon, records: Mapping[Key, Sequence[Item]], _recorded: Recorded
) -> Plan:
    entries = {
        owner: [Entry(title=one.title, key=one.title) for one in of_owner]
        for owner, of_owner in records.items()
    }
    found = {one.title: one.body for of_owner in records.values() for one in of_owner}
    return Plan(bodies=found, entries=entries)


async def never() -> bool:
    return False


@frozen()
class Provider:
    kind: str
    settings: KoiSettings = SETTINGS
    absence = ""
    is_always_open = True

    def session(self, report: Report) -> AbstractAsyncContextManager[ProviderSession[Any]]:
        return self._session(report)

    @asynccontextmanager
    async def _session(self, report: Report) -> AsyncIterator[ProviderSession[Any]]:
        async with keeping(self.settings, KINDS[self.kind], planned, report, never) as session:
            yield MdnsSession(cast("Any", session)) if self.kind == "mdns" else session


class World:
    """An agent, a daemon and another client, which uses one key for each name."""

    def __init__(self, kind: str, server: KoiServer, group: asyncio.TaskGroup) -> None:
        self.kind = kind
        self.provider: contracts.Provider[Any] = Provider(kind)
        self.server = server
        self.wanted: dict[str, Json] = {}
        self.made: dict[str, tuple[Json, str]] = {}
        """What the other client has made, with its name for the daemon."""
        self._group = group
        self._late_until = 0.0

    def start(self) -> None:
        self._feed = Feed(self.kind, self.provider, lambda _: None)
        self._task = self._group.create_task(self._feed.run())
        for name in NAMES:
            self._feed_one(name)
        self._feed.complete()

    def _feed_one(self, name: str) -> None:
        records: tuple[Item, ...] = ()
        if body := self.wanted.get(name):
            records = (Item(key(name), self.key(body), text_of(body)),)
        self._feed.want(key(name), records)

    def key(self, body: Json) -> str:
        return service_key(body) if self.kind == "mdns" else str(body["name"])

    async def kill(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def act(self, event: Event) -> None:
        match event.act:
            case "want" | "withdraw":
                self.wanted.pop(event.name, None)
                if event.act == "want":
                    self.wanted[event.name] = bodies(self.kind, event.name, 1 + event.number)
                self._feed_one(event.name)
            case "kill":
                await self.kill()
                self.start()
            case "restart":
                if self.kind == "mdns":
                    self.made.clear()
                await self.server.restart()
            case "make":
                self.make(event.name, bodies(self.kind, event.name, 100 + event.number))
            case "remove":
                self.remove(event.name)
            case _:
                left = [event.number]
                way = {"hang": "hangs", "cut": "cuts", "late": "late"}[event.act]
                setattr(self.server, way, lambda request: self._loses(request, left, way))

    def _loses(self, request: Request, left: list[int], way: str) -> bool:
        """Return True for some changes: their answer is lost."""
        if request.method == "GET" or not left[0]:
            return False
        left[0] -= 1
        if way == "late":
            self._late_until = asyncio.get_running_loop().time() + LATE
        return True

    def make(self, name: str, body: Json) -> None:
        if self.kind == "mdns" and name in self.made:
            return
        # A request that the agent has sent before may replace the entry when it takes effect.
        if self.kind != "mdns" and asyncio.get_running_loop().time() <= self._late_until:
            return
        added = {**body, "lease_secs": 10**6} if self.kind == "mdns" else body
        answer = self.server.daemon.call("POST", KINDS[self.kind].add, added)
        if answer.status < 300:
            handle = answer.json()["registered"]["id"] if self.kind == "mdns" else body["name"]
            self.made[name] = body, handle

    def remove(self, name: str) -> None:
        if name in self.made:
            _, handle = self.made.pop(name)
            path = f"{KINDS[self.kind].remove}/{quote(handle, safe='')}"
            assert self.server.daemon.call("DELETE", path).status == 200

    def held(self) -> dict[str, list[Json]]:
        """Return the entries of the daemon by name, as bodies."""
        kind, found = KINDS[self.kind], dict[str, list[Json]]()
        document = self.server.daemon.call("GET", kind.listing).json()
        for one in document[kind.array] if kind.array else document:
            body = {field: one[field] for field in kind.fields}
            body["name"] = body["name"].rstrip(".")
            found.setdefault(body["name"].removesuffix(".internal"), []).append(body)
        return {name: found[name] for name in NAMES if name in found}

    def check(self) -> None:
        held = self.held()
        for name in NAMES:
            others = [self.made[name][0]] if name in self.made else []
            own = [self.wanted[name]] if name in self.wanted else []
            found = held.get(name, [])
            if others and self.kind == "mdns":
                assert others[0] in found
                assert len(found) == 1 or found in ([*others, *own], [*own, *others])
                continue
            assert found == (others or own)


@asynccontextmanager
async def world(kind: str, folder: Path) -> AsyncIterator[World]:
    """Run an agent and a daemon while the block runs."""
    daemon = FakeKoi(asyncio.get_running_loop().time)
    async with served(daemon, folder) as server, asyncio.TaskGroup() as group:
        made = World(kind, server, group)
        yield made
        await made.kill()


def run_with_agent(
    kind: str, happening: Callable[[World], Awaitable[None]], *, starts: bool = True
) -> None:
    """Run what happens to a new world in virtual time; ``starts`` is True to start the agent."""

    async def whole(folder: str) -> None:
        async with world(kind, Path(folder)) as made:
            if starts:
                made.start()
            await happening(made)

    with tempfile.TemporaryDirectory() as folder:
        environment = {"XDG_RUNTIME_DIR": folder, "STATE_DIRECTORY": f"{folder}/state"}
        with patch.dict(os.environ, environment):
            run(whole(folder))
