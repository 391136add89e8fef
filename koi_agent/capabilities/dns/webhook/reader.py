"""Reads the records of a provider, including those of names that only their marks identify."""

import logging
from collections.abc import Callable

from koi_agent.capabilities.dns.webhook.api import Webhook
from koi_agent.capabilities.dns.webhook.listing import Listing

log = logging.getLogger(__name__)


class Reader:
    """Reads from a webhook. ``unknown`` are names with the mark of this agent and without a claim.

    ``is_known`` returns True for all other names that concern the agent.
    """

    def __init__(self, webhook: Webhook, mark: str, is_known: Callable[[str], bool]) -> None:
        self.unknown: set[str] = set()
        self._webhook = webhook
        self._mark = mark
        self._is_known = is_known
        self._unnamed = 0

    async def read(self, *, is_complete: bool) -> Listing:
        """Return what the provider has; raise ``ProviderLost`` or ``Busy``.

        Unknown names count once the wanted names are complete: ``is_complete``.
        """
        listing = await self._listing()
        if is_complete and not listing.unknown <= self.unknown:
            self.unknown |= listing.unknown
            listing = await self._listing()
        if listing.unnamed and not self._unnamed:
            text = "%d endpoints from the webhook have no valid name; they are ignored"
            log.warning(text, listing.unnamed)
        self._unnamed = listing.unnamed
        return listing

    async def _listing(self) -> Listing:
        attempts: list[Listing] = []

        def new() -> Callable[[object], None]:
            attempts[:] = [Listing(self._concerns, self._mark)]
            return attempts[0].add

        await self._webhook.records(new)
        return attempts[0]

    def _concerns(self, name: str) -> bool:
        return name in self.unknown or self._is_known(name)
