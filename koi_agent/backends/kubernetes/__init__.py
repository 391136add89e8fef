"""Pods of Kubernetes, over the API of the cluster.

``credentials`` finds out whether there is access to a cluster: without any, nothing else is
loaded. ``kubeconfig`` and ``access`` read it, with ``pem`` and ``plugin``; ``authenticator`` runs a
plugin. ``api`` sends requests. ``scope`` has what is followed. A ``collection`` is listed and
watched; ``events``, ``records``, ``states``, ``pods`` and ``services`` parse what comes. ``table``
and ``numbers`` apply it to pods, ``kept`` and ``exposures`` to Services, which add to the pods.
``resources`` and ``session`` join these.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from koi_agent.backends.kubernetes.credentials import Credentials
from koi_agent.backends.kubernetes.tunables import Tunables
from koi_agent.config.kubernetes import KubernetesConfig
from koi_agent.core.contracts import Deliver, Session
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.path_watch import PathStates, path_states, wait_for_change

if TYPE_CHECKING:
    from koi_agent.backends.kubernetes.authenticator import Authenticator
    from koi_agent.backends.kubernetes.numbers import Numbers


class Kubernetes:
    """A backend called ``name``, which follows the cluster that ``credentials`` lead to.

    ``host`` is the name that this host has as a node, unless the settings name its node.
    """

    def __init__(
        self,
        name: str,
        settings: KubernetesConfig,
        credentials: Credentials,
        host: str,
        listeners: ListenerTable,
        tunables: Tunables | None = None,
    ) -> None:
        self.name = name
        self._settings = settings
        self._credentials = credentials
        self._host = host
        self._listeners = listeners
        self._tunables = tunables or Tunables()
        self._numbers: dict[str, Numbers] = {}
        self._authenticator: Authenticator | None = None
        self._paths_before: PathStates = path_states(credentials.paths)

    @asynccontextmanager
    async def session(self, deliver: Deliver) -> AsyncIterator[Session]:
        """Connect; raise ``BackendLost`` or ``BackendAbsent``. The first list starts the watch."""
        self._paths_before = path_states(self._credentials.paths)
        self._credentials.check()
        # A host without Kubernetes does not load the modules that speak with a cluster.
        from koi_agent.backends.kubernetes.authenticator import Authenticator  # noqa: PLC0415
        from koi_agent.backends.kubernetes.resources import Lasting  # noqa: PLC0415
        from koi_agent.backends.kubernetes.scope import Scope  # noqa: PLC0415
        from koi_agent.backends.kubernetes.session import opened  # noqa: PLC0415

        scope = Scope(
            backend=self.name,
            host=self._host,
            context=self._settings.context,
            namespaces=self._settings.namespaces,
            node=self._settings.node,
        )
        if self._authenticator is None:
            self._authenticator = Authenticator(self._tunables.plugin)
        lasting = Lasting(numbers=self._numbers, listeners=self._listeners)
        async with opened(
            self._credentials, self._authenticator, scope, lasting, deliver, self._tunables
        ) as session:
            yield session

    async def arrival(self) -> None:
        """Wait until the files with the credentials change; without files, forever."""
        if self._credentials.paths:
            await wait_for_change(self._credentials.paths, self._paths_before)
        else:
            await asyncio.Event().wait()
