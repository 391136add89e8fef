"""The DNS zones in three forms: lines of a zone file, lines of hosts(5), and JSON."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from koi_agent.publishers.http.agent_status import ZoneRecord
from koi_agent.publishers.http.instances import encode_array
from koi_agent.publishers.http.response import JSON, Request, RequestError, Response, encode_json

TEXT: Final = "text/plain; charset=utf-8"
_SLICE: Final = 1000
"""Records that are written before other work of the agent continues."""


async def response(request: Request, records: Sequence[ZoneRecord]) -> Response:
    """Return the records in the form of the query's ``format``; raise ``RequestError``."""
    form = request.query.get("format", "zone").lower()
    if form == "json":
        return Response(content_type=JSON, pieces=await encode_array(records, _json))
    if form not in _LINES:
        text = f"format: not a form of a zone: {form[:40]}; use {', '.join((*_LINES, 'json'))}"
        raise RequestError(400, "bad_format", text)
    pieces = []
    for start in range(0, len(records), _SLICE):
        part = records[start : start + _SLICE]
        pieces.append("".join(line for one in part for line in _LINES[form](one)).encode())
        await asyncio.sleep(0)
    return Response(content_type=TEXT, pieces=pieces)


def _zone(record: ZoneRecord) -> Iterator[str]:
    name, ttl, kind, text = record
    yield f"{name} {ttl} IN {kind} {text}\n"


def _hosts(record: ZoneRecord) -> Iterator[str]:
    name, _, kind, text = record
    if kind in ("A", "AAAA"):
        yield f"{text} {name.removesuffix('.')}\n"


def _json(record: ZoneRecord) -> bytes:
    found: dict[str, Any] = dict(zip(("name", "ttl", "type", "data"), record, strict=True))
    return encode_json(found)


_LINES: Final[dict[str, Callable[[ZoneRecord], Iterator[str]]]] = {"zone": _zone, "hosts": _hosts}
