"""Sessions with a webhook, for tests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from koi_agent.capabilities.dns.webhook.adjuster import Owner
from koi_agent.capabilities.dns.webhook.api import Webhook
from koi_agent.capabilities.dns.webhook.claimed import name_claims
from koi_agent.capabilities.dns.webhook.opening import working
from koi_agent.capabilities.dns.webhook.session import WebhookSession
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.host.http_client import client
from tests.unit.dns_zones import key, named
from tests.unit.webhook_provider import Provider, served

MARK, OTHER = "0" * 16, "1" * 16
TEXT, OTHER_TEXT = f'"koi-runtime {MARK}"', f'"koi-runtime {OTHER}"'


class Opened:
    """A session that works, and what it reported; ``url`` is that of the webhook."""

    def __init__(
        self, session: WebhookSession, reported: dict[Key, Sequence[RecordStatus]]
    ) -> None:
        self.session = session
        self.reported = reported

    async def put(self, id_: str, *addresses: str, name: str = "") -> None:
        """Set the name of an instance; by default, its first label is the ID."""
        records = [named(id_, name or f"{id_}.internal", *addresses)] if addresses else []
        await self.session.put(key(id_), records)

    def status(self, id_: str) -> tuple[RecordState, str]:
        (status,) = self.reported[key(id_)]
        return status.state, status.reason

    def state(self, id_: str) -> RecordState:
        return self.status(id_)[0]


@asynccontextmanager
async def opened(
    url: str, folder: Path, *, releases: bool = False, mark: str = MARK
) -> AsyncIterator[Opened]:
    """Open a session with the webhook at a URL, and close it afterwards."""
    reported: dict[Key, Sequence[RecordStatus]] = {}
    claims = name_claims(folder / "claims")
    async with client(url) as made:
        session = WebhookSession(
            Webhook(made, url), claims, Owner(mark, 30), reported.__setitem__, releases=releases
        )
        await session.open()
        async with working(session):
            yield Opened(session, reported)


@asynccontextmanager
async def running(
    provider: Provider, folder: Path, *, releases: bool = False
) -> AsyncIterator[Opened]:
    """Serve a provider, and open a session with it."""
    async with served(provider) as url, opened(url, folder, releases=releases) as made:
        yield made
