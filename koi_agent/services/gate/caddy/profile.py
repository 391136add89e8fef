"""The profile of Caddy: the agent reads what concerns it, and writes its own objects."""

import asyncio
import hmac
import json
import os
import secrets
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from koi_agent.config import Flags, load
from koi_agent.core.errors import BadInput, ConfigError, ungrouped
from koi_agent.core.plan.full_names import Domains
from koi_agent.host.agent_mark import MACHINE_ID, agent_mark
from koi_agent.host.caddy.configuration import Configuration
from koi_agent.host.caddy.objects import Names
from koi_agent.services.gate.caddy.bodies import Allowed, Changed, parse_body, spelled
from koi_agent.services.gate.caddy.reasons import reason
from koi_agent.services.gate.caddy.requests import (
    ADMIN,
    CONFIG,
    FIELDS,
    Kind,
    Request,
    parse_request,
)
from koi_agent.services.gate.caddy.views import view
from koi_agent.services.gate.head import Forbidden, Head
from koi_agent.services.gate.profiles import Exchange, Profile, Respond, client_gone
from koi_agent.services.gate.upstream import UpstreamError

FORWARDED_STATUSES: Final = frozenset({400, 404, 405, 409, 412, 500})
"""Error statuses of Caddy that are passed to the client; others become 504."""
NOTHING: Final = Allowed(ports=frozenset(), domains=Domains(main="", extra=()))
"""The permission of an agent that does not use Caddy: it may remove its objects."""
_HOST: Final = "Host: \r\n"
"""Caddy 2.6 accepts no other host on a Unix socket."""
_READ: Final = f"GET {CONFIG} HTTP/1.0\r\n{_HOST}\r\n".encode()
_WATCH: Final = f"GET {ADMIN} HTTP/1.1\r\n{_HOST}\r\n".encode()
"""The one request with HTTP/1.1: its connection stays open until the configuration changes."""


def profile() -> Profile:
    """Return the profile for the system's agent; raise ``ConfigError`` without its mark."""
    try:
        names = Names(agent_mark("system"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{MACHINE_ID}: {error}; use systemd-machine-id-setup(1)") from error
    return caddy_profile(names, _allowed)


def caddy_profile(names: Names, allowed: Callable[[], Allowed]) -> Profile:
    """Return the profile for an agent with ``names``; ``allowed`` is called for each change."""
    admin = _Admin(names, allowed)
    return Profile(fields=FIELDS, error_key="error", admit=admin.admit)


def _allowed() -> Allowed:
    """Read what the administrator allows, nothing without a proxy; raise ``ConfigError``."""
    config = load(Flags(scope="system"), os.environ).config
    if not config.proxy.caddy or not {"auto", "caddy"} & {*config.capabilities.proxy}:
        return NOTHING
    return Allowed(
        ports=frozenset(config.proxy.ports),
        domains=Domains(main=config.dns.domain, extra=config.dns.extra_domains),
        issuer=config.proxy.issuer,
    )


class _Admin:
    """Answers requests; changes are made one after another."""

    def __init__(self, names: Names, allowed: Callable[[], Allowed]) -> None:
        self._names = names
        self._allowed = allowed
        self._key = secrets.token_bytes(16)
        self._changing = asyncio.Lock()

    def admit(self, head: Head) -> Respond:
        request = parse_request(head, self._names)
        match request.kind:
            case Kind.READ:
                return self._read
            case Kind.WATCH:
                return _watch
            case _:
                return partial(self._change, request)

    async def _read(self, exchange: Exchange) -> None:
        async with exchange.whole_responses:
            found, raw = await self._configuration(exchange)
            body = json.dumps(view(found.root, self._names), separators=(",", ":")).encode()
        await exchange.response.send(body, tag=self._tag(raw))

    async def _change(self, request: Request, exchange: Exchange) -> None:
        body = await exchange.read_body(request.length) if request.length else b""
        value = parse_body(body) if request.length else None
        async with self._changing, exchange.whole_responses:
            found, raw = await self._configuration(exchange)
            if request.tag and not hmac.compare_digest(request.tag, self._tag(raw)):
                await exchange.response.send_error(HTTPStatus.PRECONDITION_FAILED, "changed")
                return
            try:
                made = spelled(request, value, found, await self._read_allowed())
            except Changed:
                await exchange.response.send_error(HTTPStatus.PRECONDITION_FAILED, "changed")
            except BadInput as bad:
                raise Forbidden(str(bad)) from bad
            else:
                await _send(request, made, found.etag, exchange)

    async def _configuration(self, exchange: Exchange) -> tuple[Configuration, bytes]:
        """Read the whole configuration; return it, and the bytes of it."""
        async with exchange.upstream.request(_READ) as answer:
            if answer.status != HTTPStatus.OK:
                raise UpstreamError(f"HTTP status {answer.status} of Caddy")
            raw = await answer.read()
        try:
            root: Any = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise UpstreamError("the configuration of Caddy is not JSON") from error
        return Configuration(root=root, names=self._names, etag=answer.etag), raw

    def _tag(self, raw: bytes) -> str:
        """Return the tag of a configuration.

        It is keyed, so that nothing can be guessed from it.
        """
        return f'"{hmac.digest(self._key, raw, "sha256").hex()[:32]}"'

    async def _read_allowed(self) -> Allowed:
        try:
            return await asyncio.to_thread(self._allowed)
        except ConfigError as error:
            raise UpstreamError(str(error), HTTPStatus.SERVICE_UNAVAILABLE) from error


async def _send(request: Request, made: Any, etag: str, exchange: Exchange) -> None:
    """Send a change, and what the agent may read of the response."""
    body = json.dumps(made, separators=(",", ":")).encode() if request.length else b""
    fields = f"If-Match: {etag}\r\n" if etag else ""
    if body:
        fields += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head = f"{request.method} {request.path} HTTP/1.0\r\n{_HOST}{fields}\r\n"
    async with exchange.upstream.request(head.encode() + body) as answer:
        if answer.status == HTTPStatus.OK:
            await exchange.response.send(b"null")
            return
        is_known = answer.status in FORWARDED_STATUSES
        status = answer.status if is_known else HTTPStatus.GATEWAY_TIMEOUT
        await exchange.response.send_reason(status, reason(await answer.read()))


async def _watch(exchange: Exchange) -> None:
    """Answer, and keep the connection until Caddy closes its own, or the client is gone."""
    async with exchange.upstream.request(_WATCH) as answer:
        if answer.status != HTTPStatus.OK:
            raise UpstreamError(f"HTTP status {answer.status} of Caddy")
        await exchange.response.send(b"null")
        exchange.response.is_last = True
        with ungrouped(OSError, UpstreamError):
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(client_gone(exchange.client), name="watch client")
                await answer.ended()
                watching.cancel()
