"""The profile of container engines: read requests, and filtered responses."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from http import HTTPStatus
from typing import Final

from koi_agent.core.errors import ungrouped
from koi_agent.services.gate.engine.requests import Endpoint, Request, parse_request
from koi_agent.services.gate.engine.responses import filter_event, filter_listed, filter_response
from koi_agent.services.gate.head import USUAL_FIELDS, Head
from koi_agent.services.gate.profiles import Exchange, Profile, Respond, client_gone
from koi_agent.services.gate.upstream import Response, UpstreamError
from koi_agent.timeouts import timeout

FORWARDED_STATUSES: Final = frozenset({400, 404, 409, 500, 503})
"""Error statuses of the engine that are passed to the client; others become 504."""


def profile() -> Profile:
    """Return the profile: the same for Docker and Podman."""
    return Profile(fields=USUAL_FIELDS, error_key="message", admit=_admit)


def _admit(head: Head) -> Respond:
    return partial(_respond, parse_request(head))


async def _respond(request: Request, exchange: Exchange) -> None:
    response = exchange.response
    if request.endpoint is Endpoint.PING:
        await response.send(filter_response(request.endpoint, b""))
        return
    async with exchange.upstream.request(request.head) as answer:
        if answer.status != HTTPStatus.OK:
            is_known = answer.status in FORWARDED_STATUSES
            status = answer.status if is_known else HTTPStatus.GATEWAY_TIMEOUT
            await response.send_error(status, f"the engine's HTTP status is {answer.status}")
        elif request.endpoint is Endpoint.EVENTS:
            await _send_events(answer, exchange)
        else:
            async with timeout(exchange.limits.response):
                await _send_filtered(request.endpoint, answer, exchange)


async def _send_filtered(endpoint: Endpoint, answer: Response, exchange: Exchange) -> None:
    if endpoint is Endpoint.LIST:
        async with aclosing(_listed(answer)) as containers:
            await exchange.response.send_list(containers)
        return
    async with exchange.whole_responses:
        try:
            body = filter_response(endpoint, await answer.read())
        except (ValueError, RecursionError) as error:
            raise UpstreamError("the engine's response is not JSON") from error
    await exchange.response.send(body)


async def _listed(answer: Response) -> AsyncGenerator[bytes, None]:
    async with aclosing(answer.elements()) as containers:
        async for container in containers:
            yield filter_listed(container)


async def _send_events(answer: Response, exchange: Exchange) -> None:
    """Send events until the engine ends them or the client is gone."""
    with ungrouped(OSError, UpstreamError, asyncio.IncompleteReadError):
        async with asyncio.TaskGroup() as group, aclosing(_events(answer)) as events:
            watching = group.create_task(client_gone(exchange.client), name="watch client")
            await exchange.response.send_lines(events)
            watching.cancel()


async def _events(answer: Response) -> AsyncGenerator[bytes, None]:
    async with aclosing(answer.lines()) as lines:
        async for line in lines:
            if event := filter_event(line):
                yield event
