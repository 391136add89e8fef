"""Routes at a Koi daemon."""

import json
from collections.abc import Mapping
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.capabilities.proxy.koi import plan
from koi_agent.capabilities.proxy.providers import Koi
from koi_agent.capabilities.proxy.records import Route
from koi_agent.core.instance import RecordState
from koi_agent.core.key import Key
from tests.real.agents import eventually
from tests.unit.dns_zones import complete, key
from tests.unit.fake_koi_server import KoiServer
from tests.unit.fake_koi_wire import Json
from tests.unit.koi_sessions import SETTINGS, koi, opened
from tests.unit.proxy_routes import route

PROVIDER = Koi(SETTINGS)
A, B = key("a"), key("b")

__all__ = ["koi"]


def held(koi: KoiServer) -> list[Json]:
    return koi.daemon.proxies.held


def entry(host: str, port: int, backend: str, *, is_remote: bool = False) -> Json:
    return {"name": host, "listen_port": port, "backend": backend, "allow_remote": is_remote}


async def test_a_route_is_a_proxy_of_the_daemon_until_the_end(koi: KoiServer) -> None:
    async with opened(PROVIDER) as made:
        await made.put(route(), route("b", "blog.internal", port=8443, address="172.17.0.2", to=80))
        await made.announced(A, B)
        blog = entry("blog.internal", 8443, "http://172.17.0.2:80", is_remote=True)
        assert held(koi) == [blog, entry("wiki.internal", 443, "http://127.0.0.1:8080")]
        complete(made.session)
        await made.put(route(to=8081))
        await made.drop(B)
        moved = [entry("wiki.internal", 443, "http://127.0.0.1:8081")]
        await eventually(lambda: held(koi) == moved, "the other upstream")
        await made.announced(A)
    assert held(koi) == []


async def test_a_port_has_one_host_name_and_keeps_it(koi: KoiServer) -> None:
    async with opened(PROVIDER) as made:
        await made.put(route("b", "wiki.internal"))
        await made.announced(B)
        await made.put(route("a", "blog.internal"))
        await made.reports(A, RecordState.HELD, "wiki.internal for 443")
        assert [one["name"] for one in held(koi)] == ["wiki.internal"]
        complete(made.session)
        await made.drop(B)
        await made.announced(A)
        assert [one["name"] for one in held(koi)] == ["blog.internal"]


async def test_a_host_name_has_one_port_and_keeps_it(koi: KoiServer) -> None:
    async with opened(PROVIDER) as made:
        await made.put(route("b", port=8443))
        await made.announced(B)
        await made.put(route("a", port=443))
        await made.reports(A, RecordState.HELD, "one port for each host name: 8443 for wiki")
        assert [one["listen_port"] for one in held(koi)] == [8443]
        complete(made.session)
        await made.drop(B)
        await made.announced(A)
        assert [one["listen_port"] for one in held(koi)] == [443]


ROUTES = st.lists(
    st.builds(
        route,
        owner=st.sampled_from("abc"),
        host=st.sampled_from(["x.internal", "y.internal", "z.internal"]),
        port=st.sampled_from([443, 8443, 9443]),
        to=st.integers(1, 2),
    ),
    max_size=9,
)


def recorded(sent: Mapping[str, str], host: str) -> frozenset[str]:
    return frozenset({sent[host]} if host in sent else ())


@given(ROUTES, ROUTES)
def test_what_is_sent_is_what_is_said_to_be_sent(before: list[Route], after: list[Route]) -> None:
    """Each port and each host name is in one entry, and an entry that was sent stays."""
    sent = dict[str, str]()
    for routes in (before, after):
        owners: dict[Key, list[Route]] = {}
        for one in routes:
            owners.setdefault(one.owner, []).append(one)
        made = plan(owners, partial(recorded, dict(sent)))
        bodies = {host: json.loads(body) for host, body in made.bodies.items()}
        ports = [one["listen_port"] for one in bodies.values()]
        assert len(ports) == len(set(ports))
        for owner, entries in made.entries.items():
            for entry, one in zip(entries, owners[owner], strict=True):
                is_sent = bodies.get(one.host, {}).get("listen_port") == one.port
                assert (entry.key == one.host) if is_sent and not entry.outcome else entry.outcome
        assert {one.key for each in made.entries.values() for one in each if one.key} == {*bodies}
        assert plan(owners, partial(recorded, made.bodies)) == made
        sent = dict(made.bodies)


async def test_replicas_have_one_upstream(koi: KoiServer) -> None:
    async with opened(PROVIDER) as made:
        await made.put(route("b", to=2))
        await made.announced(B)
        await made.put(route("a", to=1))
        await made.reports(A, RecordState.HELD, "docker:b")
        assert [one["backend"] for one in held(koi)] == ["http://127.0.0.1:2"]


@pytest.mark.parametrize(
    ("scheme", "address", "reason"),
    [("https", "127.0.0.1", "not to HTTPS"), ("http", "fd00::2", "IPv4")],
)
async def test_upstreams_that_a_daemon_can_not_reach_are_refused(
    koi: KoiServer, scheme: str, address: str, reason: str
) -> None:
    async with opened(PROVIDER) as made:
        await made.put(route(scheme=scheme, address=address))
        await made.reports(A, RecordState.REFUSED, reason)
        assert held(koi) == []


async def test_a_port_that_is_taken_is_tried_again(koi: KoiServer) -> None:
    koi.daemon.proxies.taken.add(443)
    async with opened(PROVIDER) as made:
        await made.put(route())
        await made.reports(A, RecordState.FAILED, "error: address in use")
        koi.daemon.proxies.taken.clear()
        await made.announced(A)
    assert held(koi) == []


async def test_a_proxy_of_another_client_is_left_alone(koi: KoiServer) -> None:
    other = entry("wiki.internal", 443, "http://127.0.0.1:9")
    koi.daemon.call("POST", "/v1/proxy/add", other)
    async with opened(PROVIDER) as made:
        await made.put(route())
        complete(made.session)
        await made.reports(A, RecordState.HELD, "another client")
    assert held(koi) == [other]
