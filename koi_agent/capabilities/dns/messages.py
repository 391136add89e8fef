"""DNS messages: reads requests and builds responses. ``update`` has messages of its own."""

from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig

from koi_agent.capabilities.dns.zone import Rr
from koi_agent.core.errors import BadInput

NOERROR: Final = "NOERROR"
FORMERR: Final = "FORMERR"
SERVFAIL: Final = "SERVFAIL"
NXDOMAIN: Final = "NXDOMAIN"
NOTIMP: Final = "NOTIMP"
REFUSED: Final = "REFUSED"
NOTAUTH: Final = "NOTAUTH"
BADVERS: Final = "BADVERS"
AXFR: Final = "AXFR"
IXFR: Final = "IXFR"

PAYLOAD: Final = 1232
"""Bytes of a UDP response with EDNS. Common networks do not fragment it."""
PLAIN: Final = 512
"""Bytes of a UDP response without EDNS (RFC 1035 section 4.2.1)."""
LARGEST: Final = 65_535
TRANSFER_PART: Final = 16_000
"""Approximate size of the records in one message of a transfer, in bytes."""
DEFAULT: Final = "hmac-sha256"
"""The algorithm of a TSIG key that names none."""
SHORTEST_SECRET: Final = 16

Keyring = Mapping[dns.name.Name, dns.tsig.Key]


class Garbage(BadInput):
    """A message that gets no response."""


class Refusal(BadInput):
    """A message that gets an error as its response, which is in ``response``."""

    def __init__(self, reason: str, response: bytes) -> None:
        super().__init__(reason)
        self.response = response


class Query:
    """A request with one question; ``name`` is in lower case and ends in a dot.

    ``key`` is the name of the TSIG key that signed it, "" without one.
    """

    def __init__(self, message: dns.message.Message) -> None:
        self._message = message
        question = message.question[0]
        self.name = question.name.to_text().lower()
        self.type = dns.rdatatype.to_text(question.rdtype)
        signer = message.keyname
        self.key = signer.to_text().lower().removesuffix(".") if signer else ""

    def response(
        self,
        rcode: str,
        records: Iterable[Rr] = (),
        authority: Iterable[Rr] = (),
        additional: Iterable[Rr] = (),
        *,
        over_tcp: bool,
    ) -> bytes:
        """Return a response; over UDP, one that does not fit is empty and marked as truncated."""
        limit = LARGEST if over_tcp else self._udp_limit()
        full = self._built(rcode, records, authority, additional)
        for message in (full, self._built(rcode, records, authority), self._truncated(rcode)):
            try:
                return bytes(message.to_wire(max_size=limit))
            except dns.exception.TooBig:
                continue
        raise AssertionError("an empty response has room")

    def truncated(self) -> bytes:
        """Return an empty response that makes the client ask over TCP."""
        return bytes(self._truncated(NOERROR).to_wire())

    def _udp_limit(self) -> int:
        if self._message.edns < 0:
            return PLAIN
        return max(PLAIN, min(self._message.payload, PAYLOAD))

    def _truncated(self, rcode: str) -> dns.message.Message:
        message = self._built(rcode)
        message.flags |= dns.flags.TC
        return message

    def _built(
        self,
        rcode: str,
        records: Iterable[Rr] = (),
        authority: Iterable[Rr] = (),
        additional: Iterable[Rr] = (),
    ) -> dns.message.Message:
        message = dns.message.make_response(self._message, our_payload=PAYLOAD)
        message.set_rcode(dns.rcode.from_text(rcode))
        if rcode in (NOERROR, NXDOMAIN):
            message.flags |= dns.flags.AA
        _fill(message, message.answer, records)
        _fill(message, message.authority, authority)
        _fill(message, message.additional, additional)
        return message

    def transfer(self, records: Iterable[Rr]) -> Iterator[bytes]:
        """Yield the messages of a transfer (RFC 5936). The first and the last record is the SOA."""
        context = None
        for number, part in enumerate(_parts(records)):
            message = self._built(NOERROR, part)
            if number:
                message.question.clear()
            yield bytes(message.to_wire(multi=True, tsig_ctx=context))
            context = message.tsig_ctx


def read(wire: bytes, keys: Keyring) -> Query:
    """Read a request; raise ``Garbage`` or ``Refusal``."""
    if len(wire) < 12 or wire[2] & 0x80:  # a response must never get a response
        raise Garbage("not a request")
    if wire[2] & 0x78 != dns.opcode.QUERY:
        raise Refusal("opcode", _error(wire, NOTIMP))
    try:
        message = dns.message.from_wire(wire, keyring=dict(keys))
    except (dns.message.UnknownTSIGKey, dns.tsig.BadSignature, dns.tsig.BadTime) as error:
        raise Refusal(f"TSIG: {error}", _error(wire, NOTAUTH)) from error
    except (dns.exception.DNSException, ValueError, NotImplementedError) as error:
        raise Refusal(f"not a valid message: {error}", _error(wire, FORMERR)) from error
    if len(message.question) != 1:
        raise Refusal("not one question", _error(wire, FORMERR))
    query = Query(message)
    if message.edns > 0:
        raise Refusal("EDNS version", query.response(BADVERS, over_tcp=False))
    if message.question[0].rdclass not in (dns.rdataclass.IN, dns.rdataclass.ANY):
        raise Refusal("class", query.response(REFUSED, over_tcp=False))
    return query


def _error(wire: bytes, rcode: str) -> bytes:
    """Return a response that is only a header: the ID, the opcode and RD are the request's."""
    flags = bytes((0x80 | wire[2] & 0x79, dns.rcode.from_text(rcode)))
    return wire[:2] + flags + bytes(8)


def notification(zone: str, soa: Rr, number: int) -> bytes:
    """Return a NOTIFY request (RFC 1996) with the ID ``number`` for a zone with this SOA."""
    message = dns.message.make_query(zone, dns.rdatatype.SOA)
    message.id = number
    message.flags = dns.flags.AA | dns.opcode.to_flags(dns.opcode.NOTIFY)
    _fill(message, message.answer, (soa,))
    return bytes(message.to_wire())


def acknowledges(wire: bytes, number: int) -> bool:
    """Return True if a message is the response to the NOTIFY request with the ID ``number``."""
    return len(wire) >= 12 and wire[:2] == number.to_bytes(2, "big") and wire[2] & 0xF8 == 0xA0


def key(name: str, text: str) -> tuple[dns.name.Name, dns.tsig.Key]:
    """Parse the text of a TSIG key, ``ALGORITHM:SECRET`` or ``SECRET``; raise ``BadInput``."""
    algorithm, _, secret = text.strip().rpartition(":")
    library: Any = dns.tsig  # not typed in all versions
    try:
        parsed = library.Key(name, b64decode(secret, validate=True), algorithm or DEFAULT)
        library.HMACTSig(parsed.secret, parsed.algorithm)  # raises if there is no such algorithm
    except (dns.exception.DNSException, ValueError, NotImplementedError) as error:
        raise BadInput(f"not of the form ALGORITHM:SECRET, as {DEFAULT}:BASE64") from error
    if len(parsed.secret) < SHORTEST_SECRET:
        raise BadInput(f"the secret has less than {SHORTEST_SECRET} bytes")
    return parsed.name, parsed


def rdata(kind: str, text: str) -> tuple[int, bytes]:
    """Return the number of a type, and the data of a record in the form of a message."""
    found = dns.rdata.from_text(dns.rdataclass.IN, kind, text)
    return int(found.rdtype), found.to_wire() or b""


def _parts(records: Iterable[Rr]) -> Iterator[Sequence[Rr]]:
    part: list[Rr] = []
    size = 0
    for rr in records:
        length = len(rr.name) + len(rr.text) + 16
        if part and size + length > TRANSFER_PART:
            yield part
            part, size = [], 0
        part.append(rr)
        size += length
    yield part


def _fill(
    message: dns.message.Message, section: list[dns.rrset.RRset], records: Iterable[Rr]
) -> None:
    """Add records to a section. SOA records of a transfer are not merged."""
    sets: dict[tuple[str, str], dns.rrset.RRset] = {}
    for rr in records:
        owner, rdata = _parsed(rr.name, rr.type, rr.text)
        if rr.type == "SOA" or (rr.name, rr.type) not in sets:
            sets[rr.name, rr.type] = dns.rrset.RRset(owner, dns.rdataclass.IN, rdata.rdtype)
            section.append(sets[rr.name, rr.type])
        sets[rr.name, rr.type].add(rdata, rr.ttl)


@lru_cache(maxsize=4096)
def _parsed(name: str, kind: str, text: str) -> tuple[dns.name.Name, dns.rdata.Rdata]:
    """Return the binary form of a record; cached, because the same names are asked again."""
    return dns.name.from_text(name), dns.rdata.from_text(dns.rdataclass.IN, kind, text)
