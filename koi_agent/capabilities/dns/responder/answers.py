"""Answers one request: pure, from the bytes of the request to those of the responses."""

from collections.abc import Iterator
from itertools import chain

from koi_agent.capabilities.dns import messages
from koi_agent.capabilities.dns.messages import Garbage, Keyring, Query, Refusal
from koi_agent.capabilities.dns.responder.access import may_transfer
from koi_agent.capabilities.dns.zone import Rr, Zone, Zones
from koi_agent.config.dns import Transfers


class Answers:
    """The answers from ``zones``. ``allowed`` are the clients that may transfer them.

    Until ``is_complete`` is set, an unknown name may still appear. Requests for it get an error and
    no zone is transferred, so that clients ask again or ask another server.
    """

    def __init__(self, zones: Zones, allowed: Transfers, keys: Keyring) -> None:
        self._zones = zones
        self._allowed = allowed
        self._keys = keys
        self.is_complete = False

    def over_udp(self, wire: bytes) -> Query | bytes | None:
        """Return the request, the response to one that is not valid, or None for no response."""
        try:
            return messages.read(wire, self._keys)
        except Refusal as refusal:
            return refusal.response
        except Garbage:
            return None

    def to_query(self, query: Query) -> bytes:
        """Return the response over UDP to a request."""
        zone = self._zones.of(query.name)
        if zone and query.type == messages.IXFR:  # the client compares serials (RFC 1995 section 2)
            return query.response(messages.NOERROR, [zone.soa()], over_tcp=False)
        if query.type == messages.AXFR:
            return query.response(messages.FORMERR, over_tcp=False)
        return self._response(query, zone, over_tcp=False)

    def over_tcp(self, wire: bytes, client: str) -> Iterator[bytes]:
        """Yield the responses over TCP; none for a message that is not a request."""
        try:
            query = messages.read(wire, self._keys)
        except Refusal as refusal:
            yield refusal.response
            return
        except Garbage:
            return
        zone = self._zones.of(query.name)
        if query.type not in (messages.AXFR, messages.IXFR):
            yield self._response(query, zone, over_tcp=True)
        elif zone is None or query.name != f"{zone.domain}.":
            yield query.response(messages.NOTAUTH, over_tcp=True)
        elif not may_transfer(self._allowed, client, query.key):
            yield query.response(messages.REFUSED, over_tcp=True)
        elif not self.is_complete:
            yield query.response(messages.SERVFAIL, over_tcp=True)
        else:
            records = [*zone.records()]  # a copy: the zone may change before everything is sent
            yield from query.transfer(chain(records, records[:1]))

    def _response(self, query: Query, zone: Zone | None, *, over_tcp: bool) -> bytes:
        """Return the response to a question about a name."""
        if zone is None:
            return query.response(messages.REFUSED, over_tcp=over_tcp)
        answer = zone.lookup(query.name, query.type)
        if answer.records:
            extra = [*_addresses(answer.records, self._zones)]
            return query.response(messages.NOERROR, answer.records, (), extra, over_tcp=over_tcp)
        if not self.is_complete:
            return query.response(messages.SERVFAIL, over_tcp=over_tcp)
        rcode = messages.NOERROR if answer.exists else messages.NXDOMAIN
        soa = zone.soa()
        # RFC 2308 section 3: a resolver keeps the answer for the smaller of both.
        soa = soa._replace(ttl=min(soa.ttl, int(soa.text.rpartition(" ")[2])))
        return query.response(rcode, (), [soa], over_tcp=over_tcp)


def _addresses(records: tuple[Rr, ...], zones: Zones) -> Iterator[Rr]:
    """Yield the addresses of the hosts that SRV records name (RFC 2782)."""
    for name in dict.fromkeys(rr.text.rpartition(" ")[2] for rr in records if rr.type == "SRV"):
        if zone := zones.of(name):
            for kind in ("A", "AAAA"):
                yield from zone.lookup(name, kind).records
