"""Signed messages to a DNS server, and its responses. Only this outlet sends requests."""

import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update

from koi_agent.capabilities.dns.messages import LARGEST, Keyring
from koi_agent.capabilities.dns.update.transactions import Set, Transaction
from koi_agent.capabilities.dns.zone import Rr
from koi_agent.core.errors import BadInput

LEASE: Final = 3600
"""Seconds for which a server may keep the records without another update (RFC 9664)."""
_LEASE_OPTION: Final = 2
_PAYLOAD: Final = 1232


class Unsigned(BadInput):
    """A response without a valid signature, which is ignored."""


class TooLong(BadInput):
    """The transactions do not fit into one message."""


class Answer:
    """A response whose signature is valid; ``rcode`` is its code by name."""

    def __init__(self, message: dns.message.Message) -> None:
        self._message = message
        self.rcode = dns.rcode.to_text(message.rcode())
        self.is_truncated = bool(message.flags & dns.flags.TC)

    def texts(self, wanted: Set) -> frozenset[str]:
        """Return the data of the records in a set."""
        name, kind = dns.name.from_text(wanted.name), dns.rdatatype.from_text(wanted.type)
        found = self._message.get_rrset(self._message.answer, name, dns.rdataclass.IN, kind)
        return frozenset(rdata.to_text() for rdata in found or ())

    @property
    def lease(self) -> int:
        """The seconds for which the server keeps the updated records; 0 for no limit."""
        for option in self._message.options:
            data = option.to_wire() or b""
            if option.otype == _LEASE_OPTION and len(data) >= 4:
                return int(struct.unpack_from("!I", data)[0])
        return 0


class Request:
    """A request that is signed; ``wire`` is its binary form, and ``number`` its ID."""

    def __init__(self, message: dns.message.Message, keys: Keyring) -> None:
        (self._key,) = keys
        message.use_tsig(dict(keys), self._key)
        self._message = message
        self._keys = keys
        self.number: int = message.id
        try:
            self.wire = bytes(message.to_wire(max_size=LARGEST))
        except dns.exception.TooBig as error:
            raise TooLong("the records have no room in one message") from error

    def answer(self, wire: bytes) -> Answer:
        """Read the response; raise ``BadInput`` for anything else, and ``Unsigned``."""
        key = self._key.to_text(omit_final_dot=True)
        try:
            message = dns.message.from_wire(
                wire, keyring=dict(self._keys), request_mac=self._message.mac
            )
        except dns.tsig.PeerBadKey:
            raise Unsigned(f"it does not know the key {key}; check UpdateKey=") from None
        except dns.tsig.PeerBadSignature:
            raise Unsigned(f"it has another secret or algorithm for the key {key}") from None
        except (dns.tsig.PeerBadTime, dns.tsig.BadTime):
            raise Unsigned("its clock differs from this host's; check timedatectl") from None
        except (dns.exception.DNSException, ValueError, NotImplementedError) as error:
            raise BadInput(
                f"its response is not valid: {str(error) or type(error).__name__}"
            ) from None
        if not self._message.is_response(message):
            raise BadInput("it responds to another request")
        if not message.had_tsig:
            rcode = dns.rcode.to_text(message.rcode())
            raise Unsigned(f"its response is {rcode} and not signed; check the key {key}")
        return Answer(message)


def question(asked: Set, keys: Keyring, number: int) -> Request:
    """Return a request, with the ID ``number``, for the records of a set."""
    message = dns.message.make_query(asked.name, asked.type, flags=0)
    message.id = number
    return Request(message, keys)


def update(zone: str, transactions: Iterable[Transaction], keys: Keyring) -> Request:
    """Return the request that makes several transactions; raise ``TooLong``."""
    message = dns.update.UpdateMessage(zone)
    message.use_edns(
        payload=_PAYLOAD,
        options=[dns.edns.GenericOption(_LEASE_OPTION, struct.pack("!I", LEASE))],  # type: ignore[arg-type,unused-ignore]
    )
    for one in transactions:
        for name in one.unused:
            message.absent(_name(name))
        for name, kind in one.absent:
            message.absent(_name(name), kind)
        for rr in one.present:
            message.present(_name(rr.name), _data(rr.type, rr.text))
        for name, kind in one.cleared:
            message.delete(_name(name), kind)
        for rr in one.removed:
            message.delete(_name(rr.name), _data(rr.type, rr.text))
        for rr in one.added:
            message.add(_name(rr.name), rr.ttl, _data(rr.type, rr.text))
    return Request(message, keys)


def same_text(rr: Rr) -> str:
    """Return the data of a record in the form of ``Answer.texts``."""
    return _data(rr.type, rr.text).to_text()


def is_name(text: str) -> bool:
    """Return True if a text is a full name, with a final dot."""
    try:
        return _name(text).to_text() == text and text.endswith(".")
    except (dns.exception.DNSException, UnicodeError):
        return False


def _name(text: str) -> dns.name.Name:
    return dns.name.from_text(text)


@lru_cache(maxsize=1024)
def _data(kind: str, text: str) -> dns.rdata.Rdata:
    return dns.rdata.from_text(dns.rdataclass.IN, kind, text)
