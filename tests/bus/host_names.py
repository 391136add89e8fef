"""The outlets by which this host finds names: a systemd-resolved, and sessions with it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from koi_agent.announce.feed import Feed
from koi_agent.bus.interfaces import Emits, Interface, Property, interface
from koi_agent.capabilities.dns.providers import Hook, StaticRecords
from koi_agent.capabilities.dns.records import Name
from koi_agent.core.contracts import ProviderSession
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.host.resolver import RESOLVED
from tests.unit.dns_zones import complete, named

WIKI = named("a", "wiki.internal", "192.0.2.1")


def resolved() -> Mapping[str, Interface]:
    """Return the objects of a systemd-resolved that is only there."""
    return {"/": interface(f"{RESOLVED}.Manager", Property("A", "s", Emits.FALSE, lambda _: ""))}


@asynccontextmanager
async def running(outlet: Hook | StaticRecords) -> AsyncIterator[ProviderSession[Name]]:
    """Run a session as a feed does; the error that ends it is raised by the block."""
    async with outlet.session(lambda *_: None) as session:
        complete(session)
        with ungrouped(ProviderLost):
            async with asyncio.TaskGroup() as group:
                task = group.create_task(session.run())
                yield session
                task.cancel()


@asynccontextmanager
async def feeding(outlet: Hook | StaticRecords) -> AsyncIterator[Feed]:
    """Feed an outlet with one name, all of which is known, as an agent does until it ends."""
    feed = Feed("dns", outlet, lambda _: None)
    feed.want(WIKI.owner, (WIKI,))
    feed.complete()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(feed.run())
        yield feed
        task.cancel()


async def written(file: Path) -> None:
    """Wait until the name is in the file."""
    async with asyncio.timeout(30):
        while not _has_name(file):  # noqa: ASYNC110 - nothing reports a write
            await asyncio.sleep(0.05)


def _has_name(file: Path) -> bool:
    return "wiki.internal" in file.read_text()
