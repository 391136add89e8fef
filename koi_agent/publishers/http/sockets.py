"""The sockets for HTTP: those from systemd, or one of the agent's own, and those of ``Listen=``."""

import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path

from koi_agent.config import Config, Listen
from koi_agent.host import sockets
from koi_agent.host.sockets import NoSocket

log = logging.getLogger(__name__)

MODE = 0o666
"""Mode of the agent's own socket: all users of the bus may read the same data."""


class HTTPSockets:
    """The listening sockets of one agent; they are opened and closed here, and served elsewhere.

    ``hosts`` are the names of ``Hosts=`` at the start.

    ``passed`` are those from systemd. An agent that was started ``by_hand`` makes a socket of its
    own. One that systemd started without a socket has only those of ``Listen=``. Raises
    ``ConfigError`` and ``NoSocket``.
    """

    def __init__(
        self,
        config: Config,
        passed: Iterable[socket.socket],
        environment: Mapping[str, str],
        *,
        by_hand: bool,
    ) -> None:
        self.hosts = config.http.hosts
        self._open: dict[Listen, tuple[socket.socket, ExitStack]] = {}
        self._configured: dict[Listen, None] = {}
        self._fixed = [*passed]
        self._own = ExitStack()
        if by_hand and not self._fixed:
            path = sockets.http_path(config.scope, environment)
            self._fixed.append(self._own.enter_context(sockets.own_unix(path, mode=MODE)))
        with ExitStack() as undo:
            undo.callback(self.close)
            self.change(config, lambda _listening: None)
            undo.pop_all()

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """The sockets to serve on; only this object closes them."""
        return [*self._fixed, *(self._open[listen][0] for listen in self._configured)]

    def change(self, config: Config, release: Callable[[socket.socket], None]) -> None:
        """Open the sockets of ``Listen=``; raise ``NoSocket`` and change nothing if one fails.

        Sockets that are no longer configured stay open until ``trim``, since they may be in use.
        If one of them has the port of a new socket, it is closed before, and ``release`` ends its
        use. It is opened again if a new socket fails.
        """
        configured = dict.fromkeys(config.http.listen)
        new = [listen for listen in configured if listen not in self._open]
        old = [listen for listen in self._open if listen not in configured]
        closed = [one for one in old if any(_overlap(one, listen) for listen in new)]
        for listen in closed:
            listening, stack = self._open.pop(listen)
            release(listening)
            stack.close()
        with ExitStack() as undo:
            again = [listen for listen in closed if listen in self._configured]
            undo.callback(self._open_again, again)
            self._open |= _opened(new)
            undo.pop_all()
        self._configured = configured

    def _open_again(self, closed: Sequence[Listen]) -> None:
        for listen in closed:
            try:
                self._open |= _opened([listen])
            except NoSocket as error:
                log.error("[HTTP] Listen=: not opened again: %s; reload to try again", error)  # noqa: TRY400
                del self._configured[listen]

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


def _overlap(one: Listen, other: Listen) -> bool:
    """Return True if two TCP sockets cannot listen at the same time."""
    if one.path or other.path or one.port != other.port:
        return False
    first, second = ip_address(one.host), ip_address(other.host)
    if first.version != second.version:
        return False
    return first == second or first.is_unspecified or second.is_unspecified


def _opened(listens: Iterable[Listen]) -> dict[Listen, tuple[socket.socket, ExitStack]]:
    """Open all of some sockets; raise ``NoSocket`` and open none if one fails."""
    opened: dict[Listen, tuple[socket.socket, ExitStack]] = {}
    with ExitStack() as undo:
        for listen in listens:
            stack = undo.enter_context(ExitStack())
            opened[listen] = stack.enter_context(_listening(listen)), stack
        undo.pop_all()
    return opened


@contextmanager
def _listening(listen: Listen) -> Iterator[socket.socket]:
    opened = (
        sockets.own_unix(Path(listen.path), mode=MODE)
        if listen.path
        else sockets.own_tcp(listen.host, listen.port)
    )
    with opened as listening:
        yield listening
