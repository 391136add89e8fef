"""The outlets of DNS names, as values. An outlet is loaded with its first session."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from koi_agent.capabilities.dns.hook.settings import HookSettings
from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.responder.settings import ResponderSettings
from koi_agent.capabilities.dns.update.settings import UpdateSettings
from koi_agent.capabilities.dns.webhook.settings import WebhookSettings
from koi_agent.core.contracts import ProviderSession, Report
from koi_agent.core.frozen import frozen
from koi_agent.host.koi_daemon.settings import KoiSettings

NO_KEY: Final = "[DNS] UpdateKey= is not set; no update is sent without a signature"


@frozen()
class Responder:
    """A DNS server."""

    settings: ResponderSettings

    @property
    def absence(self) -> str:
        """The reason why no name is served."""
        return (
            "the DNS server does not listen yet"
            if self.is_always_open
            else "[DNS] Listen= is not set"
        )

    @property
    def is_always_open(self) -> bool:
        """True with an address: resolvers must learn which names do not exist."""
        return bool(self.settings.listen or self.settings.passed)

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator[ProviderSession[Name]]:
        """Listen until the context is left; raise ``ProviderLost`` if that fails."""
        if not self.is_always_open:
            await asyncio.Event().wait()
        # dnspython takes several MB: an agent without a responder does not import it.
        from koi_agent.capabilities.dns.responder.session import serving  # noqa: PLC0415

        async with serving(self.settings, report) as session:
            yield session


@frozen()
class HostsDirectory:
    """The directory of dnsmasq at ``path``; ``scope`` is that of the agent."""

    scope: str
    path: str

    @property
    def absence(self) -> str:
        """The reason why no name is written."""
        return "the directory is not open yet" if self.path else "[DNS] HostsDirectory= is not set"

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator[ProviderSession[Name]]:
        """Write files until the context is left, and then remove them; raise ``ProviderLost``."""
        if not self.path:
            await asyncio.Event().wait()
        from koi_agent.capabilities.dns.hosts import writing  # noqa: PLC0415 - as above

        async with writing(self.scope, self.path, report) as session:
            yield session


@frozen()
class Updates:
    """A DNS server of the network, which gets the names by dynamic updates."""

    settings: UpdateSettings

    @property
    def absence(self) -> str:
        """The reason why no name is sent."""
        if not self.settings.server:
            return "[DNS] Update= is not set"
        return "the server was not reached yet" if self.settings.key else NO_KEY

    @property
    def is_always_open(self) -> bool:
        """True if the server may have names of an earlier run."""
        if not self._is_usable:
            return False
        from koi_agent.capabilities.dns.update.claims import node_claims_file  # noqa: PLC0415 - as above

        return node_claims_file(self.settings, os.environ).exists()

    @property
    def _is_usable(self) -> bool:
        return bool(self.settings.server and self.settings.key)

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator[ProviderSession[Name]]:
        """Send updates until the context is left; raise ``ProviderLost``."""
        if not self._is_usable:
            await asyncio.Event().wait()
        from koi_agent.capabilities.dns.update.opening import updating  # noqa: PLC0415 - as above

        async with updating(self.settings, report) as session:
            yield session


@frozen()
class Webhook:
    """A webhook of external-dns, whose provider gets the names."""

    settings: WebhookSettings

    @property
    def absence(self) -> str:
        """The reason why no name is sent."""
        is_set = self.settings.url
        return "the webhook was not reached yet" if is_set else "[DNS] Webhook= is not set"

    @property
    def is_always_open(self) -> bool:
        """True if the provider may have names of an earlier run."""
        if not self.settings.url:
            return False
        from koi_agent.capabilities.dns.webhook.claimed import name_claims_file  # noqa: PLC0415

        return name_claims_file(self.settings, os.environ).exists()

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator[ProviderSession[Name]]:
        """Send names until the context is left; raise ``ProviderLost``."""
        if not self.settings.url:
            await asyncio.Event().wait()
        # aiohttp takes several MB: an agent without a webhook does not import it.
        from koi_agent.capabilities.dns.webhook.opening import sending  # noqa: PLC0415

        async with sending(self.settings, report) as session:
            yield session


@frozen()
class StaticRecords:
    """The file at ``file``, which systemd-resolved reads through the symbolic link ``link``.

    ``address`` is that of the system bus. ``obstacle`` is the reason why no file can be written,
    "" for none.
    """

    address: str
    file: Path
    link: Path
    obstacle: str = ""

    @property
    def absence(self) -> str:
        """The reason why no name is written."""
        return self.obstacle or "systemd-resolved does not run"

    @property
    def is_always_open(self) -> bool:
        """True if the file can be written: it may have names of an earlier run."""
        return not self.obstacle

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator[ProviderSession[Name]]:
        """Wait for systemd-resolved; write until the context is left; raise ``ProviderLost``."""
        if self.obstacle:
            await asyncio.Event().wait()
        from koi_agent.capabilities.dns.static.session import following  # noqa: PLC0415 - as above

        async with following(self.address, self.file, self.link, report) as session:
            yield session

    @property
    def place(self) -> Path:
        """The file."""
        return self.file

    async def withdraw(self) -> None:
        """Remove the names from the file, unless it can't be this agent's."""
        if self.obstacle:
            return
        from koi_agent.capabilities.dns.static.session import withdraw  # noqa: PLC0415 - as above

        await withdraw(self.address, self.file)


@frozen()
class Hook:
    """The file of the process that answers systemd-resolved."""

    settings: HookSettings

    @property
    def absence(self) -> str:
        """The reason why no name is written."""
        if self.settings.obstacle:
            return self.settings.obstacle
        return self.settings.missing() or "systemd-resolved does not run"

    @property
    def is_always_open(self) -> bool:
        """True if there is a hook: it must learn the domains, and which names do not exist."""
        return not self.settings.obstacle

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator[ProviderSession[Name]]:
        """Wait for systemd-resolved; write until the context is left; raise ``ProviderLost``."""
        if self.settings.obstacle:
            await asyncio.Event().wait()
        from koi_agent.capabilities.dns.hook.session import following  # noqa: PLC0415 - as above

        async with following(self.settings, report) as session:
            yield session

    @property
    def place(self) -> Path:
        """The file."""
        return self.settings.file

    async def withdraw(self) -> None:
        """Remove the names from the file, unless it can't be this agent's."""
        if self.settings.obstacle:
            return
        from koi_agent.capabilities.dns.hook.session import withdraw  # noqa: PLC0415 - as above

        await withdraw(self.settings)


@frozen()
class Koi:
    """A Koi daemon, which gets the names; ``ttl`` is seconds."""

    settings: KoiSettings
    ttl: int

    @property
    def absence(self) -> str:
        """The reason why no name is sent."""
        return self.settings.absence

    @property
    def is_always_open(self) -> bool:
        """True if the daemon may have names of an earlier run."""
        return self.settings.has_intents("dns")

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator[ProviderSession[Name]]:
        """Send names until the context is left; raise ``ProviderLost``."""
        from koi_agent.capabilities.dns.koi import sending  # noqa: PLC0415 - as above

        async with sending(self.settings, self.ttl, report) as session:
            yield session
