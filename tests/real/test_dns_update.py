"""Real DNS servers get the names of instances by signed updates, and keep all other records."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lan import Lan
from tests.real.agents import agent, eventually, instance, on_manager
from tests.real.announced import announcements, settings, web
from tests.real.dns_servers import PEER, PORT, PRIMARIES, PRIMARY, SECRET, need, server
from tests.real.test_dns import WithKey, dig, resolved
from tests.world import World

UPDATE = f"[Capabilities]\nMDNS=off\nDNS=update\n[DNS]\nUpdate={PEER}:{PORT}\nUpdateKey=peer\n"
OTHER = "koi-runtime 0000000000000000"


async def answer(lan: Lan, name: str, kind: str = "A") -> str:
    return (await dig(lan, "+short", name, kind, at=PEER, port=PORT)).strip()


async def becomes(lan: Lan, name: str, kind: str, is_right: Callable[[str], bool]) -> None:
    async def is_it() -> bool:
        return is_right(await answer(lan, name, kind))

    try:
        await eventually(is_it, f"{name} {kind} changes")
    except AssertionError as error:
        raise AssertionError(f"{name} {kind} is {await answer(lan, name, kind)}") from error


async def state_of(world: World, name: str, wanted: str, unit: str = "web") -> None:
    async def is_it() -> bool:
        return (await announcements(world, unit)).get(name) == wanted

    await eventually(is_it, f"{name} is {wanted}")


@pytest.mark.parametrize("name", PRIMARIES)
async def test_a_server_gets_names_and_services_until_they_end(
    world: World, lan: Lan, tmp_path: Path, name: str
) -> None:
    need("bind", "dig")
    settings(world, UPDATE)
    with server(lan, name, PRIMARIES[name], tmp_path) as log:
        try:
            async with agent(WithKey(world, tmp_path), tmp_path):
                await web(world)
                await resolved(lan, "web.internal", PRIMARY, at=PEER, port=PORT)
                assert await answer(lan, "web.internal", "AAAA") == "2001:db8::1"
                assert await answer(lan, "_http._tcp.internal", "PTR") == "web._http._tcp.internal."
                assert (
                    await answer(lan, "web._http._tcp.internal", "SRV") == "0 0 8080 web.internal."
                )
                assert await answer(lan, "web._http._tcp.internal", "TXT") == '"path=/"'
                types = await answer(lan, "_services._dns-sd._udp.internal", "PTR")
                assert types == "_http._tcp.internal."
                await state_of(world, "web.internal", "announced")
                await web(world, "shop", 8081, more="X-Koi-DnsName=shop.web.internal\n")
                await resolved(lan, "shop.web.internal", PRIMARY, at=PEER, port=PORT)
                await on_manager(world, "stop", "web.service")
                await resolved(lan, "web.internal", "", at=PEER, port=PORT)
                assert await answer(lan, "_koi.web.internal", "TXT") == ""
                await on_manager(world, "stop", "shop.service")
                await becomes(lan, "_http._tcp.internal", "PTR", lambda found: not found)
                await becomes(
                    lan, "_services._dns-sd._udp.internal", "PTR", lambda found: not found
                )
                assert await answer(lan, "printer.internal") == "192.0.2.77"
        except AssertionError as error:
            raise AssertionError(log.read_text()) from error


def nsupdate(lan: Lan, *lines: str) -> None:
    """Change the zone by hand."""
    text = "\n".join((f"server {PEER} {PORT}", "zone internal", *lines, "send", ""))
    command = ("nsupdate", "-y", f"hmac-sha256:peer:{SECRET}")
    pipe = subprocess.PIPE
    process = lan.peer.spawn(*command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)
    printed, _ = process.communicate(text, timeout=60)
    assert process.returncode == 0, printed


async def reason_of(world: World, name: str) -> str:
    known = (await instance(world, f"{name}.service"))["Announcements"]
    return next((one["reason"] for one in known if one["capability"] == "dns"), "")


async def test_names_of_others_stay_as_they_are(world: World, lan: Lan, tmp_path: Path) -> None:
    need("bind", "nsupdate")
    settings(world, UPDATE)
    with server(lan, "knot", PRIMARIES["knot"], tmp_path):
        await resolved(lan, "printer.internal", "192.0.2.77", at=PEER, port=PORT)
        nsupdate(
            lan, "add shop.internal 60 A 192.0.2.66", f'add _koi.shop.internal 60 TXT "{OTHER}"'
        )
        async with agent(WithKey(world, tmp_path), tmp_path):
            await web(world, "printer")
            await web(world, "shop", 8081)
            await web(world, "news", 8082)
            await resolved(lan, "news.internal", PRIMARY, at=PEER, port=PORT)
            for name, reason in {"printer": "not from this agent", "shop": "another agent"}.items():
                await state_of(world, f"{name}.internal", "refused", name)
                assert reason in await reason_of(world, name)
            await on_manager(world, "stop", "printer.service")
            await on_manager(world, "stop", "shop.service")
            await on_manager(world, "stop", "news.service")
            await resolved(lan, "news.internal", "", at=PEER, port=PORT)
        assert await answer(lan, "printer.internal") == "192.0.2.77"
        assert await answer(lan, "shop.internal") == "192.0.2.66"
        assert await answer(lan, "_koi.shop.internal", "TXT") == f'"{OTHER}"'


async def test_names_of_a_killed_agent_go_when_the_next_one_starts(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    need("bind", "dig")
    settings(world, UPDATE)
    with server(lan, "bind", PRIMARIES["bind"], tmp_path):
        async with agent(WithKey(world, tmp_path), tmp_path) as running:
            await web(world)
            await web(world, "shop", 8081)
            await resolved(lan, "shop.internal", PRIMARY, at=PEER, port=PORT)
            await running.kill()
        await on_manager(world, "stop", "web.service")
        async with agent(WithKey(world, tmp_path), tmp_path):
            await resolved(lan, "web.internal", "", at=PEER, port=PORT)
            assert await answer(lan, "shop.internal") == PRIMARY
            await on_manager(world, "stop", "shop.service")
            await becomes(lan, "_http._tcp.internal", "PTR", lambda found: not found)
            assert await answer(lan, "_koi.shop.internal", "TXT") == ""


async def test_a_zone_that_loses_the_names_gets_them_again(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    need("bind", "dig")
    settings(world, UPDATE)
    async with agent(WithKey(world, tmp_path), tmp_path):
        await web(world)
        with server(lan, "bind", PRIMARIES["bind"], tmp_path):
            await resolved(lan, "web.internal", PRIMARY, at=PEER, port=PORT)
        shutil.rmtree(tmp_path / "bind")
        with server(lan, "bind", PRIMARIES["bind"], tmp_path):
            await resolved(lan, "web.internal", PRIMARY, at=PEER, port=PORT, seconds=120)


async def test_a_stopped_agent_leaves_its_names_unless_they_are_released(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    need("bind", "dig")
    settings(world, UPDATE)
    with server(lan, "knot", PRIMARIES["knot"], tmp_path):
        async with agent(WithKey(world, tmp_path), tmp_path):
            await web(world)
            await resolved(lan, "web.internal", PRIMARY, at=PEER, port=PORT)
        assert await answer(lan, "web.internal") == PRIMARY
        settings(world, f"{UPDATE}ReleaseOnStop=yes\n")
        async with agent(WithKey(world, tmp_path), tmp_path):
            await state_of(world, "web.internal", "announced")
        assert await answer(lan, "web.internal") == ""
        assert await answer(lan, "_koi.web.internal", "TXT") == ""


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("knot", "UpdateKey=other", "it does not know the key other"),
        ("bind", "UpdateKey=other", "it does not know the key other"),
        (
            "bind",
            "UpdateKey=peer\nUpdateZone=example.org",
            "REFUSED to questions about example.org",
        ),
        ("bind", "UpdateKey=absent", "use LoadCredential=dns-key.absent:FILE"),
        ("knot", "UpdateKey=peer\nUpdateKeyFile=/nonexistent", "/nonexistent: No such file"),
    ],
)
async def test_what_is_wrong_is_reported(
    world: World, lan: Lan, tmp_path: Path, name: str, change: str, reason: str
) -> None:
    settings(world, UPDATE.replace("UpdateKey=peer", change))
    (tmp_path / "dns-key.other").write_text(f"hmac-sha256:{SECRET}\n")
    with server(lan, name, PRIMARIES[name], tmp_path):
        async with agent(WithKey(world, tmp_path), tmp_path):
            await web(world)

            async def is_reported() -> bool:
                return reason in await reason_of(world, "web")

            try:
                await eventually(is_reported, reason)
            except AssertionError as error:
                raise AssertionError(await reason_of(world, "web")) from error


@pytest.mark.parametrize("name", PRIMARIES)
async def test_many_names_are_sent_together(
    world: World, lan: Lan, tmp_path: Path, name: str
) -> None:
    need("bind", "dig")
    settings(world, UPDATE)
    count = 40
    with server(lan, name, PRIMARIES[name], tmp_path):
        for number in range(count):
            await web(world, f"web{number}", 8100 + number)
        async with agent(WithKey(world, tmp_path), tmp_path):
            last = f"web{count - 1}"
            await resolved(lan, f"{last}.internal", PRIMARY, at=PEER, port=PORT)
            await state_of(world, f"{last}.internal", "announced", last)
            kind = "_http._tcp.internal"
            await becomes(lan, kind, "PTR", lambda found: len(found.splitlines()) == count)
