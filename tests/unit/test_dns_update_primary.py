"""A DNS server that does not answer as it should ends the session, with a reason."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.message
import dns.rcode
import dns.rrset
import dns.tsig
import dns.update
import pytest

from koi_agent.capabilities.dns.messages import key
from koi_agent.capabilities.dns.update.nodes import Node
from koi_agent.capabilities.dns.update.primary import Primary
from koi_agent.capabilities.dns.update.transactions import Set, claim
from koi_agent.capabilities.dns.zone import Rr
from koi_agent.config.dns import Server
from koi_agent.core.errors import ProviderLost

SECRET = "hmac-sha256:c2VjcmV0IG9mIHNpeHRlZW4gYnl0ZXM="
KEYS = dict([key("peer", SECRET)])
OTHERS = dict([key("peer", "hmac-sha256:b3RoZXIgc2VjcmV0IG9mIGJ5dGVzIQ==")])
SOA = "localhost. hostmaster.invalid. 7 300 60 86400 5"
CLAIM = claim("a.internal.", Node(frozenset([Rr("a.internal.", 30, "A", "192.0.2.1")])), "0" * 16)
Reply = Callable[[bytes], bytes]


def signed(request: bytes, rcode: str = "NOERROR", lease: bytes = b"") -> bytes:
    """Return the answer of a server that knows the key."""
    asked = dns.message.from_wire(request, keyring=KEYS)
    response = dns.message.make_response(asked)
    response.set_rcode(dns.rcode.from_text(rcode))
    if asked.question and not isinstance(asked, dns.update.UpdateMessage):
        response.answer.append(dns.rrset.from_text(asked.question[0].name, 60, "IN", "SOA", SOA))
    if lease:
        response.use_edns(options=[dns.edns.GenericOption(2, lease)])  # type: ignore[arg-type,unused-ignore]
    return bytes(response.to_wire())


def unsigned(request: bytes) -> bytes:
    asked = dns.message.from_wire(request, keyring=KEYS)
    asked.tsig = None
    return bytes(dns.message.make_response(asked).to_wire())


def by_another_key(request: bytes) -> bytes:
    response = dns.message.make_response(dns.message.from_wire(request, keyring=KEYS))
    response.use_tsig(OTHERS, "peer")
    return bytes(response.to_wire())


def tsig_error(code: int) -> Reply:
    """Return the reply of a server that refuses the signature of the request."""

    def reply(request: bytes) -> bytes:
        response = dns.message.make_response(
            dns.message.from_wire(request, keyring=KEYS), tsig_error=code
        )
        response.set_rcode(dns.rcode.NOTAUTH)
        return bytes(response.to_wire())

    return reply


@asynccontextmanager
async def serving(reply: Reply | None) -> AsyncIterator[Primary]:
    """Serve replies over TCP; None means that the server is silent."""

    conversations: list[asyncio.Task[None] | None] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.append(asyncio.current_task())
        try:
            while True:
                request = await reader.readexactly(
                    int.from_bytes(await reader.readexactly(2), "big")
                )
                if reply and (wire := reply(request)):
                    writer.write(len(wire).to_bytes(2, "big") + wire)
                elif reply:
                    return
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        yield Primary(Server(host, port), "internal", KEYS)
        for conversation in filter(None, conversations):
            await conversation


async def test_an_answer_that_is_signed_counts() -> None:
    async with serving(signed) as primary:
        assert await primary.serial() == 7
        (found,) = await primary.ask([Set("internal.", "A")])
        assert (found.texts, found.trouble) == (frozenset(), "")
        assert await primary.update([CLAIM]) == "NOERROR"
        assert primary.lease == 0


async def test_the_shortest_lease_that_a_server_grants_is_kept() -> None:
    leases = iter([b"\0\0\x0e\x10", b"\0\0\0\x78\0\0\0\1", b"\0\0\x0e\x10", b"\1"])
    async with serving(lambda request: signed(request, lease=next(leases))) as primary:
        for expected in (3600, 120, 120, 120):
            await primary.update([CLAIM])
            assert primary.lease == expected


async def test_each_answer_belongs_to_its_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random numbers are the same for two of many requests; here, for all."""
    monkeypatch.setattr("dns.entropy.random_16", lambda: 7)

    def named(request: bytes) -> bytes:
        asked = dns.message.from_wire(request, keyring=KEYS)
        response = dns.message.make_response(asked)
        name = asked.question[0].name
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", name.to_text()))
        return bytes(response.to_wire())

    async with serving(named) as primary:
        found = await primary.ask([Set(f"n{number}.internal.", "TXT") for number in range(40)])
    assert [one.texts for one in found] == [{f'"n{number}.internal."'} for number in range(40)]


async def test_the_code_of_an_update_is_returned() -> None:
    async with serving(lambda request: signed(request, "YXDOMAIN")) as primary:
        assert await primary.update([CLAIM]) == "YXDOMAIN"


UNSIGNED = r"not signed; check the key peer|requires a TSIG"
"""The latter is dnspython's, from version 2.4 on."""
DISTRUSTED = {
    "unsigned": (unsigned, UNSIGNED),
    "by another key": (by_another_key, "its response is not valid"),
    "BADKEY": (tsig_error(dns.rcode.BADKEY), "it does not know the key peer; check UpdateKey="),
    "BADSIG": (tsig_error(dns.rcode.BADSIG), "another secret or algorithm for the key peer"),
    "BADTIME": (tsig_error(dns.rcode.BADTIME), "its clock differs from this host's"),
    "one byte": (lambda _: b"\0", "responds to another"),
    "garbage": (lambda request: request[:2] + b"garbage" * 10, "its response is not valid"),
    "echo": (lambda request: request, "its response is not valid"),
    "other number": (lambda request: b"\0\0" + signed(request)[2:], "responds to another"),
    "closed": (lambda _: b"", "it closed the connection"),
    "REFUSED": (lambda request: signed(request, "REFUSED"), "REFUSED to questions about internal"),
}


@pytest.mark.parametrize(("reply", "reason"), DISTRUSTED.values(), ids=DISTRUSTED)
async def test_an_answer_that_can_not_be_trusted_ends_the_session(
    reply: Reply, reason: str
) -> None:
    async with serving(reply) as primary:
        with pytest.raises(ProviderLost, match=r"^\[DNS\] Update=127\.0\.0\.1:") as raised:
            await primary.serial()
    assert re.search(reason, str(raised.value))


async def test_a_forged_answer_is_no_success_of_an_update() -> None:
    async with serving(unsigned) as primary:
        with pytest.raises(ProviderLost, match=UNSIGNED):
            await primary.update([CLAIM])


async def test_a_silent_server_and_one_that_is_away_give_two_reasons() -> None:
    async with serving(None) as primary:
        with pytest.raises(ProviderLost, match="no response within 5 s"):
            await primary.serial()
    with pytest.raises(ProviderLost, match=r"[Cc]onne"):
        await primary.serial()


async def test_a_server_without_the_zone_is_named() -> None:
    def empty(request: bytes) -> bytes:
        asked = dns.message.from_wire(request, keyring=KEYS)
        return bytes(dns.message.make_response(asked).to_wire())

    async with serving(empty) as primary:
        with pytest.raises(ProviderLost, match="no zone internal; check UpdateZone="):
            await primary.serial()
