"""The plan for the proxy: host names, ports, upstreams and reasons."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.capabilities.proxy.records import Route
from koi_agent.capabilities.proxy.rules import ProxyRules
from koi_agent.core.instance import (
    Health,
    Instance,
    InstanceState,
    PortSource,
    Protocol,
    RecordState,
)
from koi_agent.core.plan.planner import Planner
from koi_agent.core.plan.requests import Policy
from koi_agent.core.reach.network import HostNetwork
from koi_agent.core.traits import LOCAL_POD, POD
from tests.unit.dns_zones import DOMAINS
from tests.unit.networks import DOCKER, LAN, LO
from tests.unit.test_mdns_plan import made, port

NETWORK = HostNetwork((DOCKER, LAN, LO))
POLICY = Policy(host_names=frozenset({"box"}), network=NETWORK)
RULES = ProxyRules(POLICY, DOMAINS, frozenset({443, 8443}))


def planned(*instances: Instance, rules: ProxyRules = RULES) -> Planner:
    planner = Planner(rules)
    for instance in instances:
        planner.put(instance)
    planner.settle()
    return planner


def routes(planner: Planner, instances: Iterable[Instance]) -> list[Route]:
    found = [one for i in instances for one in planner.planned(i.key).records]
    assert all(isinstance(one, Route) for one in found)
    return found  # type: ignore[return-value]  # checked


def lines(*instances: Instance) -> list[str]:
    found = routes(planned(*instances), instances)
    return [f"{one.title} to {one.upstream.url}" for one in found]


def reason(instance: Instance, state: RecordState, rules: ProxyRules = RULES) -> str:
    planner = planned(instance, rules=rules)
    assert planner.planned(instance.key).records == ()
    (decision,) = planner.planned(instance.key).decisions
    assert decision.state is state, decision
    return decision.reason


def inside(*ips: str, number: int = 80, **koi: object) -> Instance:
    """Return an instance with an unpublished port at addresses of its own."""
    instance = made("a", port(number, 0, ""), proxy_port=443)
    return replace(instance, ips=ips, metadata=replace(instance.metadata, **koi))  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [0, 30080])
@pytest.mark.parametrize("address", ["10.42.0.7", "fd00::7"])
def test_a_pod_of_this_host_is_its_own_upstream(number: int, address: str) -> None:
    pod = made("a", port(80, number, ""), proxy_port=443)
    here = replace(pod, ips=(address,), traits=LOCAL_POD)
    text = f"[{address}]" if ":" in address else address
    assert lines(here) == [f"https://web.internal to http://{text}:80"]
    away = replace(here, ports=(port(80, 0, ""),), traits=POD)
    assert "beyond the networks of this host" in reason(away, RecordState.REFUSED)


@pytest.mark.parametrize(
    ("instance", "line"),
    [
        (
            made("a", port(80, 8080), proxy_port=443),
            "https://web.internal to http://127.0.0.1:8080",
        ),
        (
            made("a", port(80, 8080), proxy_port=8443, dns_name="wiki"),
            "https://wiki.internal:8443 to http://127.0.0.1:8080",
        ),
        (
            made("a", port(80, 8080, "127.0.0.1"), proxy_port=443, dns_name="a.home.example"),
            "https://a.home.example to http://127.0.0.1:8080",
        ),
        (
            made("a", port(80, 8080, "::1"), proxy_port=443),
            "https://web.internal to http://[::1]:8080",
        ),
        (
            made("a", port(80, 8080, "192.0.2.10"), proxy_port=443),
            "https://web.internal to http://192.0.2.10:8080",
        ),
        (
            made("a", port(80, 8080), port(90, 9090), proxy_port=443, port=90),
            "https://web.internal to http://127.0.0.1:9090",
        ),
        (inside("172.17.0.5"), "https://web.internal to http://172.17.0.5:80"),
        (inside("172.17.0.5", number=8443), "https://web.internal to https://172.17.0.5:8443"),
        (
            inside("172.17.0.5", proxy_scheme="https"),
            "https://web.internal to https://172.17.0.5:80",
        ),
        (
            inside("172.17.0.5", number=8443, proxy_scheme="http"),
            "https://web.internal to http://172.17.0.5:8443",
        ),
    ],
)
def test_a_route_leads_to_where_this_host_reaches_the_instance(
    instance: Instance, line: str
) -> None:
    assert lines(instance) == [line]


def test_without_a_port_of_the_proxy_there_is_nothing_to_decide() -> None:
    for instance in (
        made("a"),
        made("a", proxy_port=443, proxy_enable=False),
        made("a", proxy_port=443, enable=False),
        made("a", proxy_port=443, enable=None),
    ):
        assert planned(instance).planned(instance.key).decisions == ()
    off = replace(RULES, enabled=False)
    instance = made("a", proxy_port=443)
    assert planned(instance, rules=off).planned(instance.key).decisions == ()


@pytest.mark.parametrize(
    ("instance", "state", "text"),
    [
        (made("a", proxy_port=22), RecordState.REFUSED, "port 22 is not among [Proxy] Ports="),
        (made("a", proxy_port=443, dns_name="x.example"), RecordState.REFUSED, "outside internal"),
        (made("a", proxy_port=443, dns_name="box"), RecordState.REFUSED, "own name"),
        (
            made("a", port(53, 53, "::", Protocol.UDP), proxy_port=443),
            RecordState.REFUSED,
            "no TCP port",
        ),
        (
            replace(made("a", proxy_port=443), ports=()),
            RecordState.HELD,
            "no port of it is known",
        ),
        (
            made("a", replace(port(22), source=PortSource.DECLARED), proxy_port=443),
            RecordState.HELD,
            "nothing of it listens on port 22",
        ),
        (
            made("a", port(80, 8080, "203.0.113.9"), proxy_port=443),
            RecordState.HELD,
            "no interface of this host",
        ),
        (inside(), RecordState.HELD, "no address of the instance"),
        (inside("192.0.2.77"), RecordState.HELD, "192.0.2.77 is on lan0"),
        (
            replace(made("a", proxy_port=443), state=InstanceState.PAUSED),
            RecordState.HELD,
            "paused",
        ),
        (
            replace(made("a", proxy_port=443), health=Health.UNHEALTHY),
            RecordState.HELD,
            "unhealthy",
        ),
    ],
)
def test_an_instance_without_a_route_has_the_reason(
    instance: Instance, state: RecordState, text: str
) -> None:
    assert text in reason(instance, state)


def test_without_a_proxy_the_route_is_held() -> None:
    rules = replace(RULES, has_outlet=False)
    assert "[Proxy] Caddy=" in reason(made("a", proxy_port=443), RecordState.HELD, rules)


def test_a_machine_beyond_the_networks_of_this_host_needs_permission() -> None:
    machine = replace(made("a", port(80, 0, ""), backend="vm", proxy_port=443), ips=("10.1.2.3",))
    assert "koi.proxy.remote=true permits it" in reason(machine, RecordState.REFUSED)
    permitted = replace(machine.metadata, proxy_remote=True)
    near = replace(machine, ips=("172.17.0.9",))
    assert lines(near) == ["https://web.internal to http://172.17.0.9:80"]
    assert lines(replace(machine, metadata=permitted)) == [
        "https://web.internal to http://10.1.2.3:80"
    ]


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "192.0.2.10", "172.17.0.1", "::1", "2001:db8::10"]
)
def test_an_address_of_this_host_is_not_an_instances_own(address: str) -> None:
    reason(inside(address, proxy_remote=True), RecordState.HELD)


ADDRESSES = ("127.0.0.1", "192.0.2.10", "172.17.0.1", "172.17.0.5", "192.0.2.77", "10.1.2.3", "x")
MAPPINGS = st.builds(
    lambda inside, outside, ip, source: replace(port(inside, outside, ip), source=source),
    st.sampled_from([22, 80]),
    st.sampled_from([0, 22, 8080]),
    st.sampled_from(["0.0.0.0", "127.0.0.1", "192.0.2.10", "203.0.113.9", "", "x"]),
    st.sampled_from(PortSource),
)


@given(
    ports=st.lists(MAPPINGS, max_size=3),
    ips=st.lists(st.sampled_from(ADDRESSES), max_size=3),
    listen=st.integers(1, 65535) | st.just(443),
    wanted=st.sampled_from([None, 22, 80]),
    remote=st.booleans(),
    backend=st.sampled_from(["docker", "systemd", "vm"]),
)
def test_no_label_opens_a_port_or_leads_to_anything_of_others(
    ports: list[object],
    ips: list[str],
    listen: int,
    wanted: int,
    remote: bool,  # noqa: FBT001
    backend: str,
) -> None:
    koi = {"proxy_port": listen, "port": wanted, "proxy_remote": remote}
    instance = replace(
        made("a", *ports, backend=backend, **koi),  # type: ignore[arg-type]
        ips=tuple(ips),
    )
    for route in routes(planned(instance), [instance]):
        assert route.port in (443, 8443)
        target = route.upstream.target
        open_ports = {p.host_port for p in instance.ports if p.source is not PortSource.DECLARED}
        if target.address in ("127.0.0.1", "192.0.2.10", "172.17.0.1"):
            assert target.port in open_ports - {0}
        else:
            assert target.address in ips
            assert target.port in {p.container_port for p in instance.ports}


def test_an_address_of_a_cluster_is_no_upstream() -> None:
    shared = replace(port(80, 80, "10.96.0.7"), source=PortSource.CLUSTER)
    pod = replace(made("a", shared, proxy_port=443), traits=LOCAL_POD)
    assert reason(pod, RecordState.REFUSED) == "there is no TCP port to forward to"
    own = replace(pod, ports=(shared, port(80, 0, "")), ips=("10.42.0.7",))
    assert lines(own) == ["https://web.internal to http://10.42.0.7:80"]


def test_the_first_instance_has_the_host_name_on_all_ports() -> None:
    first = replace(made("b", proxy_port=443), created_at=1)
    second = replace(made("a", proxy_port=8443), created_at=2)
    planner = planned(second, first)
    assert [one.title for one in routes(planner, [first, second])] == ["https://web.internal"]
    (decision,) = planner.planned(second.key).decisions
    assert decision.reason == "web.internal is docker:b's, which was there before"
    planner.drop(first.key)
    planner.settle()
    assert [one.title for one in routes(planner, [second])] == ["https://web.internal:8443"]


def test_replicas_share_a_host_name_and_a_scheme() -> None:
    replicas = [
        replace(made(f"{n}", port(80, 8080 + n), proxy_port=443), project="shop", replica=n)
        for n in (1, 2)
    ]
    with_tls = replace(
        made("3", port(80, 9000), proxy_port=443, proxy_scheme="https"), project="shop"
    )
    planner = planned(*replicas, with_tls)
    assert [one.upstream.url for one in routes(planner, replicas)] == [
        "http://127.0.0.1:8081",
        "http://127.0.0.1:8082",
    ]
    assert planner.planned(with_tls.key).records == ()


@pytest.mark.parametrize(
    "koi", [{}, {"proxy_port": 443, "proxy_enable": False}, {"proxy_port": 444}]
)
def test_the_dns_name_of_an_instance_without_a_route_leads_to_no_other(koi: Any) -> None:
    first = made("a", port(80, 8080), dns_name="wiki", **koi)
    second = made("b", port(80, 9090), dns_name="wiki", proxy_port=443)
    planner = planned(first, second)
    assert planner.planned(second.key).records == ()
    assert [one.reason for one in planner.planned(second.key).decisions] == [
        "wiki.internal is docker:a's, which was there before"
    ]
    planner.drop(first.key)
    planner.settle()
    assert len(planner.planned(second.key).records) == 1
    without = replace(first, metadata=replace(first.metadata, dns_enable=False))
    assert len(planned(without, second).planned(second.key).records) == 1
