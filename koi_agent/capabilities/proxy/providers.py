"""The proxies that get routes, as values. A proxy is loaded with its first session."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from koi_agent.capabilities.proxy.records import Route
from koi_agent.config.proxy import INTERNAL, AdminAddress
from koi_agent.core.contracts import ProviderSession, Report
from koi_agent.core.frozen import frozen
from koi_agent.host.koi_daemon.settings import KoiSettings


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
        """Write the file until the context is left; raise ``ProviderLost``."""
        from koi_agent.capabilities.proxy.traefik_file import (  # noqa: PLC0415 - see above
            Polled,
            file_of,
        )

        if not self.path:
            yield Polled(report)
            return
        file = file_of(self.scope, self.path, report)
        file.check()
        yield file

    @property
    def place(self) -> str:
        """The path of the file."""
        return self.path

    async def withdraw(self) -> None:
        """Empty the file, unless the agent starts again at once."""
        if not self.path:
            return
        from koi_agent.capabilities.proxy.traefik_file import withdraw  # noqa: PLC0415 - see above

        await withdraw(self.scope, self.path)


@frozen()
class Caddy:
    """The Caddy whose admin API is at ``address``.

    ``scope`` is that of the agent. ``issuer`` is that of the certificates, as in the settings.
    """

    scope: str
    address: AdminAddress | None
    issuer: str = INTERNAL

    @property
    def absence(self) -> str:
        """The reason why no route is served."""
        return f"Caddy is not at {self.address}" if self.address else "[Proxy] Caddy= is not set"

    @property
    def is_always_open(self) -> bool:
        """True with an address: Caddy may have routes of an earlier run."""
        return self.address is not None

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator[ProviderSession[Route]]:
        """Serve routes until the context is left, and then remove them; raise ``ProviderLost``."""
        if not self.address:
            await asyncio.Event().wait()
            raise AssertionError("nothing ends the wait")
        # aiohttp takes several MB: an agent without Caddy does not import it.
        from koi_agent.capabilities.proxy.caddy.opening import serving  # noqa: PLC0415

        opening = serving(self.scope, self.address, report, issuer=self.issuer)
        async with opening as session:
            yield session


@frozen()
class Koi:
    """A Koi daemon, which gets the routes."""

    settings: KoiSettings

    @property
    def absence(self) -> str:
        """The reason why no route is served."""
        return self.settings.absence

    @property
    def is_always_open(self) -> bool:
        """True if the daemon may have routes of an earlier run."""
        return self.settings.has_intents("proxy")

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator[ProviderSession[Route]]:
        """Send routes until the context is left; raise ``ProviderLost``."""
        from koi_agent.capabilities.proxy.koi import serving  # noqa: PLC0415 - as above

        async with serving(self.settings, report) as session:
            yield session
