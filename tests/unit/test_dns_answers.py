"""The responder answers each request so that a client understands it."""

import struct
from collections.abc import Sequence
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.update
import dns.xfr
import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.capabilities.dns.messages import Query, key
from koi_agent.capabilities.dns.responder.access import (
    MOST_NETWORKS,
    RATE,
    RateLimit,
    keyring,
    may_transfer,
)
from koi_agent.capabilities.dns.responder.answers import Answers
from koi_agent.capabilities.dns.zone import Zones
from koi_agent.config.dns import Transfers, transfers
from koi_agent.core.errors import BadInput
from tests.unit.dns_zones import WEB, named, zones

CLIENT = "192.0.2.200"
SECRET = "c2VjcmV0IG9mIHNpeHRlZW4gYnl0ZXM="
NAME, KEY = key("peer", SECRET)
_, OTHER = key("peer", SECRET[::-1].lstrip("=") + "=")
_, UNKNOWN = key("unknown", SECRET)
MANY = zones(*(named(f"{n}", f"n{n}.internal", "192.0.2.1", services=[WEB]) for n in range(500)))
SOME = zones(
    named("a", "wiki.internal", "192.0.2.1", "2001:db8::1", services=[WEB]),
    named("b", "x.y.internal", "192.0.2.2"),
    *(named(f"many{n}", "many.internal", f"198.51.100.{n}") for n in range(100)),
    *(named(f"few{n}", "few.internal", f"198.51.100.{n}") for n in range(40)),
)


def answers(made: Zones = SOME, allow: str = "", *, complete: bool = True) -> Answers:
    found = Answers(made, transfers(allow), {NAME: KEY})
    found.is_complete = complete
    return found


def udp(query: dns.message.Message | bytes, made: Answers | None = None) -> dns.message.Message:
    wire = query if isinstance(query, bytes) else query.to_wire()
    made = made or answers()
    found = made.over_udp(wire)
    assert found is not None
    response = found if isinstance(found, bytes) else made.to_query(found)
    signed = isinstance(query, dns.message.Message) and query.had_tsig
    ring = query.keyring if isinstance(query, dns.message.Message) else None
    return dns.message.from_wire(response, ring, query.mac if signed else b"")  # type: ignore[union-attr]


def tcp(
    query: dns.message.Message, made: Answers | None = None, client: str = CLIENT
) -> list[bytes]:
    return [*(made or answers()).over_tcp(query.to_wire(), client)]


def ask(name: str, kind: str = "A", **more: object) -> dns.message.Message:
    return dns.message.make_query(name, kind, **more)  # type: ignore[arg-type]


def rcode(message: dns.message.Message) -> str:
    return dns.rcode.to_text(message.rcode())


@pytest.mark.parametrize("name", ["wiki.internal", "WIKI.Internal", "wIKi.INTERNAL."])
def test_an_address_is_answered_with_authority(name: str) -> None:
    response = udp(ask(name))
    assert [rr.to_text() for rr in response.answer] == [
        f"{dns.name.from_text(name)} 30 IN A 192.0.2.1"
    ] or response.answer[0].to_text().lower() == "wiki.internal. 30 in a 192.0.2.1"
    assert response.flags & dns.flags.AA
    assert not response.flags & dns.flags.RA
    assert response.question[0].name.to_text() == dns.name.from_text(name).to_text()


@pytest.mark.parametrize(
    ("name", "kind", "code", "has_soa"),
    [
        ("wiki.internal", "MX", "NOERROR", True),
        ("y.internal", "A", "NOERROR", True),
        ("_tcp.internal", "PTR", "NOERROR", True),
        ("internal", "A", "NOERROR", True),
        ("none.internal", "A", "NXDOMAIN", True),
        ("a.wiki.internal", "A", "NXDOMAIN", True),
        ("*.internal", "A", "NXDOMAIN", True),
        ("\\000.internal", "A", "NXDOMAIN", True),
        ("example.com", "A", "REFUSED", False),
        (".", "NS", "REFUSED", False),
        ("1.2.0.192.in-addr.arpa", "PTR", "REFUSED", False),
    ],
)
def test_a_negative_answer_has_its_kind(name: str, kind: str, code: str, has_soa: bool) -> None:  # noqa: FBT001
    response = udp(ask(name, kind))
    assert (rcode(response), response.answer) == (code, [])
    assert [rr.ttl for rr in response.authority] == ([5] if has_soa else [])
    assert bool(response.flags & dns.flags.AA) is has_soa


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("wiki.internal", "A", "NOERROR"),
        ("internal", "SOA", "NOERROR"),
        ("wiki.internal", "MX", "SERVFAIL"),
        ("none.internal", "A", "SERVFAIL"),
        ("example.com", "A", "REFUSED"),
    ],
)
def test_until_all_names_are_there_none_counts_as_absent(name: str, kind: str, code: str) -> None:
    made = answers(allow=CLIENT, complete=False)
    assert rcode(udp(ask(name, kind), made)) == code
    (response,) = tcp(ask(name, kind), made)
    assert rcode(dns.message.from_wire(response)) == code
    (response,) = tcp(ask("internal", "AXFR"), made)
    assert rcode(dns.message.from_wire(response)) == "SERVFAIL"


def test_a_service_comes_with_the_addresses_of_its_host() -> None:
    response = udp(ask("wiki._http._tcp.internal", "SRV"))
    assert "0 0 8080 wiki.internal." in response.answer[0].to_text()
    assert [rr.name.to_text() for rr in response.additional] == ["wiki.internal."] * 2
    (text,) = udp(ask("wiki._http._tcp.internal", "TXT")).answer
    assert {bytes(one) for one in text[0].strings} == {'path=/ä"\\'.encode(), b"v=1"}


@pytest.mark.parametrize(
    ("payload", "name", "truncated"),
    [
        (None, "few", True),
        (None, "wiki", False),
        (0, "few", True),
        (512, "few", True),
        (1232, "few", False),
        (1232, "many", True),
        (65_535, "many", True),
    ],
)
def test_what_does_not_fit_is_marked_and_fits_over_tcp(
    payload: int | None,
    name: str,
    truncated: bool,  # noqa: FBT001
) -> None:
    query = ask(f"{name}.internal")
    if payload is not None:
        query.use_edns(0, 0, payload)
    made = answers()
    found = made.over_udp(query.to_wire())
    assert isinstance(found, Query)
    wire = made.to_query(found)
    assert len(wire) <= max(512, min(payload or 512, 1232))
    response = dns.message.from_wire(wire)
    assert bool(response.flags & dns.flags.TC) is truncated
    assert (response.edns == 0) is (payload is not None)
    (whole,) = tcp(query)
    assert len(dns.message.from_wire(whole).answer[0]) in (1, 40, 100)


def test_another_version_of_edns_is_named() -> None:
    query = ask("wiki.internal")
    query.use_edns(1)
    assert rcode(udp(query)) == "BADVERS"


@pytest.mark.parametrize("opcode", [1, 2, 4, 5, 6, 15])
def test_other_operations_are_not_implemented(opcode: int) -> None:
    wire = bytearray(ask("wiki.internal").to_wire())
    wire[2] = opcode << 3 | 1
    response = answers().over_udp(bytes(wire))
    assert response == bytes((*wire[:2], 0x80 | wire[2], 4, *bytes(8)))  # NOTIMP, and no question


def test_an_update_changes_nothing() -> None:
    update = dns.update.UpdateMessage("internal")
    update.add("evil", 60, "A", "192.0.2.66")
    (response,) = tcp(update)
    assert dns.message.from_wire(response).rcode() == dns.rcode.NOTIMP


def test_other_classes_are_refused() -> None:
    assert rcode(udp(dns.message.make_query("wiki.internal", "A", "CH"))) == "REFUSED"


@pytest.mark.parametrize("wire", [b"", b"x" * 11, b"xx" + b"\x80" * 20], ids=len)
def test_what_is_not_a_request_gets_no_response(wire: bytes) -> None:
    assert answers().over_udp(wire) is None
    assert [*answers().over_tcp(wire, CLIENT)] == []


def mutated() -> st.SearchStrategy[bytes]:
    signed = ask("wiki.internal")
    signed.use_tsig({NAME: KEY}, NAME)
    seeds = [ask("wiki.internal").to_wire(), ask("internal", "IXFR").to_wire(), signed.to_wire()]
    edns = ask("wiki.internal")
    edns.use_edns(
        0, 0, 1232, options=[dns.edns.GenericOption(dns.edns.OptionType.ECS, b"\0\1\x20\0abcd")]
    )
    return st.builds(
        lambda seed, edits, tail: (
            b"".join(bytes([edits.get(at, byte)]) for at, byte in enumerate(seed)) + tail
        ),
        st.sampled_from([*seeds, edns.to_wire()]),
        st.dictionaries(st.integers(0, 60), st.integers(0, 255), max_size=4),
        st.binary(max_size=8),
    )


@given(mutated() | st.binary(max_size=200))
def test_any_bytes_get_a_valid_response_or_none(wire: bytes) -> None:
    made = answers(allow=CLIENT)
    found = made.over_udp(wire)
    responses = (
        [] if found is None else [found if isinstance(found, bytes) else made.to_query(found)]
    )
    for response in [*responses, *made.over_tcp(wire, CLIENT)]:
        assert response[:2] == wire[:2]
        assert response[2] & 0x80
        assert len(response) >= 12


def transferred(
    made: Answers, client: str = CLIENT, tsig: dns.tsig.Key | None = None, kind: str = "AXFR"
) -> dns.zone.Zone:
    """Transfer the zone as a secondary server does; raise an error of dnspython."""
    zone = dns.zone.Zone("internal")
    query = ask("internal", kind)
    if kind == "IXFR":
        soa = dns.rrset.from_text("internal.", 1, "IN", "SOA", "a. b. 0 1 1 1 1")
        query.authority.append(soa)
    if tsig:
        query.use_tsig({tsig.name: tsig}, tsig.name)
    messages = tcp(query, made, client)
    context = None
    is_done = False
    with dns.xfr.Inbound(zone, query.question[0].rdtype, 0 if kind == "IXFR" else None) as inbound:
        for wire in messages:
            assert not is_done
            message = dns.message.from_wire(
                wire,
                query.keyring,
                query.mac if tsig else b"",
                xfr=True,
                origin=zone.origin,
                tsig_ctx=context,
                multi=True,
                one_rr_per_rrset=kind == "IXFR",
            )
            assert bool(tsig) is message.had_tsig
            context = message.tsig_ctx
            is_done = inbound.process_message(message)
    assert is_done
    return zone


@pytest.mark.parametrize("kind", ["AXFR", "IXFR"])
@pytest.mark.parametrize(
    ("allow", "tsig"),
    [(CLIENT, None), ("192.0.2.0/24", None), ("key:peer", KEY), ("key:peer ::1", KEY)],
)
def test_an_allowed_client_gets_the_whole_zone(
    allow: str, tsig: dns.tsig.Key | None, kind: str
) -> None:
    zone = transferred(answers(MANY, allow), tsig=tsig, kind=kind)
    assert len(zone.nodes) == 2 * 500 + 3  # names, services, two of browsing, and the domain


@pytest.mark.parametrize(
    ("allow", "client", "tsig", "code"),
    [
        ("", CLIENT, None, "REFUSED"),
        ("192.0.2.1 2001:db8::/32", CLIENT, None, "REFUSED"),
        ("key:peer", CLIENT, None, "REFUSED"),
        ("key:else", CLIENT, KEY, "REFUSED"),
        ("", CLIENT, KEY, "REFUSED"),
        ("key:peer", CLIENT, OTHER, "NOTAUTH"),
        (CLIENT, CLIENT, UNKNOWN, "NOTAUTH"),
    ],
)
def test_another_client_gets_nothing(
    allow: str, client: str, tsig: dns.tsig.Key | None, code: str
) -> None:
    query = ask("internal", "AXFR")
    if tsig:
        query.use_tsig({tsig.name: tsig}, tsig.name)
    (response,) = tcp(query, answers(allow=allow), client)
    assert dns.rcode.to_text(dns.rcode.from_flags(response[3] & 15, 0)) == code
    assert struct.unpack("!H", response[6:8]) == (0,)


@pytest.mark.parametrize("name", ["wiki.internal", "example.com", "."])
def test_only_a_whole_zone_is_transferred(name: str) -> None:
    (response,) = tcp(ask(name, "AXFR"), answers(allow=CLIENT))
    assert rcode(dns.message.from_wire(response)) == "NOTAUTH"


def test_a_transfer_is_not_sent_over_udp() -> None:
    assert rcode(udp(ask("internal", "AXFR"), answers(allow=CLIENT))) == "FORMERR"
    response = udp(ask("internal", "IXFR"), answers(allow=CLIENT))
    assert [rr.rdtype for rr in response.answer] == [dns.rdatatype.SOA]


def test_a_signed_request_gets_a_signed_response() -> None:
    query = ask("wiki.internal")
    query.use_tsig({NAME: KEY}, NAME)
    query.to_wire()
    assert udp(query).had_tsig


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (SECRET, True),
        (f"hmac-sha512:{SECRET}", True),
        (f" hmac-sha256:{SECRET}\n", True),
        ("", False),
        ("secret", False),
        ("c2hvcnQ=", False),
        (f"hmac-none:{SECRET}", False),
        (f"gss-tsig:{SECRET}", False),
        ("hmac-sha256:!!!!", False),
    ],
)
def test_a_key_is_an_algorithm_and_a_secret(text: str, valid: bool) -> None:  # noqa: FBT001
    if valid:
        assert key("peer", text)[1].secret == KEY.secret
        return
    with pytest.raises(BadInput):
        key("peer", text)


def test_keys_come_from_credentials_and_a_bad_one_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "dns-key.peer").write_text(SECRET)
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert [*keyring(["peer", "none"], environment)] == [NAME]
    assert "key:none: no such key" in caplog.text
    assert SECRET not in caplog.text
    assert keyring(["peer"], {}) == {}


@pytest.mark.parametrize(
    ("allow", "client", "name", "expected"),
    [
        ("::1", "::1", "", True),
        ("192.0.2.0/24", "::ffff:192.0.2.7", "", True),
        ("2001:db8::/32", "192.0.2.7", "", False),
        ("key:a", "192.0.2.7", "a", True),
        ("key:a", "192.0.2.7", "b", False),
    ],
)
def test_addresses_and_keys_are_compared(
    allow: str,
    client: str,
    name: str,
    expected: bool,  # noqa: FBT001
) -> None:
    assert may_transfer(transfers(allow), client, name) is expected
    assert not may_transfer(Transfers(), client, name)


def admitted(limit: RateLimit, clients: Sequence[str]) -> int:
    return sum(map(limit.admits, clients))


def test_a_network_gets_a_limited_number_of_answers_in_a_second() -> None:
    now = [0.0]
    limit = RateLimit(lambda: now[0])
    one_network = [f"192.0.2.{n % 256}" for n in range(1000)]
    assert admitted(limit, one_network) == RATE
    assert admitted(limit, ["198.51.100.1"] * 10) == 10
    assert admitted(limit, ["127.0.0.1", "::1"] * 1000) == 2000
    assert admitted(limit, [f"2001:db8::{n:x}" for n in range(1000)]) == RATE
    now[0] += 0.5
    assert admitted(limit, one_network) == RATE / 2
    for n in range(2 * MOST_NETWORKS):
        limit.admits(f"10.{n >> 8}.{n & 255}.1")
    assert len(limit._spent) == MOST_NETWORKS
