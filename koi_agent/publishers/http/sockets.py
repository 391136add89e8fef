"""Where HTTP is served: on systemd's sockets or one of our own, and where ``Listen=`` says."""

import socket
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from koi_agent.config import Config, Listen
from koi_agent.host import sockets

MODE = 0o666
"""Rights of our own socket: it serves what every user of the bus may read."""


class HTTPSockets:
    """The sockets of one agent; nothing is accepted on them here.

    An agent that was started ``by_hand`` has a socket of its own; one that systemd started
    without a socket is meant to have none. Raises ``ConfigError`` and ``NoSocket``.
    """

    def __init__(
        self, config: Config, environment: MutableMapping[str, str], *, by_hand: bool
    ) -> None:
        self._asked: dict[Listen, tuple[socket.socket, ExitStack]] = {}
        self._wanted: dict[Listen, None] = {}
        self._standing = sockets.passed(environment, ("http",)).get("http", [])
        self._own = ExitStack()
        if by_hand and not self._standing:
            path = sockets.http_path(config.scope, environment)
            self._standing.append(self._own.enter_context(sockets.own_unix(path, mode=MODE)))
        try:
            self.change(config)
        except BaseException:
            self.close()
            raise

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """All that are to be served on; they are closed here and by nobody else."""
        return [*self._standing, *(self._asked[listen][0] for listen in self._wanted)]

    def change(self, config: Config) -> bool:
        """Listen as configured now, and tell whether that is news; what raises changes nothing.

        What is wanted no more stays open until ``trim``, for it may be served on.
        """
        wanted = dict.fromkeys(config.http.listen)
        fresh: dict[Listen, tuple[socket.socket, ExitStack]] = {}
        with ExitStack() as undo:
            for listen in wanted.keys() - self._asked.keys():
                opened = undo.enter_context(ExitStack())
                fresh[listen] = opened.enter_context(_opened(listen)), opened
            undo.pop_all()
        self._asked |= fresh
        before, self._wanted = self._wanted, wanted
        return before.keys() != wanted.keys()

    def trim(self) -> None:
        """Close what is wanted no more."""
        for listen in self._asked.keys() - self._wanted.keys():
            self._asked.pop(listen)[1].close()

    def close(self) -> None:
        """Leave all of them; systemd's go on in systemd."""
        for listener in self._standing:
            listener.close()
        self._own.close()
        for _, opened in self._asked.values():
            opened.close()


@contextmanager
def _opened(listen: Listen) -> Iterator[socket.socket]:
    made = (
        sockets.own_unix(Path(listen.path), mode=MODE)
        if listen.path
        else sockets.own_tcp(listen.host, listen.port)
    )
    with made as listener:
        yield listener
