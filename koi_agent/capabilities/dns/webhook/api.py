"""The requests of external-dns' webhook protocol, and what the responses mean."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from koi_agent.capabilities.dns.webhook.endpoints import LARGEST, Json
from koi_agent.capabilities.dns.webhook.filter import DomainFilter
from koi_agent.config.dns import WEBHOOK_MEDIA_TYPE, is_webhook_media_type
from koi_agent.core.backoff import pauses
from koi_agent.core.errors import BadInput, KoiError, ProviderLost
from koi_agent.core.json_stream import ArrayDecoder, StreamError
from koi_agent.core.text import printable
from koi_agent.host.http_client import Client, Incoming, Limits, RequestFailed

NEGOTIATION: Final = Limits(seconds=10.0, body=LARGEST)
LISTING: Final = Limits(seconds=60.0, body=256 * 2**20)
"""Bounds on the list of all records. Only a small part of it is held at a time."""
ADJUSTMENT: Final = Limits(seconds=30.0, body=16 * 2**20)
CHANGE: Final = Limits(seconds=30.0, body=LARGEST)
_LONGEST_ELEMENT: Final = 2**20
"""Maximum number of characters of an endpoint.

A provider may have long ones that do not concern the agent.
"""
_AT_ONCE: Final = 200
"""Endpoints that are read before other work of the agent continues."""
TRIES: Final = 3
"""Attempts to list the records."""
_SHORTEST_WAIT, _WAIT, _LONGEST_WAIT = 5.0, 30.0, 300.0
"""Seconds until a busy webhook is asked again: the bounds of Retry-After, and the default."""
_BUSY: Final = (429, 503)
_FROM_GATEWAY: Final = (502, 504)
"""Statuses of a proxy, which does not know the outcome of a request."""
_UNUSABLE: Final = (401, 405, 406, 415)
"""Statuses that affect all requests."""
_READS: Final = {"Accept": WEBHOOK_MEDIA_TYPE}
_WRITES: Final = {"Content-Type": WEBHOOK_MEDIA_TYPE}


class Busy(KoiError):
    """The webhook asks for a pause of ``seconds``."""

    def __init__(self, status: int, seconds: float) -> None:
        super().__init__(f"the webhook responds {status}; it is asked again in {seconds:.0f} s")
        self.seconds = seconds


class Refused(KoiError):
    """The webhook did not do everything that was requested; ``status`` is 0 without a response."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.is_certain = 400 <= status < 500
        """True if it has done nothing. Otherwise it may have done a part."""
        self.is_over = bool(status) and status not in _FROM_GATEWAY
        """False if it may do a part later."""


class Webhook:
    """A webhook at ``url``.

    All methods raise ``ProviderLost`` if it can't be used, and ``Busy`` if it requests a pause.
    """

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url

    def lost(self, reason: str) -> ProviderLost:
        """Return the error for a webhook that can't be used."""
        return ProviderLost(f"[DNS] Webhook={self._url}: {reason}")

    async def negotiate(self) -> DomainFilter:
        """Return the domain filter."""
        try:
            response = await self._client.request("GET", "", NEGOTIATION, headers=_READS)
            if response.status != 200:
                raise self.lost(f"it responds {response.status} to the negotiation")
            kind = response.headers.get("content-type", "")
            if not is_webhook_media_type(kind):
                shown = printable(kind, 100) or "no content type"
                raise self.lost(f"it is not a webhook of version 1: it responds with {shown}")
            return DomainFilter(response.json())
        except (RequestFailed, BadInput) as error:
            raise self.lost(str(error)) from error

    async def records(self, new: Callable[[], Callable[[object], None]]) -> None:
        """Pass each endpoint of the provider to what ``new`` returns for an attempt."""
        waits = pauses(1.0, 10.0)
        for left in reversed(range(TRIES)):
            try:
                return await self._read_list(new())
            except Refused as refused:
                if not left:
                    raise self.lost(str(refused)) from refused
            await asyncio.sleep(next(waits))
        return None

    async def _read_list(self, add: Callable[[object], None]) -> None:
        async with self._sent("GET", "/records", LISTING, _READS) as incoming:
            if incoming.status != 200:
                failed = self._failure(incoming, "to a request for its records")
                raise failed if incoming.status >= 500 else self.lost(str(failed))
            async for element in _elements(incoming, _LONGEST_ELEMENT):
                add(element)

    async def adjust(self, endpoints: Sequence[Json]) -> Sequence[object]:
        """Return endpoints as the provider adjusts them; raise ``Refused``."""
        headers, body = _READS | _WRITES, _encoded(endpoints)
        async with self._sent("POST", "/adjustendpoints", ADJUSTMENT, headers, body) as incoming:
            if incoming.status != 200:
                raise self._failure(incoming, "to a request to adjust")
            return [one async for one in _elements(incoming, LARGEST)]

    async def apply(self, changes: Json) -> None:
        """Make changes; raise ``Refused``."""
        body = _encoded(changes)
        async with self._sent("POST", "/records", CHANGE, _WRITES, body) as incoming:
            if not 200 <= incoming.status < 300:
                raise self._failure(incoming, "to the change")

    @asynccontextmanager
    async def _sent(
        self,
        method: str,
        path: str,
        limits: Limits,
        headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> AsyncIterator[Incoming]:
        try:
            async with self._client.sent(
                method, path, limits, headers=headers, body=body
            ) as incoming:
                yield incoming
        except RequestFailed as failed:
            if not failed.was_sent:
                raise self.lost(str(failed)) from failed
            raise Refused(f"the webhook fails: {failed}") from failed

    def _failure(self, incoming: Incoming, what: str) -> Refused:
        """Return the error for a status; raise the error for one that concerns all requests."""
        status = incoming.status
        if status in _BUSY:
            raise Busy(status, _wait(incoming.headers.get("retry-after", "")))
        if status in _UNUSABLE or status < 400:
            raise self.lost(f"it responds {status} {what}")
        return Refused(f"the webhook responds {status} {what}", status)


async def _elements(incoming: Incoming, longest: int) -> AsyncIterator[object]:
    """Yield the elements of an array as it arrives; raise ``RequestFailed``."""
    decoder = ArrayDecoder(longest)
    try:
        async for piece in incoming.pieces():
            for number, element in enumerate(decoder.feed(piece)):
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)  # other work of the agent goes on during a long list
                yield element
        for element in decoder.close():
            yield element
    except StreamError as error:
        raise RequestFailed(f"its response can't be read: {error}") from error


def _encoded(document: object) -> bytes:
    try:
        return json.dumps(document, allow_nan=False).encode("ascii")
    except (RecursionError, ValueError) as error:  # too deeply nested, or NaN
        raise Refused("an endpoint of the provider can't be returned to it") from error


def _wait(text: str) -> float:
    """Return the seconds of a Retry-After, within bounds."""
    seconds = _WAIT
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    elif text:
        try:
            when = parsedate_to_datetime(text)
            seconds = (when.astimezone(UTC) - datetime.now(UTC)).total_seconds()
        except (ValueError, OverflowError):
            seconds = _WAIT
    return min(max(seconds, _SHORTEST_WAIT), _LONGEST_WAIT)
