"""Requests to Caddy's admin API, each on a connection of its own: Caddy closes old ones."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from koi_agent.capabilities.proxy.caddy.entrance import Entrance
from koi_agent.capabilities.proxy.caddy.steps import Step
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.core.text import printable
from koi_agent.host.caddy.configuration import Configuration
from koi_agent.host.caddy.objects import Names
from koi_agent.host.http_client import Client, Limits, RequestFailed, Response, client

READ: Final = Limits(seconds=5.0, body=16 * 2**20)
WRITE: Final = Limits(seconds=8.0, body=2**16)
"""Caddy answers a change once it serves it, which takes longer with many sites."""
CHANGED: Final = 412
"""The status of a change whose ``If-Match`` does not match (RFC 9110 section 13.1.1)."""
_LONGEST: Final = 300
"""Characters of a reason, from its end: Caddy begins with the names of modules."""

_GATE: Final = "koi-runtime-gate: "
"""The beginning of the reasons of a gate in front of Caddy."""


class StepRefused(Exception):
    """Caddy did not make a change. Its configuration is as before."""


class ChangedMeanwhile(Exception):
    """Others changed the configuration since it was read."""


class AdminAPI:
    """The admin API of the Caddy at ``entrance``. ``group`` owns the tasks of changes."""

    def __init__(self, sender: Client, entrance: Entrance, group: asyncio.TaskGroup) -> None:
        self._sender = sender
        self._entrance = entrance
        self._group = group
        self._sending: asyncio.Task[Response | RequestFailed] | None = None
        self._headers = {"Connection": "close"}
        if entrance.address.path:
            self._headers["Host"] = ""  # Caddy 2.6 accepts no other host on a Unix socket

    async def read(self, names: Names) -> Configuration:
        """Read the whole configuration; raise ``ProviderLost``."""
        try:
            found = await self._sender.request("GET", "/config/", READ, headers=self._headers)
            root = found.json()
        except RequestFailed as failed:
            raise self.lost(str(failed)) from failed
        if found.status != 200:
            raise self.lost(_reason(found.status, found.body))
        # Behind a gate, the tag may differ although the agent sees no difference.
        etag = found.headers.get("etag", "")
        return Configuration(
            root=root,
            names=names,
            digest=hashlib.sha256(found.body + etag.encode()).digest(),
            etag=etag,
        )

    async def send(self, step: Step, etag: str) -> None:
        """Make a change, if the configuration still has the ``etag``.

        Caddy makes a change that it has received even if nothing waits for its answer. So the
        request goes on when this is cancelled, see ``settle``. Raises ``StepRefused``,
        ``ChangedMeanwhile`` and ``ProviderLost``.
        """
        headers = dict(self._headers)
        if step.body is not None:
            headers["Content-Type"] = "application/json"
        if etag:
            headers["If-Match"] = etag
        request = self._answered(step, headers)
        self._sending = self._group.create_task(request, name="Caddy change")
        found = await asyncio.shield(self._sending)
        if isinstance(found, RequestFailed):
            raise self.lost(str(found)) from found
        if found.status == CHANGED:
            raise ChangedMeanwhile
        if found.status != 200:
            raise StepRefused(_reason(found.status, found.body))

    async def _answered(self, step: Step, headers: Mapping[str, str]) -> Response | RequestFailed:
        """Send a change, and return the response, or the error without one."""
        try:
            return await self._sender.request(
                step.method, step.path, WRITE, headers=headers, body=step.body
            )
        except RequestFailed as failed:
            return failed

    async def settle(self) -> None:
        """Wait for the change whose sender was cancelled, so that the result can be read."""
        if self._sending:
            await asyncio.wait({self._sending})

    def abandon(self) -> None:
        """Cancel the change whose sender was cancelled."""
        if self._sending:
            self._sending.cancel()

    def lost(self, reason: str) -> ProviderLost:
        """Return the error for an unexpected answer of Caddy."""
        return ProviderLost(f"{self._entrance.title}: {reason}")


@asynccontextmanager
async def admin_api(entrance: Entrance) -> AsyncIterator[AdminAPI]:
    """Yield the admin API at an entrance; nothing is sent yet."""
    address = entrance.address
    url = "http://localhost" if address.path else f"http://{address}"
    with ungrouped(ProviderLost):
        async with client(url, socket=address.path) as sender, asyncio.TaskGroup() as group:
            api = AdminAPI(sender, entrance, group)
            yield api
            api.abandon()


def _reason(status: int, body: bytes) -> str:
    """Return the error text of a response, or its status."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    text = found.get("error") if isinstance(found, dict) else None
    reason = text if isinstance(text, str) and text.strip() else f"HTTP status {status}"
    shown = printable(reason[-_LONGEST:])
    return shown if shown.startswith(_GATE) else f"Caddy refuses it: {shown}"
