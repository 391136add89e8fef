"""Containers of Docker or Podman, over the API that both speak.

``kinds`` holds how the two differ, ``sockets`` where they listen. For one connection, ``api``
sends requests, ``swarm`` those about services, ``event_listener`` reads the event stream,
``inspector`` inspects containers, and ``session`` lists them and owns the rest.
``containers``, ``events``, ``labels``, ``ports`` and ``health`` parse the responses; ``tracker``
applies them to the ``table``, which delivers them.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from koi_agent.backends.docker.kinds import Kind
from koi_agent.backends.docker.sockets import Candidate, Candidates
from koi_agent.backends.docker.tunables import Tunables
from koi_agent.backends.http_engine.socket_errors import (
    NothingBehindGate,
    UnixSocket,
    check_listening,
)
from koi_agent.core.contracts import Deliver, Session
from koi_agent.core.errors import BackendAbsent, BackendLost
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.path_watch import PathStates, path_states, wait_for_change

if TYPE_CHECKING:
    from koi_agent.backends.docker.api import DockerAPI
    from koi_agent.backends.docker.session import EngineState


class Docker:
    """A backend called ``name``, which follows an engine of one kind.

    It uses the first candidate socket on which an engine of its kind answers. Labels that
    come from an image count only with ``image_labels``.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        candidates: Candidates,
        listeners: ListenerTable,
        tunables: Tunables | None = None,
        *,
        image_labels: bool,
    ) -> None:
        self.name = name
        self._kind = kind
        self._candidates = candidates
        self._paths = [socket.path for socket in candidates.sockets]
        self._listeners = listeners
        self._tunables = tunables or Tunables()
        self._image_labels = image_labels
        self._state: EngineState | None = None
        self._paths_before: PathStates = path_states(self._paths)

    @asynccontextmanager
    async def session(self, deliver: Deliver) -> AsyncIterator[Session]:
        """Connect and open the event stream; raise ``BackendLost`` or ``BackendAbsent``."""
        self._paths_before = path_states(self._paths)
        async with AsyncExitStack() as stack:
            api = await self._connect(stack)
            yield await stack.enter_async_context(self._opened(api, deliver))

    def _opened(self, api: "DockerAPI", deliver: Deliver) -> AbstractAsyncContextManager[Session]:
        from koi_agent.backends.docker.session import (  # noqa: PLC0415 - see ``_connected``
            EngineState,
            Session,
        )

        self._state = self._state or EngineState.empty(image_labels=self._image_labels)
        return Session(
            self.name,
            api,
            self._state,
            deliver,
            listeners=self._listeners,
            tunables=self._tunables,
        ).opened()

    async def arrival(self) -> None:
        """Wait until a candidate socket appears, is replaced, or changes its permissions."""
        await wait_for_change(self._paths, self._paths_before)

    async def _connect(self, stack: AsyncExitStack) -> "DockerAPI":
        """Connect to the first candidate on which an engine of this kind answers."""
        failure: BackendLost | None = None
        for candidate in self._candidates.sockets:
            socket = UnixSocket(candidate.path, candidate.gate_unit, candidate.unit)
            try:
                await check_listening(socket)
                api = await stack.enter_async_context(self._connected(socket))
            except BackendLost as lost:
                failure = _more_specific(failure, lost, candidate)
                continue
            if api.engine.kind is self._kind:
                return api
            other = api.engine.kind
            failure = failure or BackendAbsent(
                f"{socket}: {other.title} answers, not {self._kind.title};"
                f" a backend of kind {other.name} can follow it"
            )
        raise failure or BackendAbsent(self._candidates.reason)

    def _connected(self, socket: UnixSocket) -> AbstractAsyncContextManager["DockerAPI"]:
        # A host without an engine does not load the modules that speak with one.
        from koi_agent.backends.docker.api import connected  # noqa: PLC0415

        return connected(socket, self._tunables.requests)


def _more_specific(
    failure: BackendLost | None, new: BackendLost, candidate: Candidate
) -> BackendLost | None:
    """Return the failure that explains better why no engine was found."""
    if isinstance(new, NothingBehindGate):
        return failure or new
    if isinstance(new, BackendAbsent):
        # The engine may run without a gate.
        return failure if candidate.is_gate else failure or new
    if candidate.is_foreign or isinstance(failure, NothingBehindGate):
        return failure
    # The first of two failures is reported, but that of a present engine replaces an absence.
    return new if failure is None or isinstance(failure, BackendAbsent) else failure
