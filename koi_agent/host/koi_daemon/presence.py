"""Waits for a running Koi daemon and for its end without frequent requests.

inotify reports a new breadcrumb. A killed daemon leaves its breadcrumb, but an idle connection
ends.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Never
from urllib.parse import urlsplit

from koi_agent.core.backoff import pauses
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.host.http_client import Client, RequestFailed, client
from koi_agent.host.koi_daemon.credential import Credential, NoCredential, Source
from koi_agent.host.koi_daemon.daemon import PROBE, Daemon
from koi_agent.host.path_watch import PathStates, path_states, wait_for_change
from koi_agent.timeouts import timeout

_FIRST, _LONGEST = 0.1, 30.0
"""Seconds between attempts to reach a daemon; a new breadcrumb is seen at once."""
_FIRST_REST, _LONGEST_REST = 1.0, 60.0
"""Seconds from the end of an idle connection to the next one; a daemon may close it at any time."""
_CONNECT: Final = 5.0
"""Seconds to wait for a connection."""
_IDLE: Final = 3600.0
"""Maximum seconds to wait for the end of a connection: a network can lose it."""


@asynccontextmanager
async def reached(source: Source, *, waits: bool) -> AsyncIterator[Daemon]:
    """Yield a daemon that answers; raise ``ProviderLost`` for a wrong credential.

    ``waits`` is True if a daemon that does not answer is waited for.
    """
    pause = pauses(_FIRST, _LONGEST)
    while True:
        since = path_states(source.paths)
        if credential := _present(source):
            async with client(credential.endpoint) as opened:
                daemon = Daemon(opened, source, credential)
                if await _answers(opened, daemon):
                    yield daemon
                    return
        if not waits:
            raise ProviderLost(f"{source.name}: it does not answer")
        if await _has_changed(source, since, next(pause)):
            pause = pauses(_FIRST, _LONGEST)


async def wait_until_usable(source: Source, listing: str) -> None:
    """Wait for a daemon that accepts the token and returns a list."""
    pause = pauses(_FIRST, _LONGEST)
    while True:
        since = path_states(source.paths)
        if await is_usable(source, listing):
            return
        if await _has_changed(source, since, next(pause)):
            pause = pauses(_FIRST, _LONGEST)


async def is_usable(source: Source, listing: str) -> bool:
    """Return True if a daemon accepts the token and returns a list."""
    with suppress(NoCredential, ProviderLost):
        credential = source.read()
        async with client(credential.endpoint) as opened:
            daemon = Daemon(opened, source, credential)
            await daemon.check()
            await daemon.get(listing)
            return True
    return False


async def _has_changed(source: Source, since: PathStates, seconds: float) -> bool:
    """Wait a few seconds at most for a change of the files with the credential."""
    with suppress(TimeoutError):
        async with timeout(seconds):
            await wait_for_change(source.paths, since)
            return True
    return False


def _present(source: Source) -> Credential | None:
    try:
        return source.read()
    except NoCredential as missing:
        if missing.is_absent:
            return None
        raise ProviderLost(f"{source.name}: {missing}") from missing


async def _answers(opened: Client, daemon: Daemon) -> bool:
    """Return False if no connection is accepted: a breadcrumb may outlive its daemon."""
    daemon.check_user()
    try:
        await opened.request("GET", "/healthz", PROBE)
    except RequestFailed as failed:
        if failed.was_sent:
            raise daemon.lost(str(failed)) from failed
        return False
    await daemon.check()
    return True


async def wait_for_end(daemon: Daemon) -> Never:
    """Wait until the daemon ends or starts again; raise ``ProviderLost``."""
    with ungrouped(ProviderLost):
        async with asyncio.TaskGroup() as group:
            group.create_task(_wait_for_credential(daemon), name="Koi credential")
            await _wait_for_close(daemon)
    raise AssertionError("a daemon is waited for until it is lost")


async def _wait_for_credential(daemon: Daemon) -> Never:
    """Check the daemon after each change of the files with its credential."""
    while True:
        since = path_states(daemon.source.paths)
        if daemon.has_other_credential():
            raise daemon.lost("it has started again")
        await wait_for_change(daemon.source.paths, since)
        await daemon.check()


async def _wait_for_close(daemon: Daemon) -> Never:
    """Check the daemon each time that it closes an idle connection."""
    rests = pauses(_FIRST_REST, _LONGEST_REST)
    while True:
        with suppress(OSError):  # TimeoutError is a subclass
            await _idle(daemon.credential.endpoint)
        await daemon.check()
        await asyncio.sleep(next(rests))


async def _idle(endpoint: str) -> None:
    """Connect, and wait until the connection is closed; raise ``OSError``."""
    parts = urlsplit(endpoint)
    async with timeout(_CONNECT):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        async with timeout(_IDLE):
            await reader.read(1)
    finally:
        writer.transport.abort()
