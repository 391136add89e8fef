"""A real ACME server issues the certificate of a route that a real Caddy serves."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from koi_agent.capabilities.proxy import providers
from koi_agent.capabilities.proxy.records import Route
from koi_agent.config.proxy import CONFIGURED
from koi_agent.core.contracts import ProviderSession
from tests.real.agents import eventually
from tests.real.caddy_server import Caddy, caddy, page
from tests.real.pebble_server import Pebble, pebble
from tests.unit.dns_zones import complete
from tests.unit.proxy_routes import put, route

PRIVATE, PUBLIC = "wiki.internal", "wiki.example.org"
FILE = """\
{{
	admin {caddy.admin}
	storage file_system {caddy.storage}
	skip_install_trust
	auto_https disable_redirects
	http_port {http}
	https_port {tls}
	acme_ca {directory}
}}
http://127.0.0.1:{caddy.port} {{
	respond "of others"
}}
"""


@contextmanager
def certified(folder: Path, server: Pebble) -> Iterator[Caddy]:
    """Run a Caddy that trusts the URL of an ACME server, and names it in its Caddyfile."""

    def spawn(*argv: str, env: dict[str, str], **popen: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(argv, env={**env, "SSL_CERT_FILE": str(server.trusted)}, **popen)

    with caddy(folder, spawn=spawn) as running:
        text = FILE.format(
            caddy=running, http=server.http, tls=server.tls, directory=server.directory
        )
        running.file.write_text(text)
        running.reload()
        yield running


@asynccontextmanager
async def session(proxy: Caddy, issuer: str) -> AsyncIterator[ProviderSession[Route]]:
    provider = providers.Caddy("system", proxy.address, issuer)
    async with provider.session(lambda _key, _status: None) as opened, asyncio.TaskGroup() as group:
        running = group.create_task(opened.run())
        complete(opened)
        yield opened
        running.cancel()


def get(server: Pebble, host: str) -> str:
    """Request the page, and trust only certificates of the ACME server."""
    received = subprocess.run(
        [
            *("curl", "--silent", "--max-time", "10", "--cacert", str(server.folder / "root.pem")),
            *("--resolve", f"{host}:{server.tls}:127.0.0.1", f"https://{host}:{server.tls}/"),
        ],
        capture_output=True,
        check=False,
        text=True,
    )
    return received.stdout


async def is_certified(server: Pebble, host: str) -> None:
    """Wait until the page is served with a certificate of the ACME server."""
    (server.folder / "root.pem").write_text(server.root())

    async def is_so() -> bool:
        return await asyncio.to_thread(get, server, host) == "wiki"

    await eventually(is_so, f"{host} has a certificate: {server.log[-2000:]}", seconds=120)


async def test_the_directory_of_the_settings_issues_the_certificate(tmp_path: Path) -> None:
    with (
        pebble(tmp_path / "pebble", [PRIVATE]) as server,
        certified(tmp_path / "caddy", server) as proxy,
    ):
        before = proxy.config()
        async with page("wiki") as to, session(proxy, server.directory) as opened:
            await put(opened, route(host=PRIVATE, port=server.tls, to=to))
            await is_certified(server, PRIVATE)
        assert before["apps"]["http"] == proxy.config()["apps"]["http"]


async def test_a_policy_of_the_administrator_for_all_names_decides(tmp_path: Path) -> None:
    with (
        pebble(tmp_path / "pebble", [PUBLIC]) as server,
        certified(tmp_path / "caddy", server) as proxy,
    ):
        policy = {"issuers": [{"module": "acme", "ca": server.directory}]}
        tls = {"automation": {"policies": [policy]}}
        assert proxy.ask("PUT", "/config/apps/tls", tls)[0] == 200
        before = proxy.config()
        async with page("wiki") as to, session(proxy, CONFIGURED) as opened:
            await put(opened, route(host=PUBLIC, port=server.tls, to=to))
            await is_certified(server, PUBLIC)
        assert proxy.config() == before


def test_the_global_option_of_a_caddyfile_concerns_its_own_sites_only(tmp_path: Path) -> None:
    with caddy(tmp_path / "caddy") as running:
        directory = "https://ca.example/directory"
        text = FILE.format(caddy=running, http=8080, tls=8443, directory=directory)
        running.file.write_text(text)
        running.reload()
        assert directory not in json.dumps(running.config())
