"""A real webhook of external-dns gets the names of instances, and keeps all other records."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.conftest import require
from tests.lan import Lan
from tests.namespaces import wait_until
from tests.real.agents import agent, eventually, on_manager
from tests.real.announced import announcements, settings, web
from tests.real.dns_servers import PRIMARY
from tests.world import World

PROGRAM: Final = "external-dns"
URL: Final = "http://127.0.0.1:8888"
"""The only address that external-dns listens on."""
WEBHOOK: Final = f"[Capabilities]\nMDNS=off\n[DNS]\nWebhook={URL}\n"
MEDIA_TYPE: Final = "application/external.dns.webhook+json;version=1"
REQUEST: Final = """\
import sys, urllib.request
kind, url, body = sys.argv[1:]
fields = {"Accept": kind, "Content-Type": kind}
request = urllib.request.Request(url, body.encode() or None, fields)
print(urllib.request.urlopen(request, timeout=30).read().decode())
"""

Records = Mapping[tuple[str, str], list[str]]


@contextmanager
def webhook(world: World, folder: Path) -> Iterator[None]:
    """Run external-dns as a webhook, whose provider keeps records in memory."""
    if shutil.which(PROGRAM) is None:
        require(PROGRAM, "the program is not installed")
    command = (
        *(PROGRAM, "--webhook-server", "--provider=inmemory", "--inmemory-zone=internal"),
        *("--source=fake", "--metrics-address=127.0.0.1:7979", "--log-level=debug"),
    )
    log = folder / "external-dns.log"
    with log.open("a") as output:
        process = world.spawn(*command, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: request(world, "/") is not None, log.read_text)
        yield
    finally:
        process.kill()  # as a webhook it ignores SIGTERM
        process.wait(60)


def request(world: World, path: str, body: str = "") -> Any:
    """Send a request beside those of the agent; returns None if it fails."""
    done = world.run(sys.executable, "-c", REQUEST, MEDIA_TYPE, URL + path, body, check=False)
    return json.loads(done.stdout.strip() or "{}") if done.returncode == 0 else None


def records(world: World) -> Records:
    return {
        (one["dnsName"], one["recordType"]): one["targets"]
        for one in request(world, "/records") or []
    }


async def has(world: World, *places: tuple[str, str]) -> Records:
    """Wait until the provider has endpoints of these names and types, and no other."""
    found: Records = {}

    async def is_it() -> bool:
        nonlocal found
        found = await asyncio.to_thread(records, world)
        return set(found) == set(places)

    try:
        await eventually(is_it, "the provider has the names", seconds=120)
    except AssertionError as error:
        raise AssertionError(f"{found}") from error
    return found


def names(*several: str) -> tuple[tuple[str, str], ...]:
    """Return the names and types of the endpoints for names in the test's network."""
    return tuple(
        place
        for name in several
        for place in ((name, "A"), (name, "AAAA"), (f"_koi.{name}", "TXT"))
    )


async def state_of(world: World, name: str, wanted: str, unit: str) -> None:
    async def is_it() -> bool:
        return (await announcements(world, unit)).get(name) == wanted

    await eventually(is_it, f"{name} is {wanted}", seconds=120)


async def test_a_webhook_gets_names_and_keeps_those_of_others(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    settings(world, WEBHOOK)
    printer = {"dnsName": "printer.internal", "recordType": "A", "targets": ["192.0.2.77"]}
    with webhook(world, tmp_path):
        assert request(world, "/records", json.dumps({"create": [printer]})) == {}
        async with agent(world, tmp_path) as running:
            await web(world)
            await web(world, "shop", 8081)
            await web(world, "printer", 8082)
            found = await has(
                world, *names("web.internal", "shop.internal"), ("printer.internal", "A")
            )
            assert found["web.internal", "A"] == [PRIMARY]
            await state_of(world, "web.internal", "announced", "web")
            await state_of(world, "printer.internal", "refused", "printer")
            await on_manager(world, "stop", "printer.service")
            await on_manager(world, "stop", "web.service")
            await has(world, *names("shop.internal"), ("printer.internal", "A"))
            await web(world)
            await state_of(world, "web.internal", "announced", "web")
            await running.kill()
        await on_manager(world, "stop", "web.service")
        async with agent(world, tmp_path):
            await has(world, *names("shop.internal"), ("printer.internal", "A"))
        settings(world, f"{WEBHOOK}ReleaseOnStop=yes\n")
        async with agent(world, tmp_path):
            await state_of(world, "shop.internal", "announced", "shop")
        found = await has(world, ("printer.internal", "A"))
        assert found["printer.internal", "A"] == ["192.0.2.77"]


async def test_a_webhook_that_starts_again_gets_the_names_again(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    settings(world, WEBHOOK)
    async with agent(world, tmp_path):
        await web(world)
        for _ in range(2):  # its records are in memory
            with webhook(world, tmp_path):
                await has(world, *names("web.internal"))
                await state_of(world, "web.internal", "announced", "web")
