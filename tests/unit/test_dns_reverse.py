"""Reverse names: an address leads to the name of the only instance that has it."""

from collections.abc import Sequence
from ipaddress import ip_network
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.reverse import Pointers, reverse_name, zone_name
from koi_agent.capabilities.dns.zone import Rr, Zones
from tests.unit.dns_zones import DOMAINS, key

NETWORKS = [ip_network("10.0.3.0/24"), ip_network("10.0.0.0/8"), ip_network("2001:db8::/64")]
REVERSE = "1.3.0.10.in-addr.arpa."
ADDRESSES = ("10.0.3.1", "10.0.4.1", "192.0.2.1", "2001:db8::1")


def owned(id_: str, name: str, *addresses: str) -> Name:
    """Return a name whose addresses are those of its instance."""
    return Name(owner=key(id_), name=name, addresses=addresses, own_addresses=addresses)


def pointers(made: Zones) -> list[tuple[str, str]]:
    every = (rr for zone in made.all() for rr in zone.records())
    return [(rr.name, rr.text) for rr in every if rr.name.endswith(".arpa.") and rr.type == "PTR"]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("10.0.0.0/8", "10.in-addr.arpa"),
        ("10.0.3.0/24", "3.0.10.in-addr.arpa"),
        ("192.0.2.1/32", "1.2.0.192.in-addr.arpa"),
        ("2001:db8::/32", "8.b.d.0.1.0.0.2.ip6.arpa"),
        ("2001:db8::/60", "0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"),
    ],
)
def test_a_network_has_a_zone(network: str, expected: str) -> None:
    assert zone_name(ip_network(network)) == expected


def test_an_own_address_leads_to_the_name_in_the_innermost_zone() -> None:
    made = Zones(DOMAINS, 30, NETWORKS)
    changed = made.put(key("a"), [owned("a", "vm.internal", *ADDRESSES)])
    assert {zone_name(one) for one in NETWORKS} < {one.domain for one in changed}
    assert pointers(made) == [
        (REVERSE, "vm.internal."),
        ("1.4.0.10.in-addr.arpa.", "vm.internal."),
        (f"{'1' + '.0' * 23}.8.b.d.0.1.0.0.2.ip6.arpa.", "vm.internal."),
    ]
    zone = made.of(REVERSE)
    assert zone
    assert zone.lookup(REVERSE, "PTR").records == (Rr(REVERSE, 30, "PTR", "vm.internal."),)
    assert zone.lookup("3.0.10.in-addr.arpa.", "SOA").records == (zone.soa(),)
    assert not zone.lookup("2.3.0.10.in-addr.arpa.", "PTR").exists


def test_an_address_of_this_host_has_no_reverse_name_here() -> None:
    made = Zones(DOMAINS, 30, NETWORKS)
    made.put(key("a"), [Name(owner=key("a"), name="web.internal", addresses=ADDRESSES)])
    assert pointers(made) == []


def test_an_address_that_only_this_host_reaches_has_no_reverse_name_for_others() -> None:
    made = Zones(DOMAINS, 30, NETWORKS)
    one = Name(
        owner=key("a"), name="a.internal", local_addresses=ADDRESSES, own_addresses=ADDRESSES
    )
    made.put(key("a"), [one])
    assert pointers(made) == []


def test_an_address_of_two_instances_leads_to_neither() -> None:
    made = Zones(DOMAINS, 30, NETWORKS)
    made.put(key("a"), [owned("a", "a.internal", "10.0.3.1")])
    changed = made.put(key("b"), [owned("b", "b.internal", "10.0.3.1")])
    assert [one.domain for one in changed] == ["3.0.10.in-addr.arpa", "internal"]
    assert pointers(made) == []
    made.put(key("a"), ())
    assert pointers(made) == [(REVERSE, "b.internal.")]


CHANGES = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.lists(
            st.tuples(st.sampled_from("xyz"), st.sets(st.sampled_from(ADDRESSES))), max_size=2
        ),
    ),
    max_size=8,
)


@given(CHANGES)
def test_reverse_names_follow_from_the_last_names_of_each_owner(
    made: Sequence[tuple[str, Sequence[tuple[str, set[str]]]]],
) -> None:
    stepwise, alone = Zones(DOMAINS, 30, NETWORKS), Pointers()
    last: dict[str, list[Name]] = {}
    for owner, names in made:
        last[owner] = [
            owned(owner, f"{name}.internal", *sorted(at)) for name, at in dict(names).items()
        ]
        stepwise.put(key(owner), last[owner])
        alone.put(key(owner), last[owner])
    holders: dict[str, set[tuple[str, str]]] = {}
    for owner, of_owner in last.items():
        for one in of_owner:
            for address in one.addresses:
                holders.setdefault(address, set()).add((owner, one.name))
    single = {at: next(iter(names))[1] for at, names in holders.items() if len(names) == 1}
    assert dict(alone.all()) == single
    assert sorted(pointers(stepwise)) == sorted(
        (f"{reverse_name(at)}.", f"{name}.") for at, name in single.items() if at != "192.0.2.1"
    )


def test_a_change_costs_the_same_for_any_number_of_addresses() -> None:
    def filled(count: int) -> Zones:
        made = Zones(DOMAINS, 30, NETWORKS)
        for n in range(count):
            made.put(key(f"{n}"), [owned(f"{n}", f"n{n}.internal", f"10.1.{n // 250}.{n % 250}")])
        return made

    def cost(made: Zones) -> float:
        started = thread_time()
        for _ in range(100):
            made.put(key("x"), [owned("x", "x.internal", "10.0.3.1")])
            made.put(key("x"), ())
        return thread_time() - started

    few, many = filled(10), filled(10_000)
    # Each change walked over all addresses would make this 1000.
    assert min(cost(many) for _ in range(3)) < 10 * min(cost(few) for _ in range(3))
