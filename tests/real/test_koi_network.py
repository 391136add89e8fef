"""Another host on the network sees of a real Koi daemon what the fake one says that it sees."""

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.lan import Lan
from tests.namespaces import wait_until
from tests.real.koi_daemon import koi_daemon
from tests.unit.fake_koi import Clock, FakeKoi
from tests.world import World

TYPE = "_http._tcp"


class Both:
    """A real daemon and the fake, which get the same requests."""

    def __init__(self, *daemons: Any) -> None:
        self._daemons = daemons
        self._ids: list[list[str]] = []

    def announce(self, **more: Any) -> int:
        """Announce a service; return its number."""
        body = {"name": "web", "type": TYPE, "port": 8080, **more}
        answers = [one.call("POST", "/v1/mdns/announce", body) for one in self._daemons]
        assert [one.status for one in answers] == [201, 201]
        self._ids.append([one.json()["registered"]["id"] for one in answers])
        return len(self._ids) - 1

    def remove(self, number: int) -> None:
        for one, id_ in zip(self._daemons, self._ids[number], strict=True):
            assert one.call("DELETE", f"/v1/mdns/unregister/{id_}").status == 200


def aired(fake: FakeKoi) -> set[tuple[str, int]]:
    """Return names and ports of the services on the network, by the fake."""
    on_air = fake.mdns.air.items()
    return {(one["name"], one["port"]) for full, one in on_air if f".{TYPE}." in full}


def is_seen(lan: Lan, fake: FakeKoi) -> None:
    """Wait until the peer sees the same services."""
    seen: set[tuple[str, int]] = set()

    def is_same() -> bool:
        nonlocal seen
        seen = {(one.name, one.port) for one in lan.peer.browse(TYPE)}
        return seen == aired(fake)

    wait_until(is_same, lambda: f"{seen} is {aired(fake)}", timeout=60)


def test_a_peer_sees_what_the_fake_says(world: World, lan: Lan, tmp_path: Path) -> None:
    fake = FakeKoi(Clock())
    with koi_daemon(world, tmp_path) as real:
        real.start()
        both = Both(real, fake)
        first, second = both.announce(), both.announce(type="http", port=8081)
        dotted, other = both.announce(name="web.example"), both.announce(name="Other One")
        is_seen(lan, fake)
        both.remove(other)
        both.remove(dotted)
        is_seen(lan, fake)
        assert ("web.example", 8080) in aired(fake), "it stays"
        both.remove(first)
        is_seen(lan, fake)
        assert "web" not in {name for name, _ in aired(fake)}, "the second is silent, too"
        both.announce(port=8082)
        is_seen(lan, fake)
        both.remove(second)


def test_the_addresses_of_the_host_get_a_goodbye_with_each_service(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    fake = FakeKoi(Clock())
    with koi_daemon(world, tmp_path) as real:
        real.start()
        both = Both(real, fake)
        both.announce()
        other = both.announce(name="other")
        is_seen(lan, fake)
        host = real.get("/v1/host")["hostname_fqdn"]
        with lan.peer.listening() as heard:
            both.remove(other)
            wait_until(
                lambda: [one for one in heard if one.ttl == 0 and one.type == "SRV"],
                "the service gets a goodbye",
            )
        found = {(one.type, one.name) for one in heard if one.ttl == 0}
        assert {("A", host), ("SRV", "other._http._tcp.local")} <= found
        assert ("SRV", "web._http._tcp.local") not in found
        assert ("goodbye", f"{fake.host}.local.") in fake.mdns.network


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_daemon_that_is_killed_says_no_goodbye(
    world: World, lan: Lan, tmp_path: Path, number: signal.Signals
) -> None:
    fake = FakeKoi(Clock())
    with koi_daemon(world, tmp_path) as real:
        real.start()
        Both(real, fake).announce()
        is_seen(lan, fake)
        with lan.peer.listening() as heard:
            real.end(number)
            before = real.breadcrumb
            real.start()
            Both(real, fake).announce()
            is_seen(lan, fake)
        assert before, "the breadcrumb stays"
        assert not [one for one in heard if one.ttl == 0]
