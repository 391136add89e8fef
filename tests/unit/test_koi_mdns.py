"""Services at a Koi daemon: leases, restarts of both sides, and services of other clients."""

import pytest

from koi_agent.capabilities.mdns.koi import plan
from koi_agent.capabilities.mdns.providers import Koi
from koi_agent.capabilities.mdns.records import HostName, MdnsRecord, Service
from koi_agent.core.instance import RecordState
from tests.real.agents import eventually
from tests.unit.dns_zones import complete, key
from tests.unit.fake_koi_server import KoiServer
from tests.unit.fake_koi_wire import Json
from tests.unit.koi_sessions import SETTINGS, koi, opened

PROVIDER = Koi(SETTINGS)
A, B = key("a"), key("b")

__all__ = ["koi"]


def service(owner: str = "a", name: str = "web", *, port: int = 80, **fields: object) -> Service:
    made = {"owner": key(owner), "name": name, "type": "_http._tcp", "port": port, **fields}
    return Service(**made)  # type: ignore[arg-type]


def held(koi: KoiServer) -> list[tuple[str, int]]:
    """Return names and ports of all registrations but the daemon's own."""
    found = [one.asked for one in koi.daemon.mdns.held.values()]
    return sorted((one["name"], one["port"]) for one in found if one["type"] != "_mcp._tcp")


def asked(name: str = "web", port: int = 80) -> Json:
    return {"name": name, "type": "_http._tcp", "port": port, "txt": {}}


async def test_services_are_announced_and_withdrawn(koi: KoiServer) -> None:
    async with opened(PROVIDER) as made:
        await made.put(service(txt=(("path", "/ä"),)), service("b", "blog"))
        await made.announced(A, B)
        web = koi.daemon.mdns.air["web._http._tcp.local."]
        assert (web["txt"], web["lease_secs"], web["ip"]) == ({"path": "/ä"}, 90, None)
        complete(made.session)
        await made.put(service(port=81))
        await made.drop(B)
        await eventually(lambda: held(koi) == [("web", 81)], "the other port")
    assert held(koi) == []


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (HostName(owner=A, name="web"), "no host name"),
        (service(addresses=("10.0.0.1",)), "own addresses"),
        (service(interfaces=("eth0",)), "all interfaces, not only on eth0"),
        (service(name=""), "1 to 63 bytes"),
        (service(name="ä" * 32), "1 to 63 bytes"),
        (service(name="a.b"), "dot"),
        (service(port=0), "port"),
        (service(type="http"), "type"),
    ],
)
def test_records_that_a_daemon_does_not_take_are_refused(record: MdnsRecord, reason: str) -> None:
    made = plan({A: [record]})
    (entry,) = made.entries[A]
    assert entry.outcome
    assert entry.outcome.state is RecordState.REFUSED
    assert reason in entry.outcome.reason
    assert not made.bodies


async def test_a_service_of_another_client_is_left_alone(koi: KoiServer) -> None:
    koi.daemon.call("POST", "/v1/mdns/announce", asked())
    koi.daemon.call("POST", "/v1/mdns/announce", asked("blog", 1))
    async with opened(PROVIDER) as made:
        await made.put(service(), service("b", "blog"))
        complete(made.session)
        await made.reports(A, RecordState.HELD, "another client")
        await made.reports(B, RecordState.HELD, "another client")
        assert held(koi) == [("blog", 1), ("web", 80)]
    assert held(koi) == [("blog", 1), ("web", 80)]
