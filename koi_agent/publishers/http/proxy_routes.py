"""The routes of the proxy: as they are, and as the configuration that Traefik polls."""

import hashlib
from typing import Final

from koi_agent.publishers.http.agent_status import ProxyRoutes
from koi_agent.publishers.http.instances import encode_array
from koi_agent.publishers.http.response import Request, Response, encode_json

_DIGITS: Final = 32
"""Hexadecimal digits of an ETag."""


async def routes(found: ProxyRoutes) -> Response:
    """Return the routes as a JSON array."""
    return Response(pieces=await encode_array(found.sites(), encode_json))


async def traefik(request: Request, found: ProxyRoutes) -> Response:
    """Return the configuration for Traefik, or 304 if the client has it already."""
    body = encode_json(await found.traefik())
    tag = f'"{hashlib.sha256(body).hexdigest()[:_DIGITS]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if _has(request.if_none_match, tag):
        return Response(status=304, headers=headers)
    return Response(headers=headers, pieces=[body])


def _has(header: str, tag: str) -> bool:
    """Return True if an If-None-Match header names a tag (RFC 9110 section 13.1.2)."""
    named = {one.strip().removeprefix("W/") for one in header.split(",")}
    return tag in named or named == {"*"}
