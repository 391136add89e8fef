"""Responses of an engine, whole and as a stream, with a bound on what is held of them."""

import codecs
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import aiohttp

from koi_agent.core.json_stream import LineSplitter, StreamError

MAX_BODY: Final = 16 * 2**20
"""Bytes of a response that is held whole. A container's inspection has some kilobytes."""


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


class LineStream:
    """The lines of a response that does not end, such as events; close it after use.

    ``translated`` is the context in which errors of the connection become the backend's.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        max_line: int,
        translated: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._response = response
        self._max_line = max_line
        self._translated = translated

    def close(self) -> None:
        """Close the connection, which ends the stream for the engine too."""
        self._response.close()

    async def batches(self) -> AsyncIterator[Sequence[bytes]]:
        """Yield lines as they arrive, until the engine ends the stream.

        A line that is longer than allowed comes as an empty one.
        """
        splitter = LineSplitter(self._max_line)
        with self._translated():
            async for piece in self._response.content.iter_any():
                if lines := splitter.feed(piece):
                    yield lines
