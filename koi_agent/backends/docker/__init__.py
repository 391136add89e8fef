"""Containers of Docker or Podman, over the API that both speak.

``sockets`` says where an engine may be, ``api`` talks to it, ``events`` and ``containers`` read
what it says, ``tracker`` makes changes of that, ``session`` holds them together for one
connection, ``memory`` from one to the next; ``inquiries`` are what is still to be asked and
``listeners`` the ports of containers on the host's network.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from koi_agent.backends.docker.api import API, Engine, NothingBehind
from koi_agent.backends.docker.memory import Memory
from koi_agent.backends.docker.session import Session
from koi_agent.backends.docker.sockets import candidates, foreign_host, stand_ins
from koi_agent.config import Config
from koi_agent.core.contracts import Deliver
from koi_agent.core.errors import BackendAbsent, BackendLost
from koi_agent.host.engines import SOCKETS, gate_socket, gate_unit, is_gate
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.path_watch import PathStates, path_states, wait_for_change


class Docker:
    """The engine ``name``, ``docker`` or ``podman``, on the socket where it is found."""

    def __init__(self, name: str, config: Config, census: ListenerTable) -> None:
        wished = {"docker": config.docker, "podman": config.podman}[name].socket
        self.name = name
        self._paths = candidates(name, wished, config.scope, os.environ)
        self._others = stand_ins(name, config.scope, os.environ) - {wished}
        gated = gate_socket(name) in self._paths
        self._gates = {SOCKETS[name]: gate_unit(name)} if gated else {}
        self._census = census
        self._memory = Memory()
        self._tried: PathStates = path_states(self._paths)

    @asynccontextmanager
    async def session(self, deliver: Deliver) -> AsyncIterator[Session]:
        """Find the engine and listen to it; raises ``BackendLost`` or ``BackendAbsent``."""
        self._tried = path_states(self._paths)
        async with AsyncExitStack() as stack:
            api, engine = await self._reach(stack)
            session = Session(api, engine, self._memory, deliver, self._census)
            async with session.at_work():
                yield session

    async def arrival(self) -> None:
        """Wait until a socket is there, or is another, or may be used by others."""
        await wait_for_change(self._paths, self._tried)

    async def _reach(self, stack: AsyncExitStack) -> tuple[API, Engine]:
        """Take the first socket on which this engine answers."""
        why: BackendLost | None = None
        for path in self._paths:
            try:
                api = await stack.enter_async_context(API(path, self._gates.get(path, "")))
                engine = await api.engine()
            except NothingBehind as absent:
                why = why or absent
                continue
            except BackendAbsent as absent:
                why = why if is_gate(path) else why or absent
                continue
            except BackendLost as lost:
                why = why if path in self._others or _is_settled(why) else lost
                continue
            if engine.backend == self.name:
                return api, engine
            text = f"{path} is {engine.backend.capitalize()}'s, which is followed by that name"
            why = why or BackendAbsent(text)
        raise why or BackendAbsent(foreign_host(self.name, os.environ))


def _is_settled(why: BackendLost | None) -> bool:
    """Tell whether what was found says more than that something else can't be used, either."""
    return isinstance(why, NothingBehind) or not (why is None or isinstance(why, BackendAbsent))
