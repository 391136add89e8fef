"""Serves all connections of systemd-resolved. The only wait is for the next event."""

import logging
import select
import socket
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from koi_agent.core.errors import BadInput
from koi_agent.host.descriptors import Manager
from koi_agent.services.hook import messages
from koi_agent.services.hook.answers import FAILED, NOT_OURS, answer
from koi_agent.services.hook.file import RecordsFile
from koi_agent.services.hook.link import Gone, Link
from koi_agent.services.hook.messages import HOOK, SERVICE, Call
from koi_agent.services.hook.rate import RateLog
from koi_agent.services.hook.store import Store

log = logging.getLogger(__name__)

MOST_LINKS: Final = 256
"""Connections: systemd-resolved has one for each waiting question, and a few more."""
MOST_AT_ONCE: Final = 64
"""Connections that are accepted, and requests of one, before others are served."""
RESOLVED: Final = Path("/run/systemd/resolve")
"""The directory of systemd-resolved; its owner is the user of systemd-resolved."""
PATIENCE: Final = 1.0
"""Seconds at the end in which systemd-resolved can read the last replies."""
PAUSE: Final = 0.01
"""Seconds between two attempts to send it."""
RETRY: Final = 0.1
"""Seconds until variables that the service manager did not read are sent again."""
ACCEPT_PAUSE: Final = 1.0
"""Seconds until a connection is accepted again after the kernel could not."""
_EVENTS: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_OVER: Final = select.EPOLLHUP | select.EPOLLERR


class Server:
    """The connections, and the filter on which they agree."""

    def __init__(
        self, listener: socket.socket, file: RecordsFile, manager: Manager, store: Store
    ) -> None:
        self._listener = listener
        self._file = file
        self._manager = manager
        self._store = store
        self._poll = select.epoll()
        self._links: dict[int, Link] = {}
        self._unfinished: set[int] = set()  # links with more requests than are answered at once
        self._foreign = RateLog("question for a name outside the domains: %s")
        self._refused = RateLog("connection refused: user %s is not systemd-resolved")
        self._pause_until = 0.0
        self._listens = False
        self._status = ""

    def start(self, others: Iterable[int]) -> None:
        """Continue the connections of the previous process; ``others`` wake up ``step``."""
        self._file.refresh()
        for one in self._store.left():
            self._add(Link(one, is_adopted=True))
        for descriptor in (*others, self._file.descriptor):
            if descriptor is not None:
                self._poll.register(descriptor, select.EPOLLIN)
        self._listen()
        self._report(READY="1")

    def step(self, timeout: float) -> None:
        """Wait for events, for ``timeout`` seconds at most, and process them."""
        if self._manager.is_behind or self._store.is_behind:
            timeout = min(timeout, RETRY)
        if not self._listens:
            timeout = min(timeout, ACCEPT_PAUSE)
        unfinished, self._unfinished = self._unfinished, set()
        events = self._poll.poll(0 if unfinished else timeout)
        self._refresh()
        for descriptor, event in (*events, *((one, 0) for one in unfinished)):
            if link := self._links.get(descriptor):
                self._serve(link, event)
        self._accept()
        self._manager.flush()
        self._store.keep()

    def _refresh(self) -> None:
        """Read the file again if it has changed, and send a filter that has changed."""
        if self._file.refresh():
            self._send_filter()
            self._report()

    # Connections

    def _listen(self) -> None:
        """Listen while there is room for connections; the others wait in the kernel."""
        wanted = len(self._links) < MOST_LINKS and time.monotonic() >= self._pause_until
        if wanted and not self._listens:
            self._poll.register(self._listener, select.EPOLLIN)
        elif self._listens and not wanted:
            self._poll.unregister(self._listener)
        self._listens = wanted

    def _accept(self) -> None:
        self._listen()
        for _ in range(MOST_AT_ONCE):
            if not self._listens:
                return
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("can't accept a connection: %s; trying again", error.strerror)
                self._pause_until = time.monotonic() + ACCEPT_PAUSE
            else:
                self._store.add(connection.fileno())  # first, because this process may be killed
                self._add(Link(connection))
            self._listen()

    def _add(self, link: Link) -> None:
        """Serve a connection of systemd-resolved or root, and close any other."""
        if link.user not in _allowed():
            self._refused.add(str(link.user))
            self._store.forget(link.fileno())
            link.close()
            return
        self._links[link.fileno()] = link
        self._poll.register(link.fileno(), _EVENTS)
        self._serve(link, select.EPOLLIN)

    def _drop(self, link: Link) -> None:
        self._store.forget(link.fileno())
        self._unfinished.discard(link.fileno())
        del self._links[link.fileno()]
        # Closing does not end the polling, because the store may keep the connection open.
        self._poll.unregister(link.fileno())
        link.close()

    def _serve(self, link: Link, event: int) -> None:
        """Answer all present requests of a connection; a bug ends only this connection."""
        try:
            link.flush()
            self._respond_to_all(link)
            if link.follows:
                self._send_filter_to(link)
            is_over = event & _OVER or (link.follows and event & select.EPOLLRDHUP)
        except Gone:
            is_over = True
        except Exception:
            log.exception("connection closed: this is a bug")
            is_over = True
        if is_over:
            self._drop(link)

    # Requests

    def _respond_to_all(self, link: Link) -> None:
        for _ in range(MOST_AT_ONCE):
            if link.is_behind or link.follows or (request := link.request()) is None:
                return
            self._refresh()  # the file may have changed before the question
            self._respond(link, request)
        self._unfinished.add(link.fileno())

    def _respond(self, link: Link, request: bytes) -> None:
        try:
            call = messages.parse(request)
        except BadInput:
            call = Call("", {})
        if call.method == f"{HOOK}.QueryFilter" and call.more:
            link.follows = True
            return
        if not call.oneway:
            link.send(self._reply(call))
        link.take(request)

    def _reply(self, call: Call) -> bytes:
        match call.method:
            case "":  # after a Varlink error, DNS servers would be asked for the name
                return messages.reply(FAILED)
            case method if method == f"{HOOK}.ResolveRecord":
                return messages.reply(self._answer(call.parameters))
            case method if method == f"{HOOK}.QueryFilter":
                return messages.error("ExpectedMore")
            case method if method == f"{SERVICE}.GetInfo":
                return messages.info()
            case method if method == f"{SERVICE}.GetInterfaceDescription":
                return messages.description(call.parameters.get("interface"))
            case method:
                return messages.error("MethodNotFound", method=method)

    def _answer(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        found = answer(self._file.records, parameters)
        if found is NOT_OURS:
            self._foreign.add(str(parameters.get("question")))
        return found

    # The filter

    def _send_filter(self) -> None:
        for link in [*self._links.values()]:
            if link.follows:
                self._serve(link, 0)

    def _send_filter_to(self, link: Link) -> None:
        """Send the domains, unless the peer has them or has not read the earlier ones."""
        domains = self._file.records.domains
        if link.filter != domains and not link.is_behind:
            link.filter = domains
            link.send(messages.reply({"filterDomains": [*domains]}, continues=True))

    def release(self) -> None:
        """Send an empty filter and close all other connections, so that DNS servers are asked."""
        self._file.withdraw()
        deadline = time.monotonic() + PATIENCE
        self._send_filter()
        while any(one.is_behind for one in self._links.values()) and time.monotonic() < deadline:
            time.sleep(PAUSE)
            self._send_filter()
        for link in [*self._links.values()]:
            if not link.follows:
                self._drop(link)

    def _report(self, **variables: str) -> None:
        records = self._file.records
        status = records.trouble or f"domains and reverse names: {len(records.domains)}"
        self._manager.send({"STATUS": status, **variables})


def _allowed() -> Sequence[int]:
    """Return the users that may ask.

    The name of a user is not looked up, because that may need DNS.
    """
    try:
        status = RESOLVED.lstat()
    except OSError:
        return (0,)
    return (0, status.st_uid) if stat.S_ISDIR(status.st_mode) else (0,)
