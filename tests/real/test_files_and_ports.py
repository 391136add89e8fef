"""Metadata of unit files and ports of units, with a real manager and real sockets."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.real.agents import (
    agent,
    call,
    eventually,
    instance,
    observer,
    on_manager,
    published,
    settle,
)
from tests.world import World

SERVER = "ExecStart=/usr/bin/python3 -m http.server {port} --bind {address}\n"
SLEEP = "[Service]\nExecStart=/bin/sleep 1000\n"


async def ports(world: World, unit: str) -> list[tuple[int, str, str, str]]:
    shown = await instance(world, unit)
    return [(p["host_port"], p["protocol"], p["host_ip"], p["source"]) for p in shown["Ports"]]


async def explained(world: World, unit: str) -> Any:
    (text,) = await call(world, "Explain", "s", unit)
    return json.loads(text)


async def test_metadata_is_merged_as_systemd_merges(world: World, tmp_path: Path) -> None:
    world.unit(
        "sample@.service",
        "[Unit]\nX-Koi-Enable=yes\nX-Koi-Name=first\n[X-Koi]\nTxt-owner=%i at \\\n# aside\n%p\n"
        + SLEEP,
    )
    world.drop_in(
        "sample@.service", "10-more.conf", "[Service]\nX-Koi-Name=second\nX-Koi-Port=81\n"
    )
    async with agent(world, tmp_path):
        await on_manager(world, "start", "sample@me.service")
        await settle(world)
        metadata = (await instance(world, "sample@me.service"))["Metadata"]
        assert metadata["name"] == "second"
        assert metadata["txt"] == {"owner": "me at  sample"}
        assert metadata["enabled_by"] == "explicit"
        assert await ports(world, "sample@me.service") == [(81, "tcp", "", "declared")]


async def test_files_are_read_again_when_systemd_reloads(world: World, tmp_path: Path) -> None:
    world.unit("edited.service", SLEEP)
    async with agent(world, tmp_path), observer(world) as seen:
        await on_manager(world, "start", "edited.service")
        await settle(world)
        world.drop_in("edited.service", "name.conf", "[Unit]\nX-Koi-Name=edited\n")
        assert "name" not in (await instance(world, "edited.service"))["Metadata"]
        await on_manager(world, "daemon-reload")

        async def renamed() -> bool:
            shown = await instance(world, "edited.service")
            return bool(shown["Metadata"].get("name") == "edited")

        await eventually(renamed, "the new name")
        assert seen.count("InstanceStopped", "edited.service") == 0


async def test_listeners_are_found_by_control_group(world: World, tmp_path: Path) -> None:
    for name, address in (("v4", "127.0.0.1"), ("v6", "::1"), ("any", "::")):
        text = "[Service]\n" + SERVER.format(port=9000, address=address)
        world.unit(f"{name}.service", text)
    async with agent(world, tmp_path):
        for name, address in (("v4", "127.0.0.1"), ("v6", "::1"), ("any", "::")):
            await on_manager(world, "start", f"{name}.service")
            await settle(world)
            wanted = [(9000, "tcp", address, "listening")]

            async def listening(name: str = name, wanted: Any = wanted) -> bool:
                return bool(await ports(world, f"{name}.service") == wanted)

            await eventually(listening, f"{name} listens")
            await on_manager(world, "stop", f"{name}.service")


async def test_a_sockets_ports_are_its_services_while_that_runs(
    world: World, tmp_path: Path
) -> None:
    world.unit(
        "woken.socket",
        "[Socket]\nListenStream=127.0.0.1:9100\nListenDatagram=[::1]:9101\n"
        "ListenStream=%t/woken.sock\n",
    )
    world.unit("woken.service", SLEEP)
    async with agent(world, tmp_path):
        await on_manager(world, "start", "woken.socket")
        await settle(world)
        assert "woken.service" not in await published(world)
        await on_manager(world, "start", "woken.service")
        await settle(world)

        async def both() -> bool:
            return await ports(world, "woken.service") == [
                (9100, "tcp", "127.0.0.1", "listening"),
                (9101, "udp", "::1", "listening"),
            ]

        await eventually(both, "the socket's ports")


@pytest.mark.parametrize(
    ("file", "unit"),
    [("each.socket", "each.socket"), ("each@.socket", "each@9200.socket")],
    ids=["plain", "template"],
)
async def test_a_service_of_a_connection_is_not_an_instance(
    world: World, tmp_path: Path, file: str, unit: str
) -> None:
    port = "%i" if "@" in file else "9200"
    world.unit(file, f"[Socket]\nListenStream=127.0.0.1:{port}\nAccept=yes\n")
    world.unit("each@.service", "[Service]\nExecStart=/bin/sleep 1000\nStandardInput=socket\n")
    async with agent(world, tmp_path), observer(world) as seen:
        await on_manager(world, "start", unit)
        script = (
            "import socket,time\n"
            "s=[socket.create_connection(('127.0.0.1',9200)) for _ in range(3)]\n"
            "time.sleep(1)"
        )
        world.run("python3", "-c", script)
        show = ("list-units", "each@*.service", "--plain", "--no-legend")
        await eventually(
            lambda: len(world.systemctl(*show).stdout.splitlines()) == 3, "three services run"
        )
        assert not [id_ for _, id_ in seen.events if id_.startswith("each@")]


async def test_services_of_connections_that_outlive_their_socket_are_no_instances(
    world: World, tmp_path: Path
) -> None:
    world.unit("each@.socket", "[Socket]\nListenStream=127.0.0.1:%i\nAccept=yes\n")
    world.unit("each@.service", "[Service]\nExecStart=/bin/sleep 1000\nStandardInput=socket\n")
    world.unit("later.service", SLEEP)
    await on_manager(world, "start", "each@9200.socket")
    world.run("python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 9200))")

    async def connected_services() -> list[str]:
        units = ("list-units", "each@*.service", "--plain", "--no-legend")
        return (await on_manager(world, *units)).stdout.splitlines()

    await eventually(connected_services, "the connection has a service")
    await on_manager(world, "stop", "each@9200.socket")
    assert await connected_services()
    for _ in range(2):
        async with agent(world, tmp_path):
            await on_manager(world, "daemon-reload")
            await on_manager(world, "restart", "later.service")
            await call(world, "Resync", "sa{sv}", "systemd", {})
            assert [id_ for id_ in await published(world) if "@" in id_] == []
            assert "later.service" in await published(world)


async def test_a_bad_unit_file_costs_its_unit_the_metadata_and_is_logged_once(
    world: World, tmp_path: Path
) -> None:
    bad = {
        "huge": f"[Unit]\nX-Koi-Name=huge\n{SLEEP}#{'x' * 70_000}\n",
        "latin": f"[Unit]\nX-Koi-Name=latin\n{SLEEP}# \n",
        "looping": SLEEP,
        "directory": SLEEP,
    }
    for name, text in bad.items():
        world.unit(f"{name}.service", text)
    world.unit("fine.service", f"[Unit]\nX-Koi-Name=fine\n{SLEEP}")
    loop = world.drop_in("looping.service", "loop.conf", "[Unit]\nX-Koi-Name=looping\n")
    await on_manager(world, "daemon-reload")
    await on_manager(world, "start", *(f"{name}.service" for name in [*bad, "fine"]))
    loop.unlink()
    loop.symlink_to(loop)
    (world.units / "latin.service").write_bytes(b"[Unit]\nX-Koi-Name=\xe9\n" + SLEEP.encode())
    (world.units / "directory.service").unlink()
    (world.units / "directory.service").mkdir()
    async with agent(world, tmp_path) as running:
        assert (await instance(world, "fine.service"))["Metadata"]["name"] == "fine"
        log = running.log().splitlines()
        for name in bad:
            shown = await instance(world, f"{name}.service")
            assert "name" not in shown["Metadata"], name
            assert shown["State"] == "running"
            lines = [line for line in log if f"{name}.service: " in line]
            assert len(lines) == 1, (name, lines)
            assert (await explained(world, f"{name}.service"))["notes"]
    (world.units / "directory.service").rmdir()
