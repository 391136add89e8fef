"""Sessions of aiohttp for client libraries of an engine, with a bound on what is held of them."""

import codecs
import json
from collections.abc import Callable
from typing import Any, Final

import aiohttp

from koi_agent.backends.http_engine.streams import MAX_BODY
from koi_agent.core.json_stream import StreamError

URL: Final = "http://engine"
"""The host of all requests; over a Unix socket its name means nothing."""

CLIENT_ERROR: Final = aiohttp.ClientError
"""The base of aiohttp's errors, apart from those of the operating system."""


def session(path: str) -> aiohttp.ClientSession:
    """Return a session with the engine on the socket at a path, for requests of ``URL``."""
    return aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(path),
        response_class=BoundedResponse,
        timeout=aiohttp.ClientTimeout(),  # none: each request has its own
    )


class BoundedResponse(aiohttp.ClientResponse):
    """A response whose body is at most ``MAX_BODY`` bytes; ``StreamError`` is raised beyond.

    A session takes it as its ``response_class``, so the bound also holds for a client library
    that works on the session.
    """

    async def read(self) -> bytes:
        """Read the body; the connection of a longer one is closed."""
        body = bytearray()
        try:
            while not self.content.at_eof():
                body += await self.content.readany()
                if len(body) > MAX_BODY:
                    raise StreamError(f"the response is longer than {MAX_BODY} bytes")
        finally:
            # The rest of a body would be read as the next response.
            if not self.content.at_eof():
                self.close()
        return bytes(body)

    async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
        """Read and decode the body."""
        return codecs.decode(await self.read(), encoding or "utf-8", errors)

    async def json(
        self,
        *,
        encoding: str | None = None,
        loads: Callable[[str], Any] = json.loads,
        content_type: str | None = None,
    ) -> Any:
        """Read and parse the body, whatever its content type."""
        return loads(await self.text(encoding, "replace"))
