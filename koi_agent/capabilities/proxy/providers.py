"""The proxies that get routes, as values. A proxy is loaded with its first session."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from koi_agent.capabilities.proxy.records import Route
from koi_agent.core.contracts import ProviderSession, Report
from koi_agent.core.frozen import frozen


@frozen()
class Traefik:
    """Traefik, which reads the file at ``path``, or requests the routes without one.

    ``scope`` is that of the agent.
    """

    scope: str
    path: str
    absence = "the file is not open yet"

    @property
    def is_always_open(self) -> bool:
        """True with a file: it may have routes of an earlier run."""
        return bool(self.path)

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator[ProviderSession[Route]]:
        """Write the file until the context is left, and then empty it; raise ``ProviderLost``."""
        from koi_agent.capabilities.proxy.traefik_file import (  # noqa: PLC0415 - see above
            Polled,
            writing,
        )

        if not self.path:
            yield Polled(report)
            return
        async with writing(self.scope, self.path, report) as session:
            yield session
