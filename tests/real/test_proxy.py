"""A unit that names a port of the proxy is served by a real Caddy, and is in Traefik's file."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.conftest import require
from tests.namespaces import wait_until
from tests.real.agents import agent, eventually, on_manager
from tests.real.announced import announcements, settings, web
from tests.real.caddy_server import PROGRAM
from tests.real.test_cli import koi_runtime
from tests.world import World

PORT: Final = 8443
URL: Final = f"https://web.internal:{PORT}"
SOCKET: Final = "/run/user/0/koi-runtime/http.sock"
CADDYFILE: Final = """\
{{
	admin unix/{folder}/admin.sock
	storage file_system {folder}/storage
	skip_install_trust
}}
http://127.0.0.1:8079 {{
	respond "of others"
}}
"""
SETTINGS: Final = """\
[Capabilities]
MDNS=off
[Proxy]
Ports={port}
Caddy={folder}/admin.sock
TraefikFile={folder}/koi.yml
"""


@contextmanager
def caddy(world: World, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run Caddy in the world while the block runs."""
    (folder / "Caddyfile").write_text(CADDYFILE.format(folder=folder))
    argv = (PROGRAM, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile")
    with (folder / "caddy.log").open("w") as log:
        process = world.spawn(*argv, stdout=log, stderr=log, env=home(folder))
        try:
            wait_until(lambda: asked(world, folder) is not None, "Caddy answers")
            yield process
        finally:
            process.kill()
            process.wait(60)


def home(folder: Path) -> dict[str, str]:
    return {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}


def asked(world: World, folder: Path) -> Any:
    """Return the configuration of Caddy, None if it does not answer."""
    argv = ("curl", "--silent", "--max-time", "10", "--unix-socket", f"{folder}/admin.sock")
    done = world.run(*argv, "--header", "Host;", "http://x/config/", check=False)
    return json.loads(done.stdout) if done.returncode == 0 and done.stdout else None


def page(world: World, folder: Path) -> str:
    """Return what a client gets that trusts Caddy's own authority."""
    root = folder / "storage/pki/authorities/local/root.crt"
    resolve = f"web.internal:{PORT}:127.0.0.1"
    argv = ("curl", "--silent", "--max-time", "10", "--cacert", str(root), "--resolve", resolve)
    return world.run(*argv, URL, check=False).stdout


def listed(world: World, path: str) -> Any:
    argv = ("curl", "--silent", "--unix-socket", SOCKET, f"http://localhost{path}")
    return json.loads(world.run(*argv).stdout)


async def test_a_unit_is_served_with_tls_until_it_stops(world: World, tmp_path: Path) -> None:
    if world.run("which", PROGRAM, check=False).returncode:
        require("caddy", f"{PROGRAM} is not installed")
    settings(world, SETTINGS.format(folder=tmp_path, port=PORT))
    with caddy(world, tmp_path):
        before = asked(world, tmp_path)
        async with agent(world, tmp_path):
            await web(world, more=f"ProxyPort={PORT}\nDnsEnable=no\n")
            await served(world)
            text = await eventually(lambda: page(world, tmp_path), "the page is served")
            assert "Directory listing" in text
            explained = koi_runtime(world, "explain", "web").stdout
            assert f"{URL} to http://127.0.0.1:8080" in explained
            (site,) = listed(world, "/v1/proxy/routes")
            assert (site["url"], site["upstreams"][0]["url"]) == (URL, "http://127.0.0.1:8080")
            await eventually(lambda: traefik(tmp_path), "the file has the route")
            assert listed(world, "/v1/proxy/traefik") == traefik(tmp_path)
            await eventually(lambda: proxy_verdicts(world) == {"ok"}, "the doctor finds no fault")
            await on_manager(world, "stop", "web.service")
            await eventually(lambda: not traefik(tmp_path), "the file has no route")
            await eventually(lambda: URL not in routed(world, tmp_path), "Caddy has no route")
        await eventually(
            lambda: without_empty(asked(world, tmp_path)) == before, "Caddy is as it was before"
        )


def proxy_verdicts(world: World) -> set[str]:
    found = json.loads(koi_runtime(world, "doctor", "--json=short").stdout)
    return {one["verdict"] for one in found if one["check"] == "proxy"}


async def served(world: World) -> None:
    async def is_announced() -> bool:
        return (await announcements(world)).get(URL) == "announced"

    await eventually(is_announced, "the route is announced")


def traefik(folder: Path) -> Any:
    """Return the configuration in the file for Traefik, None without a file."""
    file = folder / "koi.yml"
    return json.loads(file.read_text().partition("\n")[2]) if file.exists() else None


def routed(world: World, folder: Path) -> list[str]:
    """Return the URLs of all routes in Caddy's configuration, in order."""
    servers = wait_until(lambda: asked(world, folder), "Caddy answers")["apps"]["http"]["servers"]
    return sorted(
        f"https://{host}{one['listen'][0]}"
        for name, one in servers.items()
        if name.startswith("koi-")
        for route in one["routes"]
        for host in route["match"][0]["host"]
    )


def without_empty(value: Any) -> Any:
    """Return a configuration without empty objects: the agent leaves those that it has made."""
    if not isinstance(value, dict):
        return value
    inner = {key: without_empty(one) for key, one in value.items()}
    return {key: one for key, one in inner.items() if one not in ({}, [])}


async def test_agents_that_are_killed_leave_nothing_behind(world: World, tmp_path: Path) -> None:
    if world.run("which", PROGRAM, check=False).returncode:
        require("caddy", f"{PROGRAM} is not installed")
    settings(world, SETTINGS.format(folder=tmp_path, port=PORT))
    random = Random(3)
    with caddy(world, tmp_path):
        before = asked(world, tmp_path)
        for number in range(6):
            async with agent(world, tmp_path) as running:
                await web(world, f"web{number}", 8080 + number, more=f"ProxyPort={PORT}\n")
                await asyncio.sleep(random.uniform(0, 3))
                await running.kill()
            await on_manager(world, "stop", f"web{number}.service")
        async with agent(world, tmp_path):
            await web(world, more=f"ProxyPort={PORT}\n")
            await eventually(lambda: routed(world, tmp_path) == [URL], "there is one route")
        await eventually(
            lambda: without_empty(asked(world, tmp_path)) == before, "Caddy is as it was before"
        )
        assert traefik(tmp_path) == {}
