"""The API of a swarm: the one door to aiodocker.

It is loaded with the first service, because aiodocker and its aiohttp take long to load.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiodocker

from koi_agent.backends.http_engine.client import EngineClient
from koi_agent.backends.http_engine.sessions import URL, session
from koi_agent.core.errors import BackendLost
from koi_agent.host.http_client import CLIENT_ERROR
from koi_agent.timeouts import timeout

_NO_CONNECTION: Final = 900
"""aiodocker's own status for a request without a response."""


class Swarm:
    """Inspects services, with the limits and the errors of a client; close it after use."""

    def __init__(self, client: EngineClient, api_version: str) -> None:
        self._client = client
        self._session = session(client.socket.path)
        self._docker = aiodocker.Docker(
            url=URL,
            connector=self._session.connector,
            session=self._session,
            api_version=api_version,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def service(self, id_: str) -> object:
        """Return a service of the swarm; raise ``RequestRefused`` or ``BackendLost``."""
        async with self._asked(f"GET /services/{id_}"):
            return await self._docker.services.inspect(id_)

    @asynccontextmanager
    async def _asked(self, request: str) -> AsyncIterator[None]:
        """Bound a request in time, and raise every error as ``BackendLost``."""
        client = self._client
        try:
            with client.translated(request):
                async with timeout(client.limits.response):
                    yield
        except CLIENT_ERROR as error:
            raise client.translation(request, error) from error
        except aiodocker.DockerError as error:
            if error.status == _NO_CONNECTION:
                raise client.translation(request, error.__context__) from error
            raise client.refusal(request, error.status, str(error.message)) from error
        except (KeyError, TypeError) as error:
            # aiodocker expects an object with a message in each error response.
            text = f"{client.socket}: {request}: an error response without a message"
            raise BackendLost(text) from error
