"""The DNS zones over HTTP, in each form."""

import socket
from collections.abc import Sequence
from dataclasses import replace

import pytest

from koi_agent.capabilities.dns.printed import printed
from koi_agent.config.dns import DNSConfig
from koi_agent.publishers.http.agent_status import ZoneRecord
from tests.http.serving import Agent, ask, serving
from tests.unit.dns_zones import WEB, named

NAMES = (
    named("b", "wiki.internal", "192.0.2.1", "2001:db8::1", services=[WEB]),
    named("a", "wiki.internal", "192.0.2.2", services=[WEB]),
    named("c", "shop.home.example", "192.0.2.3"),
    named("d", "local.internal"),
)
CONFIG = DNSConfig(extra_domains=("home.example",))
ZONE = r"""_http._tcp.internal. 30 IN PTR wiki._http._tcp.internal.
_services._dns-sd._udp.internal. 30 IN PTR _http._tcp.internal.
wiki._http._tcp.internal. 30 IN SRV 0 0 8080 wiki.internal.
wiki._http._tcp.internal. 30 IN TXT "path=/\195\164\034\092" "v=1"
wiki.internal. 30 IN A 192.0.2.1
wiki.internal. 30 IN A 192.0.2.2
wiki.internal. 30 IN AAAA 2001:db8::1
shop.home.example. 30 IN A 192.0.2.3
"""
HOSTS = """192.0.2.1 wiki.internal
192.0.2.2 wiki.internal
2001:db8::1 wiki.internal
192.0.2.3 shop.home.example
"""


def agent() -> Agent:
    async def zone() -> Sequence[ZoneRecord]:
        return await printed(NAMES, CONFIG)

    made = Agent()
    made.status = replace(made.status, zone=zone)
    return made


@pytest.mark.parametrize(
    ("query", "text"),
    [("", ZONE), ("?format=zone", ZONE), ("?format=hosts", HOSTS), ("?format=HOSTS", HOSTS)],
)
async def test_the_zones_are_lines_of_text(path: socket.socket, query: str, text: str) -> None:
    async with serving(agent(), path):
        reply = await ask(path, f"/v1/dns/zone{query}")
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.body.decode() == text


async def test_the_zones_are_records_in_json(path: socket.socket) -> None:
    async with serving(agent(), path):
        found = (await ask(path, "/v1/dns/zone?format=json")).json
    assert {"name": "wiki.internal.", "ttl": 30, "type": "A", "data": "192.0.2.1"} in found
    lines = [f"{one['name']} {one['ttl']} IN {one['type']} {one['data']}\n" for one in found]
    assert "".join(lines) == ZONE


async def test_without_dns_the_zones_are_empty(path: socket.socket) -> None:
    async with serving(Agent(), path):
        assert (await ask(path, "/v1/dns/zone")).body == b""
        assert (await ask(path, "/v1/dns/zone?format=json")).json == []


async def test_another_format_is_refused(path: socket.socket) -> None:
    async with serving(agent(), path):
        reply = await ask(path, "/v1/dns/zone?format=axfr")
    assert (reply.status, reply.json["error"]) == (400, "bad_format")
    assert "use zone, hosts, json" in reply.json["message"]


async def test_thousands_of_names_are_printed_in_order() -> None:
    many = [named(f"{n}", f"n{n:04}.internal", "192.0.2.1") for n in reversed(range(3000))]
    found = [one.name for one in await printed(many, CONFIG)]
    assert found == [f"n{n:04}.internal." for n in range(3000)]
