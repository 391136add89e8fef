"""One session of the responder: its zones, its sockets and its notifications."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Final, Never

from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.responder.access import RateLimit, keyring
from koi_agent.capabilities.dns.responder.answers import Answers
from koi_agent.capabilities.dns.responder.notifier import Notifier
from koi_agent.capabilities.dns.responder.settings import ResponderSettings
from koi_agent.capabilities.dns.responder.tcp import Streams
from koi_agent.capabilities.dns.responder.udp import Datagrams
from koi_agent.capabilities.dns.serial import Serial, state_file
from koi_agent.capabilities.dns.zone import Zones
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.host.sockets import NoSocket, own_tcp, own_udp

NAME: Final = "server"


@asynccontextmanager
async def serving(settings: ResponderSettings, report: Report) -> AsyncIterator["ResponderSession"]:
    """Listen, and answer over UDP, until the context is left; raise ``ProviderLost``."""
    session = ResponderSession(settings, report)
    with ExitStack() as opened:
        session.open(opened)
        yield session


class ResponderSession:
    """The zones of a responder, served until the session ends."""

    def __init__(self, settings: ResponderSettings, report: Report) -> None:
        self._settings = settings
        self._report = report
        self._zones = Zones(settings.domains, settings.ttl, settings.networks)
        self._serial = Serial(state_file(settings.scope, os.environ))
        keys = keyring(settings.allow_transfer.keys, os.environ)
        self._answers = Answers(self._zones, settings.allow_transfer, keys)
        self._datagrams = Datagrams(self._answers, RateLimit(time.monotonic))
        self._streams = Streams(self._answers)
        self._notifier = Notifier(settings.notify)
        self._listening: list[socket.socket] = []
        self._completed = asyncio.Event()
        self._set_serial()

    def open(self, opened: ExitStack) -> None:
        """Open the sockets, which ``opened`` closes; raise ``ProviderLost``."""
        try:
            for one in _opened(self._settings, opened):
                if one.type == socket.SOCK_DGRAM:
                    opened.enter_context(self._datagrams.serving(one))
                else:
                    self._listening.append(one)
        except NoSocket as error:
            raise ProviderLost(f"[DNS] Listen=: {error}") from error

    def _set_serial(self) -> None:
        for zone in self._zones.all():
            zone.serial = self._serial.current

    async def put(self, owner: Key, records: Sequence[Name]) -> None:
        """Serve the names of an owner in place of its earlier ones."""
        if changed := self._zones.put(owner, records):
            self._serial.next()
            self._set_serial()
            self._notifier.changed(changed)
        self._report(owner, [self._status(record) for record in records])

    def _status(self, record: Name) -> RecordStatus:
        state, reason = RecordState.ANNOUNCED, ""
        if not record.addresses:
            state, reason = RecordState.HELD, "only this host reaches it"
        elif self._zones.of(record.name) is None:  # until its name is planned for the new domains
            state = RecordState.WANTED
        return RecordStatus(name=record.title, state=state, provider=NAME, reason=reason)

    def complete(self) -> None:
        """Mark the names as complete: from now on, other names do not exist.

        Before that, secondary servers must not transfer an incomplete zone, and resolvers must not
        cache that a name does not exist if it is about to be added.
        """
        self._answers.is_complete = True
        self._completed.set()

    async def run(self) -> Never:
        """Answer over TCP and notify secondary servers until cancelled."""
        async with asyncio.TaskGroup() as group:
            for tcp in self._listening:
                group.create_task(self._streams.serve(tcp), name="DNS over TCP")
            await self._completed.wait()
            self._notifier.changed(self._zones.all())
            await self._notifier.run()
        raise AssertionError("a responder runs until it is cancelled")


def _opened(settings: ResponderSettings, opened: ExitStack) -> Iterator[socket.socket]:
    """Open a UDP and a TCP socket for each address, and those from systemd; raise ``NoSocket``."""
    for one in settings.listen:
        yield opened.enter_context(own_udp(one.host, one.port))
        yield opened.enter_context(own_tcp(one.host, one.port))
    for passed in settings.passed:  # they stay open for the next session
        yield opened.enter_context(passed.dup())
