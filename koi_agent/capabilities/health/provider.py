"""The provider of health checks. Its session is loaded with the first check that is wanted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from koi_agent.capabilities.health.checks import HealthCheck
from koi_agent.core.contracts import Apply, ProviderSession, Report
from koi_agent.core.frozen import frozen


@frozen()
class Prober:
    """The provider; ``apply`` hands results to the registry."""

    apply: Apply
    absence = ""

    @asynccontextmanager
    async def session(self, _report: Report) -> AsyncIterator[ProviderSession[HealthCheck]]:
        """Return a session. There is nothing to connect to."""
        from koi_agent.capabilities.health.prober import ProberSession  # noqa: PLC0415 - see above

        yield ProberSession(self.apply)
