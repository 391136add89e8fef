"""The DNS server that gets the updates: one connection for each group of requests."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count, islice
from secrets import randbelow
from typing import Final, NamedTuple

from koi_agent.capabilities.dns.messages import NOERROR, NXDOMAIN, Keyring
from koi_agent.capabilities.dns.update import messages
from koi_agent.capabilities.dns.update.messages import Answer, Request
from koi_agent.capabilities.dns.update.transactions import Set, Transaction
from koi_agent.config.dns import Server
from koi_agent.core.errors import BadInput, ProviderLost
from koi_agent.timeouts import timeout

TIMEOUT: Final = 5.0
"""Seconds for a connection, and for the responses to requests that were sent together."""
AT_ONCE: Final = 16
"""Requests that are sent before their responses are read.

Signing them takes several milliseconds.
"""
_NUMBERS: Final = 2**16


class Found(NamedTuple):
    """The data of the records in a set; ``trouble`` is the code of a response without data."""

    texts: frozenset[str]
    trouble: str = ""


class Primary:
    """A server with a zone. All methods raise ``ProviderLost`` for an unexpected answer.

    ``lease`` is the shortest time in seconds for which it keeps records, 0 for no limit.
    """

    def __init__(self, server: Server, zone: str, keys: Keyring) -> None:
        self.zone = zone
        self.lease = 0
        self._server = server
        self._keys = keys

    async def serial(self) -> int:
        """Return the serial of the zone."""
        (found,) = await self.ask([Set(f"{self.zone}.", "SOA")])
        if found.trouble:
            raise self.lost(f"it responds {found.trouble} to questions about {self.zone}")
        if not found.texts:
            raise self.lost(f"it has no zone {self.zone}; check UpdateZone=")
        (soa,) = found.texts
        return int(soa.split()[2])

    async def ask(self, questions: Sequence[Set]) -> Sequence[Found]:
        """Return the records of each set."""
        # Two requests that wait for their responses must have different numbers.
        numbers = count(randbelow(_NUMBERS))
        makers = [
            partial(messages.question, one, self._keys, number % _NUMBERS)
            for one, number in zip(questions, numbers, strict=False)
        ]
        answers = await self._answers(makers)
        return [_found(asked, answer) for asked, answer in zip(questions, answers, strict=True)]

    async def update(self, transactions: Iterable[Transaction]) -> str:
        """Make transactions, all or none; return the code of the response. Raises ``TooLong``."""
        request = messages.update(self.zone, transactions, self._keys)
        (answer,) = await self._answers([lambda: request])
        if answer.lease:
            self.lease = min(self.lease or answer.lease, answer.lease)
        return answer.rcode

    def lost(self, reason: str) -> ProviderLost:
        """Return the error for a server that can't be used."""
        return ProviderLost(f"[DNS] Update={self._server}: {reason}")

    async def _answers(self, makers: Sequence[Callable[[], Request]]) -> Sequence[Answer]:
        """Return the response to each request, in order; a request is made when it is sent."""
        try:
            async with timeout(TIMEOUT):
                reader, writer = await asyncio.open_connection(*self._server)
        except OSError as error:  # TimeoutError is a subclass
            raise self.lost(error.strerror or "no connection") from error
        waiting, answers = iter(makers), list[Answer]()
        try:
            while some := [make() for make in islice(waiting, AT_ONCE)]:
                async with timeout(TIMEOUT):
                    answers += await _exchanged(reader, writer, some)
        except TimeoutError:
            raise self.lost(f"no response within {TIMEOUT:g} s") from None
        except (OSError, EOFError) as error:
            raise self.lost("it closed the connection") from error
        except BadInput as error:
            raise self.lost(str(error)) from error
        finally:
            writer.transport.abort()
        return answers


async def _exchanged(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: Sequence[Request]
) -> Sequence[Answer]:
    """Send requests, and return their responses, which may come in another order."""
    for request in requests:
        writer.write(len(request.wire).to_bytes(2, "big") + request.wire)
    await writer.drain()
    waiting = {request.number: request for request in requests}
    answers: dict[int, Answer] = {}
    while waiting:
        size = int.from_bytes(await reader.readexactly(2), "big")
        wire = await reader.readexactly(size)
        number = int.from_bytes(wire[:2], "big")
        if number not in waiting:
            raise BadInput("it responds to another request")
        answers[number] = waiting.pop(number).answer(wire)
    return [answers[request.number] for request in requests]


def _found(asked: Set, answer: Answer) -> Found:
    if answer.rcode not in (NOERROR, NXDOMAIN):
        return Found(frozenset(), answer.rcode)
    if answer.is_truncated:
        return Found(frozenset(), "only a part")
    return Found(answer.texts(asked))
