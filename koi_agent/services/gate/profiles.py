"""The profiles of the gate: what it does with the requests to each kind of upstream."""

import asyncio
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Final, Never

from koi_agent.core.frozen import frozen
from koi_agent.services.gate.head import Head
from koi_agent.services.gate.limits import Limits
from koi_agent.services.gate.upstream import Upstream
from koi_agent.services.gate.writer import ResponseWriter
from koi_agent.timeouts import timeout


@frozen(kw_only=True, eq=False)
class Exchange:
    """A request to answer. ``client`` has the bytes after its head."""

    upstream: Upstream
    response: ResponseWriter
    client: asyncio.StreamReader
    limits: Limits
    whole_responses: asyncio.Semaphore

    async def read_body(self, length: int) -> bytes:
        """Return the body of the request; raise ``TimeoutError`` if the client is too slow."""
        async with timeout(self.limits.body):
            return await self.client.readexactly(length)


Respond = Callable[[Exchange], Awaitable[None]]
"""Answers one request; raises ``Forbidden`` or ``UpstreamError``."""


@frozen(kw_only=True)
class Profile:
    """How requests to one kind of upstream are answered.

    ``fields`` are the header fields that a request may have. ``error_key`` is the key of the text
    in an error response. ``admit`` returns what answers a request, or raises ``Forbidden``.
    """

    fields: frozenset[str]
    error_key: str
    admit: Callable[[Head], Respond]


_MODULES: Final = {
    "docker": "engine",
    "podman": "engine",
    "incus": "incus",
    "lxd": "incus",
    "caddy": "caddy",
}
"""The folder of each profile: only that of the gate's own upstream is loaded."""


def profile(name: str) -> Profile:
    """Return the profile of an upstream."""
    found: Profile = import_module(f"koi_agent.services.gate.{_MODULES[name]}.profile").profile()
    return found


async def client_gone(client: asyncio.StreamReader) -> Never:
    """Wait until the client leaves, and raise ``ConnectionAbortedError``.

    An idle stream would not notice.
    """
    await client.read(1)
    raise ConnectionAbortedError
