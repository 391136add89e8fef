"""Opens a session: the server, its key, the mark of this agent, and the claims of earlier runs."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from koi_agent.capabilities.dns.keys import credential, read_key
from koi_agent.capabilities.dns.messages import Keyring
from koi_agent.capabilities.dns.update.claims import node_claims, node_claims_file
from koi_agent.capabilities.dns.update.primary import Primary
from koi_agent.capabilities.dns.update.session import UpdateSession
from koi_agent.capabilities.dns.update.settings import UpdateSettings
from koi_agent.config.dns import Server
from koi_agent.core.contracts import Report
from koi_agent.core.errors import BadInput, ProviderLost
from koi_agent.core.text import printable
from koi_agent.host.agent_mark import own_mark


@asynccontextmanager
async def updating(settings: UpdateSettings, report: Report) -> AsyncIterator[UpdateSession]:
    """Send updates until the context is left; raise ``ProviderLost``."""
    primary = Primary(_server(settings), settings.zone, _key(settings))
    claims = node_claims(node_claims_file(settings, os.environ), settings.zone)
    session = UpdateSession(settings, primary, claims, own_mark(settings.scope), report)
    await session.open()
    is_reached = True
    try:
        yield session
    except ProviderLost:
        is_reached = False
        raise
    finally:
        if is_reached:
            await session.close()


def _server(settings: UpdateSettings) -> Server:
    if settings.server is None:
        raise AssertionError("a session has a server")
    return settings.server


def _key(settings: UpdateSettings) -> Keyring:
    """Return the key that signs all messages; raise ``ProviderLost``."""
    name = settings.key
    if settings.key_file:
        file, advice = Path(settings.key_file), "check its content and its mode"
    else:
        file, advice = credential(name, os.environ), f"use LoadCredential=dns-key.{name}:FILE"
    try:
        return read_key(name, file)
    except BadInput as error:
        where = settings.key_file or f"dns-key.{name}"
        raise ProviderLost(
            f"[DNS] UpdateKey={name}: {printable(where)}: {error}; {advice}"
        ) from error
