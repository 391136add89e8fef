"""Sends one step after the other until Caddy has what is wanted, and reads back after each."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from koi_agent.capabilities.proxy.caddy.admin_api import AdminAPI, ChangedMeanwhile, StepRefused
from koi_agent.capabilities.proxy.caddy.steps import EVERYTHING, Step, Wanted, obstacles, steps
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.host.caddy.configuration import Configuration
from koi_agent.host.caddy.objects import STREAMS, Names

MOST_STEPS: Final = 100
"""Requests in one go: more are needed only if others change the same objects."""


@frozen(kw_only=True)
class Result:
    """The ports whose routes are not served; all others are in neither mapping.

    ``held`` has the reason why a port can't be served. ``failed`` has the reason of Caddy.
    ``is_old`` is True if nothing was sent, because nothing has changed since it failed.
    ``has_changed`` is True if Caddy got a change.
    """

    held: Mapping[int, str]
    failed: Mapping[int, str]
    is_old: bool = False
    has_changed: bool = False


class Convergence:
    """Brings one Caddy to what is wanted."""

    def __init__(self, api: AdminAPI, names: Names) -> None:
        self._api = api
        self._names = names
        self._keeps_streams = True
        self._stuck: tuple[bytes, Wanted, Result] | None = None

    async def run(self, wanted: Wanted, *, again: bool = False) -> Result:
        """Send what differs; raise ``ProviderLost``.

        What has failed is sent ``again``, or when Caddy has another configuration.
        """
        first = found = await self._api.read(self._names)
        if self._stuck and not again and self._stuck[:2] == (found.digest, wanted):
            return replace(self._stuck[2], is_old=True, has_changed=False)
        failed: dict[int, str] = {}
        for _ in range(MOST_STEPS):
            if not await self._step(found, wanted, failed):
                break
            found = await self._api.read(self._names)
        else:
            failed[EVERYTHING] = "others change the same objects of its configuration"
        has_changed = found.digest != first.digest
        result = Result(held=self._held(found, wanted), failed=failed, has_changed=has_changed)
        self._stuck = (found.digest, wanted, result) if failed else None
        return result

    def _held(self, found: Configuration, wanted: Wanted) -> Mapping[int, str]:
        try:
            return obstacles(found, {one.port for one in wanted.sites})
        except BadInput:  # this has failed already
            return {}

    async def _step(self, found: Configuration, wanted: Wanted, failed: dict[int, str]) -> bool:
        """Send the next step; return False without one. A refusal is added to ``failed``."""
        wanted = replace(wanted, keeps_streams=self._keeps_streams)
        try:
            step = next((one for one in steps(found, wanted) if one.port not in failed), None)
        except BadInput as bad:
            failed[EVERYTHING] = str(bad)
            return False
        if step is None or EVERYTHING in failed:
            return False
        try:
            await self._api.send(step, found.etag)
        except ChangedMeanwhile:
            return True
        except StepRefused as refused:
            self._on_refusal(step, str(refused), failed)
        return True

    def _on_refusal(self, step: Step, reason: str, failed: dict[int, str]) -> None:
        """Add a refusal, unless it is that of a field that this version does not know."""
        if STREAMS in reason and self._keeps_streams:
            self._keeps_streams = False
        else:
            failed[step.port] = reason
