"""The plan for DNS: names, addresses, services and reasons."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.capabilities.dns.records import Name, Service
from koi_agent.capabilities.dns.rules import DnsRules
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import (
    Health,
    Instance,
    InstanceState,
    PortSource,
    Protocol,
    RecordState,
)
from koi_agent.core.plan.full_names import Domains, full_name
from koi_agent.core.plan.name_rules import NameRules
from koi_agent.core.plan.planner import Planner
from koi_agent.core.plan.requests import Policy
from koi_agent.core.reach.network import UNKNOWN, HostNetwork
from koi_agent.host.own_names import with_short_forms
from tests.unit.dns_zones import DOMAINS
from tests.unit.networks import DOCKER, HOST, LAN, LO, USB
from tests.unit.test_mdns_plan import made, port

POLICY = Policy(
    host_names=with_short_forms(["box.office.example"]), network=HostNetwork((DOCKER, LAN, LO))
)
HOSTS = ("192.0.2.10", "2001:db8::10")


def planned(
    *instances: Instance, policy: Policy = POLICY, domains: Domains = DOMAINS, enabled: bool = True
) -> Planner:
    planner = Planner(DnsRules(policy, domains, enabled=enabled))
    for instance in instances:
        planner.put(instance)
    planner.settle()
    return planner


def names(planner: Planner, instances: Iterable[Instance]) -> list[Name]:
    found = [one for i in instances for one in planner.planned(i.key).records]
    assert all(isinstance(one, Name) for one in found)
    return found  # type: ignore[return-value]  # checked


def only(instance: Instance, policy: Policy = POLICY) -> Name:
    (one,) = names(planned(instance, policy=policy), [instance])
    return one


def reason(instance: Instance, state: RecordState, policy: Policy = POLICY) -> str:
    (decision,) = planned(instance, policy=policy).planned(instance.key).decisions
    assert decision.state is state, decision
    return decision.reason


@pytest.mark.parametrize(
    ("koi", "expected"),
    [
        ({}, "web.internal"),
        ({"name": "Shop"}, "shop.internal"),
        ({"name": "My Shop", "dns_name": "wiki"}, "wiki.internal"),
        ({"dns_name": "WIKI."}, "wiki.internal"),
        ({"dns_name": "wiki.internal"}, "wiki.internal"),
        ({"dns_name": "a.b.internal"}, "a.b.internal"),
        ({"dns_name": "wiki.home.example"}, "wiki.home.example"),
        ({"dns_name": "wiki.apps.home.example"}, "wiki.apps.home.example"),
        ({"dns_name": "xn--bcher-kva"}, "xn--bcher-kva.internal"),
        ({"dns_name": "1"}, "1.internal"),
        ({"dns_name": "a" * 63}, f"{'a' * 63}.internal"),
    ],
)
def test_a_name_is_completed(koi: dict[str, str], expected: str) -> None:
    assert only(made("a", **koi)).name == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("wiki.other.example", "outside internal, home.example"),
        ("wikiinternal.", "wikiinternal.internal"),
        ("wiki.xinternal", "outside"),
        ("home.example", "the domain itself"),
        ("apps.home.example", "the domain itself"),
        ("wiki.local", "name of mDNS"),
        ("a.b.local", "name of mDNS"),
        ("local", "local.internal"),
        ("box", "own name"),
        ("BOX", "own name"),
        ("box.internal", "own name"),
        ("box.office.example", "outside"),
        ("localhost", "reserved"),
        ("localhost.internal", "reserved"),
        ("a.localhost.internal", "reserved"),
        ("wpad", "reserved"),
        ("wpad.apps.home.example", "reserved"),
        ("isatap.x.internal", "reserved"),
        ("*", "not a DNS name"),
        ("*.internal", "not a DNS name"),
        ("a..internal", "not a DNS name"),
        ("..", "not a DNS name"),
        (".internal", "not a DNS name"),
        ("-a", "not a DNS name"),
        ("a-", "not a DNS name"),
        ("_http._tcp.internal", "not a DNS name"),
        ("a b", "not a DNS name"),
        ("a/b", "not a DNS name"),
        ("worker@1", "not a DNS name"),
        ("bücher", "xn--"),
        ("wiki.bücher.internal", "xn--"),
        ("ⓦiki", "xn--"),
        ("a" * 64, "1 to 63"),
        (".".join(["a" * 60] * 4), "outside"),
        (".".join([*["a" * 60] * 3, "a" * 40, "internal"]), "longer than 220"),
        ("a" * 300, "longer than the 253"),
        ("a\x1b[31m", "control"),
        ("a\nb", "control"),
        ("192.0.2.1", "IP address"),
        (" ", "empty"),
    ],
)
def test_a_name_that_is_not_usable_is_refused_with_the_reason(name: str, text: str) -> None:
    instance = made("a", name=name)
    if text.endswith(".internal"):
        assert only(instance).name == text
        return
    assert text in reason(instance, RecordState.REFUSED)


@given(st.text(max_size=300))
def test_any_name_is_valid_or_refused(name: str) -> None:
    with suppress(BadInput):  # any other error fails the test
        full = full_name(made("a", name=name), DOMAINS, POLICY)
        assert DOMAINS.of(full) not in ("", full)
        assert len(full) <= 220
        assert full == full.lower()


@pytest.mark.parametrize(
    ("names_rules", "name", "allowed"),
    [
        (NameRules(allow=("w*",)), "wiki", True),
        (NameRules(allow=("w*",)), "shop", False),
        (NameRules(allow=("w*",)), "wiki.shop.internal", False),
        (NameRules(deny=("secret",)), "secret", False),
        (NameRules(deny=("secret",)), "x.secret.internal", False),
        (NameRules(deny=("internal",)), "wiki", True),
    ],
)
def test_the_rules_for_names_hold_for_each_label(
    names_rules: NameRules,
    name: str,
    allowed: bool,  # noqa: FBT001
) -> None:
    policy = replace(POLICY, names=names_rules)
    instance = made("a", dns_name=name)
    assert bool(names(planned(instance, policy=policy), [instance])) is allowed


def test_a_domain_that_is_the_hosts_own_name_has_no_names() -> None:
    instance = made("a")
    planner = planned(instance, domains=Domains(main="box.office.example"))
    (decision,) = planner.planned(instance.key).decisions
    assert "the domain box.office.example is this host's own name" in decision.reason
    below = planned(instance, domains=Domains(main="apps.box.office.example"))
    assert names(below, [instance])[0].name == "web.apps.box.office.example"


def test_a_published_port_has_the_addresses_of_this_host() -> None:
    name = only(made("a", port(80, 8080, "::"), port(53, 53, "::", Protocol.UDP)))
    assert (name.addresses, name.local_addresses, name.own_addresses) == (HOSTS, (), ())
    assert name.services == (
        Service(type="_dns._udp", port=53),
        Service(type="_http._tcp", port=8080),
    )


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        ("0.0.0.0", ("192.0.2.10",)),
        ("::", HOSTS),
        ("192.0.2.10", ("192.0.2.10",)),
        ("2001:db8::10", ("2001:db8::10",)),
    ],
)
def test_a_bind_limits_the_addresses(bind: str, expected: tuple[str, ...]) -> None:
    assert only(made("a", port(80, 8080, bind))).addresses == expected


def test_an_address_of_one_link_only_is_not_used() -> None:
    policy = replace(POLICY, network=HostNetwork((LO, USB)))
    name = only(made("a", port(80, 8080)), policy)
    assert (name.addresses, name.local_addresses) == ((), ("127.0.0.1",))


def test_what_only_this_host_reaches_has_local_addresses_and_no_service() -> None:
    inside = replace(made("a", port(80, 0, "")), ips=("172.17.0.5",))
    name = only(inside)
    assert (name.addresses, name.local_addresses) == ((), ("172.17.0.5",))
    assert (name.own_addresses, name.services) == (("172.17.0.5",), ())
    bound = only(made("a", port(80, 8080, "127.0.0.1")))
    assert (bound.addresses, bound.local_addresses, bound.own_addresses) == ((), ("127.0.0.1",), ())


def test_an_address_on_the_network_belongs_to_the_instance() -> None:
    name = only(replace(made("a", port(80, 0, "")), ips=("192.0.2.77",)))
    assert (name.addresses, name.own_addresses) == (("192.0.2.77",), ("192.0.2.77",))
    assert name.services == (Service(type="_http._tcp", port=80),)


def test_a_service_whose_name_has_no_room_in_a_label_is_refused() -> None:
    long = replace(made("a", port(80, 8080)), name=f"{'a' * 40}.{'b' * 40}.internal")
    assert only(long).services == ()
    refused = [
        one.reason
        for one in planned(long).planned(long.key).decisions
        if one.state is RecordState.REFUSED
    ]
    assert len(refused) == 1
    assert "63 bytes" in refused[0]
    fits = replace(long, name=f"{'a' * 31}.{'b' * 31}.internal")
    assert [one.port for one in only(fits).services] == [8080]


def test_own_addresses_are_left_out_beside_a_published_port() -> None:
    name = only(replace(made("a", port(80, 8080, "::"), port(90, 0, "")), ips=("192.0.2.77",)))
    assert name.addresses == HOSTS
    assert [one.port for one in name.services] == [8080]


def test_a_machine_with_an_address_of_its_own_has_it() -> None:
    machine = replace(made("a", port(80, 0, ""), backend="vm"), ips=("10.1.2.3", "fe80::1"))
    assert only(machine).addresses == ("10.1.2.3",)


@pytest.mark.parametrize(
    ("instance", "state", "text"),
    [
        (replace(made(), ports=()), RecordState.HELD, "no port of it is known"),
        (made("a", replace(port(), source=PortSource.DECLARED)), RecordState.HELD, "listens"),
        (made("a", port(80, 8080, "203.0.113.9")), RecordState.HELD, "no interface"),
        (made("a", port(80, 0, "")), RecordState.REFUSED, "not published"),
        (replace(made(), state=InstanceState.PAUSED), RecordState.HELD, "paused"),
        (replace(made(), health=Health.UNHEALTHY), RecordState.HELD, "unhealthy"),
    ],
)
def test_an_instance_without_an_address_has_no_name_yet(
    instance: Instance, state: RecordState, text: str
) -> None:
    assert text in reason(instance, state)


def test_without_a_known_network_only_this_host_has_the_name() -> None:
    name = only(made("a", port(80, 8080)), replace(POLICY, network=UNKNOWN))
    assert (name.addresses, name.local_addresses) == ((), ("127.0.0.1",))


def test_the_first_instance_gets_a_name_and_the_other_one_the_reason() -> None:
    first, second = made("b"), made("a")
    first, second = replace(first, created_at=1), replace(second, created_at=2)
    planner = planned(second, first)
    assert names(planner, [first])[0].name == "web.internal"
    (decision,) = planner.planned(second.key).decisions
    assert decision.state is RecordState.REFUSED
    assert decision.reason == "web.internal is docker:b's, which was there before"
    planner.drop(first.key)
    planner.settle()
    assert names(planner, [second])[0].name == "web.internal"


def test_replicas_of_one_project_share_a_name() -> None:
    replicas = [replace(made(f"{n}"), project="shop", replica=n) for n in (1, 2, 3)]
    other = replace(made("z"), project="other")
    found = names(planned(*replicas, other), [*replicas, other])
    assert [(one.owner.id, one.name) for one in found] == [
        (f"{n}", "web.internal") for n in (1, 2, 3)
    ]


def test_one_name_in_two_domains_is_no_contest() -> None:
    both = [made("a", dns_name="wiki"), made("b", dns_name="wiki.home.example")]
    assert len(names(planned(*both), both)) == 2


def test_an_instance_opts_out_of_dns_alone() -> None:
    instance = made("a", dns_enable=False)
    assert planned(instance).planned(instance.key).decisions == ()
    assert planned(made(), enabled=False).planned(made().key).decisions == ()
    hidden = made("a", enable=False)
    assert planned(hidden).planned(hidden.key).decisions == ()


def test_only_networks_of_other_hosts_give_addresses() -> None:
    name = only(made("a", port(80, 8080, "::")), replace(POLICY, network=HOST))
    assert set(name.addresses) == {"192.0.2.10", "198.51.100.10", "10.9.0.1", "2001:db8::10"}
