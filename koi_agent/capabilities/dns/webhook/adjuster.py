"""Asks the provider to adjust the endpoints of names, once for each change of a name."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from koi_agent.capabilities.dns.webhook.adjustments import adjusted, endpoints
from koi_agent.capabilities.dns.webhook.api import Refused, Webhook
from koi_agent.capabilities.dns.webhook.changes import Adjusted
from koi_agent.capabilities.dns.webhook.endpoints import Data
from koi_agent.capabilities.dns.webhook.filter import DomainFilter
from koi_agent.capabilities.dns.webhook.trials import Pace, Trials


class Owner(NamedTuple):
    """The mark of this agent, and the TTL of its records in seconds."""

    mark: str
    ttl: int


class Adjuster:
    """The adjusted endpoints of the names in ``wanted`` that ``filter`` permits."""

    def __init__(
        self,
        webhook: Webhook,
        owner: Owner,
        wanted: Mapping[str, frozenset[Data]],
        trials: Trials,
        pace: Pace,
    ) -> None:
        self.filter = DomainFilter(None)
        self._webhook = webhook
        self._owner = owner
        self._wanted = wanted
        self._trials = trials
        self._pace = pace
        self._adjusted: dict[str, tuple[frozenset[Data], Adjusted]] = {}

    def of(self, name: str) -> Adjusted | None:
        """Return the endpoints of a name, None if they are not adjusted yet."""
        known = self._adjusted.get(name)
        return known[1] if known and known[0] == self._wanted.get(name) else None

    def pending(self) -> Sequence[str]:
        """Return the names that are not adjusted, except those that wait after a failure."""
        return [
            name
            for name in self._wanted
            if not self.of(name) and not self._trials.waits(name) and not self.filter.refusal(name)
        ]

    async def adjust(self, most: int, fail: Callable[[Sequence[str], str], None]) -> int:
        """Adjust the names that are pending. ``fail`` gets those of a request that failed.

        Returns how many requests failed, at most ``most``.
        """
        for name in self._adjusted.keys() - self._wanted.keys():
            del self._adjusted[name]
        failed = 0
        for group in self._trials.groups(self.pending()):
            if failed >= most or not await self._pace.turn():
                break
            wanted = {name: self._wanted[name] for name in group if name in self._wanted}
            try:
                await self._ask(wanted)
            except Refused as refused:
                failed += 1
                fail(group, str(refused))
            else:
                self._trials.accept(group)
        return failed

    async def _ask(self, wanted: Mapping[str, frozenset[Data]]) -> None:
        mark, ttl = self._owner
        answer = await self._webhook.adjust([*endpoints(wanted, ttl, mark)])
        for name, one in adjusted(wanted, answer, mark).items():
            self._adjusted[name] = wanted[name], one
