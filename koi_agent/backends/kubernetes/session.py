"""One connection to one cluster: its watches and its lists."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Never

from koi_agent.backends.http_engine.json_fields import get_object, get_str
from koi_agent.backends.kubernetes.access import Access, account_access
from koi_agent.backends.kubernetes.api import API, Refused, connected
from koi_agent.backends.kubernetes.authenticator import Authenticator
from koi_agent.backends.kubernetes.credentials import Credentials
from koi_agent.backends.kubernetes.kubeconfig import read_kubeconfig
from koi_agent.backends.kubernetes.resources import Found, Lasting, Resource, Resources
from koi_agent.backends.kubernetes.rights import IDENTITY, NODES
from koi_agent.backends.kubernetes.scope import Scope
from koi_agent.backends.kubernetes.tunables import Tunables
from koi_agent.core.contracts import Deliver
from koi_agent.core.errors import BackendLost, BadInput, ungrouped
from koi_agent.core.events import Listing
from koi_agent.core.instance import Instance
from koi_agent.core.text import printable
from koi_agent.timeouts import timeout

log = logging.getLogger(__name__)

MAX_COMPLAINTS: Final = 100
"""Maximum number of kinds of bad records that are logged in one connection."""
TURN: Final = 100
"""Listed pods that are completed with the ports of their Services before other tasks run."""
_FORBIDDEN, _NOT_FOUND = 403, 404
_MAX_VERSION: Final = 64


class Session:
    """Follows the pods of one cluster in a scope until the connection is lost."""

    def __init__(
        self,
        api: API,
        scope: Scope,
        lasting: Lasting,
        deliver: Deliver,
        tunables: Tunables,
    ) -> None:
        self._api = api
        self._scope = scope
        self._tunables = tunables
        self._version = ""
        self._identity = ""
        self._doubts: asyncio.Queue[str] = asyncio.Queue(maxsize=1)
        self._complaints: set[str] = set()
        self._resources = Resources(api, scope, lasting, deliver)
        self._left_out: set[str] = set()

    async def check(self) -> None:
        """Read the server's version and identity, and check that it has this host's node.

        Raises ``BackendLost``.
        """
        version = await self._api.get("/version")
        self._version = printable(get_str(version, "gitVersion"), _MAX_VERSION)
        self._identity = await self._read_identity()
        if node := self._scope.watched_node:
            await self._check_node(node)

    async def _read_identity(self) -> str:
        """Return the UID that a cluster has for its life, "" if this may not be read."""
        try:
            return get_str(get_object(await self._api.get(IDENTITY.path()), "metadata"), "uid")
        except Refused as refused:
            if refused.status not in (_FORBIDDEN, _NOT_FOUND):
                raise
            return ""

    async def _check_node(self, node: str) -> None:
        """Raise ``BackendLost`` if the cluster has no such node: a list would be empty."""
        try:
            await self._api.get(f"{NODES.path()}/{node}")
        except Refused as refused:
            if refused.status == _NOT_FOUND:
                raise BackendLost(
                    f"{self._api.server}: no node is called {node}; set Node= of [Kubernetes]"
                ) from refused
            if refused.status != _FORBIDDEN:
                raise

    async def run(self) -> Never:
        """Watch all collections; raise ``BackendLost`` when the server is lost."""
        with ungrouped(BackendLost):
            async with asyncio.TaskGroup() as group:
                ports = self._resources.ports
                group.create_task(ports.run(), name=f"{self._scope.backend}: listeners")
                for one in self._resources.all:
                    group.create_task(
                        one.collection.run(self._complain, self._doubt),
                        name=f"{self._scope.backend}: {one.path}",
                    )
        raise AssertionError("a session ends by losing its server")

    async def doubt(self) -> str:
        """Wait until only a list can show what runs; return why."""
        reason = await self._doubts.get()
        await asyncio.sleep(self._tunables.list_delay)
        return reason

    def _doubt(self, reason: str) -> None:
        if self._doubts.empty():
            self._doubts.put_nowait(reason)

    def _complain(self, subject: str, bad: BadInput) -> None:
        """Log what is wrong with a record, once for each kind of error."""
        text = f"{subject}: {bad}"
        if text not in self._complaints and len(self._complaints) < MAX_COMPLAINTS:
            self._complaints.add(text)
            log.warning("%s: ignored %s", self._scope.backend, text)

    # Lists

    async def list(self) -> Listing:
        """List what runs; raise ``BackendLost``."""
        newer: set[str] = set()
        for one in self._resources.all:
            one.store.begin_list()
        try:
            # The identity is not known if the permission to read it was revoked.
            if self._identity and await self._read_identity() not in (self._identity, ""):
                raise BackendLost(f"{self._api.server}: another cluster answers")
            async with timeout(self._tunables.listing):
                for one in self._resources.all:
                    newer |= await self._list(one)
        except TimeoutError:
            raise BackendLost(f"{self._api.server}: no complete list in time") from None
        finally:
            for one in self._resources.all:
                one.store.end_list()
        await self._resources.ports.scan()
        return Listing(
            backend=self._scope.backend,
            instances=await self._instances(),
            endpoint=self._api.server,
            runtime_version=self._version,
            touched=frozenset(newer),
        )

    async def _instances(self) -> Sequence[Instance]:
        found: list[Instance] = []
        for table in self._resources.tables:
            for instance in table.instances():
                found.append(instance)
                if len(found) % TURN == 0:
                    await asyncio.sleep(0)
        return found

    async def _list(self, resource: Resource[Any]) -> frozenset[str]:
        """List one collection, and watch from there; return the UIDs of pods that are newer.

        Without the permission to list Services, pods are followed without them.
        """
        found = Found(resource.store.known, resource.parse, self._complain)
        try:
            version = await resource.collection.list(found)
            newer = resource.store.apply_list(found.objects, version, is_whole=found.is_whole)
        except Refused as refused:
            if resource.is_required or refused.status not in (_FORBIDDEN, _NOT_FOUND):
                raise
            self._leave_out(resource, refused)
            return frozenset()
        resource.collection.follow(version)
        return newer

    def _leave_out(self, resource: Resource[Any], refused: Refused) -> None:
        if resource.path not in self._left_out:
            self._left_out.add(resource.path)
            log.warning("%s: pods are followed without Services: %s", self._scope.backend, refused)


@asynccontextmanager
async def opened(
    credentials: Credentials,
    authenticator: Authenticator,
    scope: Scope,
    lasting: Lasting,
    deliver: Deliver,
    tunables: Tunables,
) -> AsyncIterator[Session]:
    """Read the credentials, and connect; raise ``BackendLost`` or ``BackendAbsent``."""
    access = await asyncio.to_thread(access_of, credentials, scope.context)
    connections = 3 * len(scope.namespaced) + 2
    async with connected(access, authenticator, tunables, connections=connections) as api:
        session = Session(api, scope, lasting, deliver, tunables)
        await session.check()
        yield session


def access_of(credentials: Credentials, context: str) -> Access:
    """Return the access to a cluster; raise ``BackendLost`` or ``BackendAbsent``."""
    if credentials.kubeconfig:
        return read_kubeconfig(credentials.kubeconfig, context)
    return account_access(credentials.server, credentials.account)
