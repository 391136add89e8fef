"""The profile of Incus and LXD: read requests, filtered responses, and events as lines."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from functools import partial
from http import HTTPStatus
from typing import Final

from koi_agent.core.errors import ungrouped
from koi_agent.core.json_stream import StreamError
from koi_agent.host.websocket import UpgradeRefused, WebSocket, open_websocket
from koi_agent.services.gate.head import USUAL_FIELDS, Head
from koi_agent.services.gate.incus.requests import Endpoint, Request, parse_request
from koi_agent.services.gate.incus.responses import filter_event, filter_listed, filter_response
from koi_agent.services.gate.profiles import Exchange, Profile, Respond, client_gone
from koi_agent.services.gate.upstream import Response, UpstreamError
from koi_agent.timeouts import timeout

FORWARDED_STATUSES: Final = frozenset({400, 403, 404, 500, 503})
"""Error statuses of the server that are passed to the client; others become 504."""
_METADATA: Final = "metadata"
"""The member of a response that has its content."""


def profile() -> Profile:
    """Return the profile: the same for Incus and LXD."""
    return Profile(fields=USUAL_FIELDS, error_key="error", admit=_admit)


def _admit(head: Head) -> Respond:
    return partial(_respond, parse_request(head))


async def _respond(request: Request, exchange: Exchange) -> None:
    if request.endpoint is Endpoint.EVENTS:
        with closing(await _opened(request.target, exchange)) as events:
            await _send_events(events, exchange)
        return
    async with exchange.upstream.request(request.head) as answer:
        if answer.status != HTTPStatus.OK:
            error = _refusal(answer.status)
            await exchange.response.send_error(error.status, str(error))
            return
        async with timeout(exchange.limits.response):
            await _send_filtered(request.endpoint, answer, exchange)


async def _send_filtered(endpoint: Endpoint, answer: Response, exchange: Exchange) -> None:
    if endpoint is Endpoint.LIST:
        async with aclosing(_listed(answer)) as instances:
            await exchange.response.send_list(instances, member=_METADATA)
        return
    async with exchange.whole_responses:
        try:
            body = filter_response(endpoint, await answer.read())
        except (ValueError, RecursionError) as error:
            raise UpstreamError("the server's response is not JSON") from error
        await exchange.response.send(body)


async def _listed(answer: Response) -> AsyncGenerator[bytes, None]:
    async with aclosing(answer.elements(_METADATA)) as instances:
        async for instance in instances:
            yield filter_listed(instance)


async def _opened(target: str, exchange: Exchange) -> WebSocket:
    """Open the WebSocket of the server; raise ``UpstreamError``."""
    path = exchange.upstream.path
    try:
        async with timeout(exchange.limits.engine):
            return await open_websocket(path, target, exchange.limits.record)
    except UpgradeRefused as refused:
        raise _refusal(refused.status) from refused
    except StreamError as error:
        raise UpstreamError(f"{path}: {error}") from error
    except TimeoutError as error:
        raise UpstreamError(f"{path}: no response in time") from error
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise UpstreamError(f"{path}: no server", HTTPStatus.BAD_GATEWAY) from error
    except OSError as error:
        raise UpstreamError(f"{path}: {os.strerror(error.errno or 0)}") from error


async def _send_events(opened: WebSocket, exchange: Exchange) -> None:
    """Send events until the server ends them or the client is gone."""
    with ungrouped(OSError, UpstreamError, asyncio.IncompleteReadError):
        async with asyncio.TaskGroup() as group, aclosing(_events(opened)) as events:
            watching = group.create_task(client_gone(exchange.client), name="watch client")
            await exchange.response.send_lines(events)
            watching.cancel()


async def _events(opened: WebSocket) -> AsyncGenerator[bytes, None]:
    """Yield events as lines; raise ``UpstreamError``."""
    try:
        async with aclosing(opened.batches()) as batches:
            async for messages in batches:
                for message in messages:
                    if event := filter_event(message):
                        yield event
    except StreamError as error:
        raise UpstreamError(f"events: {error}") from error


def _refusal(status: int) -> UpstreamError:
    """Return the error for a status of the server."""
    known = HTTPStatus(status) if status in FORWARDED_STATUSES else HTTPStatus.GATEWAY_TIMEOUT
    return UpstreamError(f"the server's HTTP status is {status}", known)
