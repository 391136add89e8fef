"""Opens a session: the client, the mark of this agent, and the claims of earlier runs."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from koi_agent.capabilities.dns.webhook.adjuster import Owner
from koi_agent.capabilities.dns.webhook.api import Webhook
from koi_agent.capabilities.dns.webhook.claimed import name_claims, name_claims_file
from koi_agent.capabilities.dns.webhook.session import FINISH, WebhookSession
from koi_agent.capabilities.dns.webhook.settings import WebhookSettings
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost, ungrouped
from koi_agent.host.agent_mark import own_mark
from koi_agent.host.http_client import client


@asynccontextmanager
async def sending(settings: WebhookSettings, report: Report) -> AsyncIterator[WebhookSession]:
    """Send names until the context is left; raise ``ProviderLost``."""
    owner = Owner(own_mark(settings.scope), settings.ttl)
    claims = name_claims(name_claims_file(settings, os.environ))
    # Requests are sent one after another, so that a list shows the effect of a change.
    async with client(settings.url, connections=1) as opened:
        webhook = Webhook(opened, settings.url)
        releases = settings.release_on_stop
        session = WebhookSession(webhook, claims, owner, report, releases=releases)
        await session.open()
        async with working(session):
            yield session


@asynccontextmanager
async def working(session: WebhookSession) -> AsyncIterator[None]:
    """Do the work of a session until the context is left, and then close it."""
    is_reached = True
    with ungrouped(ProviderLost):
        async with asyncio.TaskGroup() as group:
            work = group.create_task(session.work(), name="DNS names to the webhook")
            try:
                yield
            except ProviderLost:
                is_reached = False
                raise
            finally:
                session.stop()
                await asyncio.wait([work], timeout=FINISH)
                work.cancel()
                await asyncio.wait([work])
                if is_reached:
                    await session.close()
