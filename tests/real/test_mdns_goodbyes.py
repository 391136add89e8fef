"""On the wire: what does not change says no goodbye, and each network has its own records."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.lan import Answer, Lan
from tests.real.agents import agent, call, eventually
from tests.real.announced import announced, announcements, resolves, settings, web
from tests.runtimes.fake_docker import FakeDocker
from tests.world import World

SERVICE = "web._http._tcp.local"


@asynccontextmanager
async def listened(world: World, lan: Lan, folder: Path) -> AsyncIterator[list[Answer]]:
    """Announce a unit and record what a peer hears while the block runs."""
    lan.box.start_avahi()
    async with agent(world, folder):
        await web(world)
        await announced(world)
        with lan.peer.listening() as heard:
            yield heard
            await asyncio.to_thread(asked, lan)
    assert [one for one in heard if one.ttl and one.name == "web.local"], "it still answers"


def asked(lan: Lan, own: str = "192.0.2.2") -> str:
    """Return the answer to a query by the peer from an address of its own, past its cache."""
    query = ("tests/system/query.py", own, "web.local", "A", "3")
    return lan.peer.run(sys.executable, *query).strip()


def goodbyes(heard: Sequence[Answer]) -> set[str]:
    """Return the goodbyes of the service and of addresses of its host name."""
    records = (one for one in heard if one.ttl == 0)
    return {
        f"{one.type} {one.data}" for one in records if one.is_of(SERVICE) or one.name == "web.local"
    }


async def on_box(lan: Lan, *argv: str) -> None:
    await asyncio.to_thread(lan.box.run, *argv)


async def plugged(lan: Lan, name: str, number: int) -> None:
    """Join box and peer by another network."""
    await asyncio.to_thread(lan.plug, name)
    for host, last in ((lan.peer, 2), (lan.box, 1)):
        address = f"198.51.{number}.{last}/24"
        await asyncio.to_thread(host.run, "ip", "addr", "add", address, "dev", name)
        await asyncio.to_thread(host.run, "ip", "link", "set", name, "up")


async def test_an_address_that_comes_and_goes_takes_only_itself_along(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    await plugged(lan, "lan1", 100)
    async with listened(world, lan, tmp_path) as heard:
        for turn in range(4):
            await on_box(lan, "ip", "addr", "del", "198.51.100.1/24", "dev", "lan1")
            await asyncio.sleep(1.1)
            await on_box(lan, "ip", "addr", "add", "198.51.100.1/24", "dev", "lan1")
            await asyncio.sleep(1.1)
            if turn == 2:
                await call(world, "Reload")
        assert set((await announced(world)).values()) == {"announced"}
    assert goodbyes(heard) == {"A 198.51.100.1"}


async def test_interfaces_and_ipv6_that_come_and_go_take_only_their_addresses_along(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    async with listened(world, lan, tmp_path) as heard:
        await plugged(lan, "lan1", 100)
        await asyncio.sleep(2.5)
        await on_box(lan, "ip", "link", "del", "lan1")
        await on_box(lan, "sysctl", "-w", "net.ipv6.conf.lan0.disable_ipv6=1")
        await asyncio.sleep(2.5)
        await on_box(lan, "sysctl", "-w", "net.ipv6.conf.lan0.disable_ipv6=0")
        await on_box(lan, "ip", "addr", "add", "2001:db8::1/64", "dev", "lan0", "nodad")
        await eventually(lambda: lan.peer.resolve("web.local", "-6") == "2001:db8::1", "it is back")
        await announced(world)
    assert {one for one in goodbyes(heard) if "198.51" not in one} <= {"AAAA 2001:db8::1"}


async def test_a_host_with_34_addresses_announces_all_and_withdraws_none(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    more = [f"192.0.2.{number}" for number in range(100, 133)]
    async with listened(world, lan, tmp_path) as heard:
        for address in more:
            await on_box(lan, "ip", "addr", "add", f"{address}/24", "dev", "lan0")
        await eventually(lambda: addresses_of(heard) >= set(more), "all are announced")
        await announced(world)
    assert goodbyes(heard) == set()


def addresses_of(heard: Sequence[Answer]) -> set[str]:
    """Return the IPv4 addresses that were announced of the host name."""
    return {
        one.data for one in list(heard) if one.ttl and one.name == "web.local" and one.type == "A"
    }


async def test_an_interface_that_goes_while_a_service_is_registered_does_not_stop_it(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    await plugged(lan, "lan1", 100)
    lan.box.start_avahi()
    async with agent(world, tmp_path):
        await web(world)
        await eventually(lambda: is_registered(world), "Avahi has it")
        await on_box(lan, "ip", "link", "del", "lan1")
        await announced(world)
        await resolves(lan, "web.local", "192.0.2.1")


async def is_registered(world: World) -> bool:
    """Return True while Avahi probes for a service, or later."""
    return bool({"wanted", "announced"} & set((await announcements(world)).values()))


async def test_a_service_of_one_family_is_found_at_addresses_of_that_family(
    world: World, lan: Lan
) -> None:
    lan.box.start_avahi()
    four = {"name": "four", "type": "_http._tcp", "port": 80, "family": 4}
    with lan.box.publishing(four):
        await eventually(
            lambda: (
                {(one.name, one.host, one.address) for one in lan.peer.browse("_http._tcp")}
                == {("four", "koi-box-ipv4.local", "192.0.2.1")}
            ),
            "the peer finds it",
        )
        assert await asyncio.to_thread(lan.peer.resolve, "koi-box-ipv4.local", "-6") == ""


async def test_records_of_an_interface_are_announced_and_withdrawn_only_there(
    world: World, lan: Lan
) -> None:
    await plugged(lan, "lan1", 100)
    await plugged(lan, "lan2", 101)
    lan.box.start_avahi()
    fields = {"name": "web", "type": "_http._tcp", "port": 80}
    service = {**fields, "interfaces": ["lan1", "lan2"]}
    with lan.peer.listening() as heard:
        with lan.box.publishing(service, {"name": "web", "interfaces": ["lan2"]}):
            await eventually(lambda: is_complete(heard, is_goodbye=False), "it is announced")
        await eventually(lambda: is_complete(heard, is_goodbye=True), "it is withdrawn")
    for is_goodbye in (False, True):
        of_service, of_host = where(heard, is_goodbye=is_goodbye)
        assert of_service == {"lan1", "lan2"}
        # The interface has a link-local address of IPv6 once the kernel has verified that.
        assert {one for one in of_host if not one[1].startswith("fe80:")} == {
            ("lan2", "198.51.101.1")
        }
        assert {interface for interface, _ in of_host} == {"lan2"}


def where(heard: Sequence[Answer], *, is_goodbye: bool) -> tuple[set[str], set[tuple[str, str]]]:
    """Return the interfaces of the service, and interfaces and addresses of the host name."""
    records = [one for one in list(heard) if (one.ttl == 0) is is_goodbye]
    return (
        {one.interface for one in records if one.is_of(SERVICE)},
        {(one.interface, one.data) for one in records if one.name == "web.local"},
    )


def is_complete(heard: Sequence[Answer], *, is_goodbye: bool) -> bool:
    of_service, of_host = where(heard, is_goodbye=is_goodbye)
    return of_service == {"lan1", "lan2"} and ("lan2", "198.51.101.1") in of_host


async def test_a_network_with_only_link_local_addresses_has_the_host_name_at_these(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    await asyncio.to_thread(lan.plug, "usb0")
    for host, last in ((lan.peer, 2), (lan.box, 1)):
        address = ("addr", "add", f"169.254.7.{last}/16", "dev", "usb0", "scope", "link")
        await asyncio.to_thread(host.run, "ip", *address)
        await asyncio.to_thread(host.run, "ip", "link", "set", "usb0", "up")
    lan.box.start_avahi()
    async with agent(world, tmp_path):
        await web(world)
        await announced(world)
        for own, expected in (("169.254.7.2", "169.254.7.1"), ("192.0.2.2", "192.0.2.1")):
            assert await asyncio.to_thread(asked, lan, own) == expected


async def test_an_engine_that_restarts_within_the_grace_takes_nothing_along(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    lan.box.start_avahi()
    async with FakeDocker(tmp_path / "docker.sock") as fake:
        docker = f"[Runtime]\nBackends=docker\n[Docker]\nSocket={fake.path}\n"
        settings(world, f"{docker}[Capabilities]\nImageLabels=yes\n")
        fake.containers.run(labels={"koi.announce": "web"}, port=80)
        async with agent(world, tmp_path):
            await eventually(lambda: lan.peer.resolve("web.local"), "it is announced")
            with lan.peer.listening() as heard:
                await fake.close()
                fake.forget_events()
                await asyncio.sleep(2)
                await fake.open()
                await eventually(fake.is_followed, "it is followed")
                await asyncio.sleep(2)
                await asyncio.to_thread(asked, lan)
    assert [one for one in heard if one.ttl and one.name == "web.local"], "it still answers"
    assert goodbyes(heard) == set()
