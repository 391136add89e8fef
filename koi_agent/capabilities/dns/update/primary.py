"""The DNS server that gets the updates: one connection for each group of requests."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from koi_agent.capabilities.dns.messages import NOERROR, NXDOMAIN, Keyring
from koi_agent.capabilities.dns.update import messages
from koi_agent.capabilities.dns.update.messages import Answer, Request
from koi_agent.capabilities.dns.update.transactions import Set, Transaction
from koi_agent.config.dns import Server
from koi_agent.core.errors import BadInput, ProviderLost

TIMEOUT: Final = 5.0
"""Seconds for a connection, and for each response."""


class Primary:
    """A server with a zone. All methods raise ``ProviderLost`` if it does not answer as one.

    ``lease`` is the shortest time in seconds for which it keeps records, 0 for no limit.
    """

    def __init__(self, server: Server, zone: str, keys: Keyring) -> None:
        self.zone = zone
        self.lease = 0
        self._server = server
        self._keys = keys

    async def serial(self) -> int:
        """Return the serial of the zone."""
        (texts,) = await self.ask([Set(f"{self.zone}.", "SOA")])
        if not texts:
            raise self.lost(f"it has no zone {self.zone}; check UpdateZone=")
        (soa,) = texts
        return int(soa.split()[2])

    async def ask(self, questions: Sequence[Set]) -> Sequence[frozenset[str]]:
        """Return the data of the records of each set."""
        answers = await self._answers([messages.question(one, self._keys) for one in questions])
        found = []
        for asked, answer in zip(questions, answers, strict=True):
            if answer.rcode not in (NOERROR, NXDOMAIN):
                raise self.lost(f"it responds {answer.rcode} to questions about {asked.name}")
            found.append(answer.texts(asked))
        return found

    async def update(self, transactions: Iterable[Transaction]) -> str:
        """Make transactions, all or none; return the code of the response."""
        request = messages.update(self.zone, transactions, self._keys)
        (answer,) = await self._answers([request])
        if answer.lease:
            self.lease = min(self.lease or answer.lease, answer.lease)
        return answer.rcode

    def lost(self, reason: str) -> ProviderLost:
        """Return the error for a server that can't be used."""
        return ProviderLost(f"[DNS] Update={self._server}: {reason}")

    async def _answers(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """Return the response to each request, in order."""
        try:
            async with asyncio.timeout(TIMEOUT):
                reader, writer = await asyncio.open_connection(*self._server)
        except OSError as error:  # a TimeoutError is one, too
            raise self.lost(error.strerror or "no connection") from error
        try:
            return [await self._answer(reader, writer, request) for request in requests]
        except TimeoutError:
            raise self.lost(f"no response within {TIMEOUT:g} s") from None
        except (OSError, EOFError) as error:
            raise self.lost("it closed the connection") from error
        except BadInput as error:
            raise self.lost(str(error)) from error
        finally:
            writer.transport.abort()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request
    ) -> Answer:
        async with asyncio.timeout(TIMEOUT):
            writer.write(len(request.wire).to_bytes(2, "big") + request.wire)
            await writer.drain()
            size = int.from_bytes(await reader.readexactly(2), "big")
            return request.answer(await reader.readexactly(size))
