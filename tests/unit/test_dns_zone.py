"""The zones of DNS: what they answer, and that they follow from the names alone."""

from collections.abc import Sequence
from time import thread_time

import dns.rdata
import dns.rdataclass
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.capabilities.dns.records import Name, Service
from koi_agent.capabilities.dns.zone import ANY, Rr, Zone, Zones
from tests.unit.dns_zones import DOMAINS, WEB, key, named, zones

WIKI = named("a", "wiki.internal", "192.0.2.1", "2001:db8::1", services=[WEB])
DEEP = named("b", "shop.apps.internal", "192.0.2.2", services=[WEB])
HOME = named("c", "wiki.home.example", "192.0.2.3")


def zone(made: Zones, name: str) -> Zone:
    found = made.of(name)
    assert found
    return found


def texts(made: Zones, name: str, kind: str) -> list[str]:
    return [rr.text for rr in zone(made, name).lookup(name, kind).records]


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("wiki.internal.", "A", ["192.0.2.1"]),
        ("wiki.internal.", "AAAA", ["2001:db8::1"]),
        ("wiki.internal.", ANY, ["192.0.2.1", "2001:db8::1"]),
        ("shop.apps.internal.", "A", ["192.0.2.2"]),
        ("wiki.home.example.", "A", ["192.0.2.3"]),
        (
            "_http._tcp.internal.",
            "PTR",
            [r"shop\.apps._http._tcp.internal.", "wiki._http._tcp.internal."],
        ),
        ("_services._dns-sd._udp.internal.", "PTR", ["_http._tcp.internal."]),
        ("wiki._http._tcp.internal.", "SRV", ["0 0 8080 wiki.internal."]),
        ("wiki._http._tcp.internal.", "TXT", [r'"path=/\195\164\034\092" "v=1"']),
        (r"shop\.apps._http._tcp.internal.", "SRV", ["0 0 8080 shop.apps.internal."]),
        ("internal.", "NS", ["localhost."]),
    ],
)
def test_a_name_has_these_records(name: str, kind: str, expected: list[str]) -> None:
    assert texts(zones(WIKI, DEEP, HOME), name, kind) == expected


@pytest.mark.parametrize(
    ("name", "exists"),
    [
        ("internal.", True),
        ("wiki.internal.", True),
        ("apps.internal.", True),  # nothing but a name below it
        ("_tcp.internal.", True),
        ("_udp.internal.", True),
        ("_http._tcp.internal.", True),
        ("wiki._http._tcp.internal.", True),
        ("iki.internal.", False),
        ("x.wiki.internal.", False),
        ("shop._http._tcp.internal.", False),
        ("shop.apps._http._tcp.internal.", False),  # another name than the one with the dot escaped
        ("apps._http._tcp.internal.", False),
    ],
)
def test_a_name_without_the_type_exists_or_not(name: str, exists: bool) -> None:  # noqa: FBT001
    answer = zone(zones(WIKI, DEEP), name).lookup(name, "MX")
    assert (answer.records, answer.exists) == ((), exists)


def test_a_name_outside_the_domains_is_in_no_zone() -> None:
    made = zones(WIKI, named("x", "wiki.other.example", "192.0.2.9"))
    for name in ("wiki.other.example.", "example.", ".", "xinternal.", "internal.example."):
        assert made.of(name) is None


def test_the_innermost_domain_has_the_name() -> None:
    made = zones(named("a", "x.apps.home.example", "192.0.2.1"))
    assert zone(made, "x.apps.home.example.").domain == "apps.home.example"
    assert [len([*one.records()]) for one in made.all()] == [2, 2, 3]


def test_replicas_share_a_name_and_lose_only_their_own_addresses() -> None:
    made = zones(
        named("a", "web.internal", "192.0.2.1", "192.0.2.9"),
        named("b", "web.internal", "192.0.2.2", "192.0.2.9"),
    )
    assert texts(made, "web.internal.", "A") == ["192.0.2.1", "192.0.2.2", "192.0.2.9"]
    made.put(key("a"), ())
    assert texts(made, "web.internal.", "A") == ["192.0.2.2", "192.0.2.9"]
    made.put(key("b"), ())
    assert not zone(made, "web.internal.").lookup("web.internal.", "A").exists


def test_a_second_port_of_one_type_has_a_service_of_its_own() -> None:
    more = Service(type="_http._tcp", port=9000, inside=81, subtypes=("_api",))
    made = zones(named("a", "web.internal", "192.0.2.1", services=[WEB, more]))
    assert texts(made, "_http._tcp.internal.", "PTR") == [
        "web._http._tcp.internal.",
        "web:81._http._tcp.internal.",
    ]
    assert texts(made, "_api._sub._http._tcp.internal.", "PTR") == ["web:81._http._tcp.internal."]
    assert texts(made, "web:81._http._tcp.internal.", "TXT") == ['""']


def test_put_names_the_zones_that_change() -> None:
    made = zones(WIKI)
    assert [one.domain for one in made.put(key("c"), [HOME])] == ["home.example"]
    assert made.put(key("c"), [HOME]) == []
    both = [named("c", "c.internal", "192.0.2.1")]
    assert [one.domain for one in made.put(key("c"), both)] == ["home.example", "internal"]
    assert made.put(key("x"), ()) == []


def test_the_soa_has_the_serial_and_comes_first() -> None:
    made = zone(zones(WIKI), "internal.")
    made.serial = 4_294_967_295
    soa, ns, *others = made.records()
    assert soa.text == "localhost. hostmaster.invalid. 4294967295 300 60 86400 5"
    assert (soa.type, ns.type) == ("SOA", "NS")
    assert others == sorted(others)
    assert made.lookup("internal.", "SOA").records == (soa,)


ADDRESSES = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"])
SERVICES = st.builds(
    Service,
    type=st.sampled_from(["_http._tcp", "_dns._udp"]),
    port=st.integers(1, 3),
    inside=st.integers(0, 2),
    txt=st.lists(st.tuples(st.just("k"), st.text(max_size=3)), max_size=1).map(tuple),
)
NAMES = st.sampled_from(
    ["a.internal", "b.internal", "x.a.internal", "a.home.example", "a.apps.home.example", "a.b.c"]
)


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[str, list[Name]]]:
    made = []
    for owner in draw(st.lists(st.sampled_from("pqrs"), max_size=12)):
        names = draw(st.lists(NAMES, max_size=2, unique=True))
        lists = [(draw(st.sets(ADDRESSES)), draw(st.lists(SERVICES, max_size=2))) for _ in names]
        pairs = zip(names, lists, strict=True)
        made.append((owner, [named(owner, n, *sorted(a), services=s) for n, (a, s) in pairs]))
    return made


def content(made: Zones) -> list[list[Rr]]:
    return [[*one.records()] for one in made.all()]


@given(changes())
def test_the_zones_follow_from_the_last_names_of_each_owner(
    made: Sequence[tuple[str, Sequence[Name]]],
) -> None:
    stepwise = Zones(DOMAINS, 30)
    for owner, names in made:
        before = content(stepwise)
        changed = {one.domain for one in stepwise.put(key(owner), names)}
        after = zip(stepwise.all(), before, content(stepwise), strict=True)
        assert changed == {one.domain for one, old, new in after if old != new}
    fresh = Zones(DOMAINS, 30)
    for owner, names in sorted(dict(made).items()):
        fresh.put(key(owner), names)
    assert content(stepwise) == content(fresh)
    for one, other in zip(stepwise.all(), fresh.all(), strict=True):
        for name in {rr.name for rr in one.records()} | {"b.internal.", "a.internal.", "_tcp."}:
            assert one.lookup(name, ANY) == other.lookup(name, ANY)
            assert one.lookup(name, "MX").exists is other.lookup(name, "MX").exists


@given(changes())
def test_all_records_are_valid_and_found_by_their_name(
    made: Sequence[tuple[str, Sequence[Name]]],
) -> None:
    built = Zones(DOMAINS, 30)
    for owner, names in made:
        built.put(key(owner), names)
    for one in built.all():
        for rr in one.records():
            dns.rdata.from_text(dns.rdataclass.IN, rr.type, rr.text)  # raises if it is not valid
            assert rr in one.lookup(rr.name, rr.type).records


def test_a_change_costs_the_same_for_any_number_of_names() -> None:
    def filled(count: int) -> Zones:
        return zones(*(named(f"{n}", f"n{n}.internal", "192.0.2.1") for n in range(count)))

    def cost(made: Zones) -> float:
        started = thread_time()
        for _ in range(200):
            made.put(key("x"), [WIKI])
            made.put(key("x"), ())
        return thread_time() - started

    few, many = filled(10), filled(10_000)
    # Each change walked over all names would make this 1000.
    assert min(cost(many) for _ in range(3)) < 10 * min(cost(few) for _ in range(3))
