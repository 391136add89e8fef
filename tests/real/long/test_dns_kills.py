"""The agent is killed at random moments, and the next start brings all DNS outlets to the truth."""

import asyncio
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random

import pytest

from tests.lan import Lan
from tests.real.agents import agent, answers, eventually, on_manager
from tests.real.announced import announcements, settings
from tests.real.dns_servers import PEER, PORT, PRIMARIES, PRIMARY, SECRET, need, server
from tests.real.test_dns import WithKey, dig
from tests.real.test_dns_update import OTHER, nsupdate
from tests.world import World

KILLS = 100
CHECKED = 25
"""Kills after which an agent runs until all outlets agree."""
NAMES = [f"web{number}" for number in range(8)]
UNIT = """\
[Service]
ExecStart=/bin/busybox httpd -f -p [::]:{port}
[X-Koi]
Enable=yes
Type=_http._tcp
"""
OUTLETS = f"""\
[Capabilities]
MDNS=off
Health=off
DNS=server hosts update
[DNS]
Listen=*:5354
AllowTransfer=key:peer
Update={PEER}:{PORT}
UpdateKey=peer
HostsDirectory={{folder}}
"""
FOREIGN = {"printer.internal. A 192.0.2.77", "shop.internal. A 192.0.2.66"}
FOREIGN_MARK = f'_koi.shop.internal. TXT "{OTHER}"'
FOREIGN_FILE = "other.hosts"
OF_SERVER = ("SOA", "NS", "RRSIG", "TSIG")


async def transferred(lan: Lan, at: str, port: int) -> tuple[int, set[str]]:
    """Return the serial and the records of the zone, as a transfer has them."""
    key = ("-y", f"hmac-sha256:peer:{SECRET}")
    printed = await dig(lan, *key, "+nocomments", "internal", "AXFR", at=at, port=port)
    serial, records = 0, set()
    for line in printed.splitlines():
        name, _, _, kind, data = line.split(maxsplit=4) if line[:1] not in ("", ";") else [""] * 5
        if kind == "SOA":
            serial = int(data.split()[2])
        elif kind and kind not in OF_SERVER:
            records.add(f"{name} {kind} {data}")
    return serial, records


def records_of(names: Iterable[str]) -> set[str]:
    """Return the records that the zone has for names, without marks."""
    found = set()
    for name in names:
        service = f"{name}._http._tcp.internal."
        found |= {
            f"{name}.internal. A {PRIMARY}",
            f"{name}.internal. AAAA 2001:db8::1",
            f"{service} SRV 0 0 {port_of(name)} {name}.internal.",
            f'{service} TXT ""',
            f"_http._tcp.internal. PTR {service}",
            "_services._dns-sd._udp.internal. PTR _http._tcp.internal.",
        }
    return found


def port_of(name: str) -> int:
    return 8000 + NAMES.index(name)


def nodes_of(names: Iterable[str]) -> set[str]:
    return {node for name in names for node in (f"{name}", f"{name}._http._tcp")}


def hosts(folder: Path) -> set[str]:
    files = [file for file in folder.iterdir() if file.name != FOREIGN_FILE]
    return {line for file in files for line in file.read_text().splitlines()}


class Outlets:
    """The three outlets of an agent, as others see them."""

    def __init__(self, lan: Lan, folder: Path) -> None:
        self._lan = lan
        self._folder = folder
        self._serial = 0

    async def differences(self, names: set[str]) -> Mapping[str, set[str]]:
        """Return what each outlet has and must not have, or lacks."""
        serial, served = await transferred(self._lan, PRIMARY, 5354)
        assert not serial or serial >= self._serial  # 0: no transfer, the zone is not complete
        self._serial = serial or self._serial
        _, sent = await transferred(self._lan, PEER, PORT)
        marks = {one for one in sent if one.startswith("_koi.")}
        lines = {f"{at} {name}.internal" for name in names for at in (PRIMARY, "2001:db8::1")}
        marked = {one.split()[0] for one in marks - {FOREIGN_MARK}}
        found = {
            "server": served ^ records_of(names),
            "update": (sent - marks) ^ (records_of(names) | FOREIGN),
            "marks": marked ^ {f"_koi.{node}.internal." for node in nodes_of(names)},
            "foreign": {FOREIGN_MARK} - marks,
            "hosts": hosts(self._folder) ^ lines,
            "files": {FOREIGN_FILE} - {file.name for file in self._folder.iterdir()},
        }
        return {outlet: records for outlet, records in found.items() if records}


async def toggle(world: World, random: Random, running: set[str]) -> None:
    """Start or stop some units."""
    some = set(random.sample(NAMES, random.randint(1, 3)))
    for verb, names in {"stop": some & running, "start": some - running}.items():
        if names:
            await on_manager(world, verb, *(f"{name}.service" for name in sorted(names)))
    running ^= some


async def killed(surroundings: WithKey, random: Random, folder: Path) -> None:
    """Run an agent, and kill it at a random moment of its start or of its work."""
    with (folder / "killed.log").open("a") as log:
        process = surroundings.spawn(
            sys.executable,
            "-m",
            "koi_agent",
            "run",
            "--user",
            stderr=log,
            stdout=subprocess.DEVNULL,
        )
    if random.random() < 0.5:
        await eventually(lambda: answers(surroundings), "the agent answers")
    await asyncio.sleep(random.uniform(0, 0.8))
    process.kill()
    await asyncio.to_thread(process.wait, 60)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PRIMARIES)
async def test_a_killed_agent_leaves_nothing_behind(
    world: World, lan: Lan, tmp_path: Path, name: str
) -> None:
    need("bind", "nsupdate")
    folder = tmp_path / "hosts"
    folder.mkdir()
    (folder / FOREIGN_FILE).write_text("192.0.2.66 shop.internal\n")
    settings(world, OUTLETS.format(folder=folder))
    for one in NAMES:
        world.unit(f"{one}.service", UNIT.format(port=port_of(one)))
    random, running = Random(name), set[str]()
    outlets, surroundings = Outlets(lan, folder), WithKey(world, tmp_path)
    with server(lan, name, PRIMARIES[name], tmp_path):

        async def is_up() -> bool:
            return bool((await transferred(lan, PEER, PORT))[1])

        await eventually(is_up, "the server answers")
        nsupdate(
            lan, "add shop.internal 60 A 192.0.2.66", f'add _koi.shop.internal 60 TXT "{OTHER}"'
        )
        for number in range(1, KILLS + 1):
            async with asyncio.TaskGroup() as group:
                group.create_task(killed(surroundings, random, tmp_path))
                group.create_task(toggle(world, random, running))
            if number % CHECKED:
                continue
            async with agent(surroundings, tmp_path):
                await agree(world, outlets, running)
    assert "Traceback" not in (tmp_path / "killed.log").read_text()


async def states(world: World, running: set[str]) -> Mapping[str, set[tuple[str, str]]]:
    """Return the names and states of the running units whose DNS name is not announced."""
    found = {one: set((await announcements(world, one)).items()) for one in sorted(running)}
    return {one: of for one, of in found.items() if (f"{one}.internal", "announced") not in of}


async def agree(world: World, outlets: Outlets, running: set[str]) -> None:
    """Wait until all outlets have the running units, and the agent reports the same."""

    async def is_right() -> bool:
        return not await outlets.differences(running) and not await states(world, running)

    try:
        await eventually(is_right, "all outlets agree", seconds=120)
    except AssertionError as error:
        wrong = {**await outlets.differences(running), **await states(world, running)}
        raise AssertionError(str(wrong)) from error
