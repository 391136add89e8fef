"""Routes at a Koi daemon."""

import pytest

from koi_agent.capabilities.proxy.providers import Koi
from koi_agent.core.instance import RecordState
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
