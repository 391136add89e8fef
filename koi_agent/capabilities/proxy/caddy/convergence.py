"""Sends one step after another until Caddy has what is wanted, and reads back after each."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from koi_agent.capabilities.proxy.caddy.admin_api import AdminAPI, ChangedMeanwhile, StepRefused
from koi_agent.capabilities.proxy.caddy.rival import REASON, Rival
from koi_agent.capabilities.proxy.caddy.steps import (
    EVERYTHING,
    Step,
    Wanted,
    obstacles,
    steps,
    unserved,
)
from koi_agent.capabilities.proxy.sites import Site
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.host.caddy.configuration import Configuration
from koi_agent.host.caddy.objects import STREAMS, Names

MOST_STEPS: Final = 100
"""Requests in one pass: more are needed only if others change the same objects."""

MOST_TRIALS: Final = 16
"""Refusals while single sites are sought. After these, all remaining sites have failed."""
_OF_PORT: Final = re.compile("address already in use|permission denied|address repeated|Ports=")
"""Reasons that do not depend on single sites."""


@frozen(kw_only=True)
class Result:
    """The ports whose routes are not served; all others are in neither mapping.

    ``held`` has the reason why a port can't be served. ``failed`` has the reason of Caddy.
    ``refused`` has the reasons of single sites, by port and host name: others of these ports are
    served. ``is_old`` is True if nothing was sent, because nothing has changed since it failed.
    ``has_changed`` is True if Caddy got a change.
    """

    held: Mapping[int, str]
    failed: Mapping[int, str]
    refused: Mapping[tuple[int, str], str]
    is_old: bool = False
    has_changed: bool = False

    @property
    def is_clean(self) -> bool:
        """True if nothing has to be sent again."""
        return not self.failed and not self.refused


class Convergence:
    """Brings one Caddy to what is wanted."""

    def __init__(self, api: AdminAPI, names: Names) -> None:
        self._api = api
        self._names = names
        self._rival = Rival()
        self._keeps_streams = True
        self._refusal = ""
        self._stuck: tuple[bytes, Wanted, Result] | None = None

    async def run(self, wanted: Wanted, *, again: bool = False) -> Result:
        """Send what differs; raise ``ProviderLost``.

        Failed steps are sent with ``again``, or when Caddy has a different configuration.
        """
        first = found = await self._api.read(self._names)
        if self._rival.is_here(found):
            return Result(held={}, failed={EVERYTHING: REASON}, refused={})
        if self._stuck and not again and self._stuck[:2] == (found.digest, wanted):
            return replace(self._stuck[2], is_old=True, has_changed=False)
        found, failed = await self._attempt(found, wanted)
        refused: dict[Site, str] = {}
        if self._refusal:
            found = await self._isolate(found, wanted, refused)
            others = tuple(one for one in wanted.sites if one not in refused)
            found, failed = await self._attempt(found, replace(wanted, sites=others))
        self._rival.on_written(found)
        result = Result(
            held=self._held(found, wanted),
            failed=failed,
            refused={(one.port, one.host): reason for one, reason in refused.items()},
            has_changed=found.digest != first.digest,
        )
        self._stuck = None if result.is_clean else (found.digest, wanted, result)
        return result

    async def _attempt(
        self, found: Configuration, wanted: Wanted
    ) -> tuple[Configuration, dict[int, str]]:
        """Send all steps; return what Caddy has then, and the reasons of the ports that failed."""
        failed: dict[int, str] = {}
        self._refusal = ""
        for _ in range(MOST_STEPS):
            if not await self._step(found, wanted, failed):
                break
            found = await self._api.read(self._names)
        else:
            failed[EVERYTHING] = "others change the same objects of its configuration"
        return found, failed

    async def _isolate(
        self, found: Configuration, wanted: Wanted, refused: dict[Site, str]
    ) -> Configuration:
        """Add the sites that Caddy refuses to ``refused``, and serve the others.

        Half of those that are not served yet are sent at a time. Returns what Caddy has then.
        """
        parts = halves(self._unserved(found, wanted))
        waiting = {one for part in parts for one in part}
        good = [one for one in wanted.sites if one not in waiting]
        reason, trials = self._refusal, MOST_TRIALS
        while parts:
            part = parts.pop(0)
            if not trials:
                refused |= dict.fromkeys(part, reason)
                continue
            trial = replace(wanted, sites=(*good, *part), is_complete=False)
            found, _ = await self._attempt(found, trial)
            if not self._refusal:
                good += part
                continue
            reason, trials = self._refusal, trials - 1
            if len(part) == 1:
                refused[part[0]] = reason
            else:
                parts[:0] = halves(part)
        return found

    def _unserved(self, found: Configuration, wanted: Wanted) -> Sequence[Site]:
        try:
            return unserved(found, replace(wanted, keeps_streams=self._keeps_streams))
        except BadInput:  # others have changed it in the meantime
            return ()

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
            return
        failed[step.port] = reason
        if not _OF_PORT.search(reason):
            self._refusal = reason


def halves(part: Sequence[Site]) -> list[Sequence[Site]]:
    """Return the two halves of some sites, without an empty one."""
    middle = len(part) // 2
    return [half for half in (part[:middle], part[middle:]) if half]
