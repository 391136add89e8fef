"""The sockets for HTTP: those from systemd, or one of the agent's own, and those of ``Listen=``."""

import socket
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from koi_agent.config import Config, Listen
from koi_agent.host import sockets

MODE = 0o666
"""Mode of the agent's own socket: all users of the bus may read the same data."""


class HTTPSockets:
    """The listening sockets of one agent; they are opened and closed here, and served elsewhere.

    An agent that was started ``by_hand`` makes a socket of its own. An agent that systemd started
    without a socket has only those of ``Listen=``. Raises ``ConfigError`` and ``NoSocket``.
    """

    def __init__(
        self, config: Config, environment: MutableMapping[str, str], *, by_hand: bool
    ) -> None:
        self._open: dict[Listen, tuple[socket.socket, ExitStack]] = {}
        self._configured: dict[Listen, None] = {}
        self._fixed = sockets.passed(environment, ("http",)).get("http", [])
        self._own = ExitStack()
        if by_hand and not self._fixed:
            path = sockets.http_path(config.scope, environment)
            self._fixed.append(self._own.enter_context(sockets.own_unix(path, mode=MODE)))
        try:
            self.change(config)
        except BaseException:
            self.close()
            raise

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """The sockets to serve on; only this object closes them."""
        return [*self._fixed, *(self._open[listen][0] for listen in self._configured)]

    def change(self, config: Config) -> bool:
        """Open the sockets of ``Listen=``; return True if ``sockets`` changed.

        Sockets that are no longer configured stay open until ``trim``, since they may be in use.
        If one cannot be opened, nothing changes.
        """
        configured = dict.fromkeys(config.http.listen)
        opened: dict[Listen, tuple[socket.socket, ExitStack]] = {}
        with ExitStack() as undo:
            for listen in configured.keys() - self._open.keys():
                stack = undo.enter_context(ExitStack())
                opened[listen] = stack.enter_context(_listening(listen)), stack
            undo.pop_all()
        self._open |= opened
        before, self._configured = self._configured, configured
        return before.keys() != configured.keys()

    def trim(self) -> None:
        """Close the sockets that are no longer configured."""
        for listen in self._open.keys() - self._configured.keys():
            self._open.pop(listen)[1].close()

    def close(self) -> None:
        """Close all sockets; those from systemd stay open in systemd."""
        for listening in self._fixed:
            listening.close()
        self._own.close()
        for _, stack in self._open.values():
            stack.close()


@contextmanager
def _listening(listen: Listen) -> Iterator[socket.socket]:
    opened = (
        sockets.own_unix(Path(listen.path), mode=MODE)
        if listen.path
        else sockets.own_tcp(listen.host, listen.port)
    )
    with opened as listening:
        yield listening
