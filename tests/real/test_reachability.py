"""Services are announced where hosts on the network reach them: real sockets, a real peer."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from koi_agent.bus.client import connected
from koi_agent.core.dbus_names import NAME, ROOT
from tests.lan import Lan
from tests.real.agents import agent, eventually, instance, on_manager
from tests.real.announced import settings
from tests.world import World

SERVER = """\
import socket, sys
from http.server import HTTPServer, SimpleHTTPRequestHandler
family, address, port, device, only = sys.argv[1:]
class Server(HTTPServer):
    address_family = getattr(socket, family)
    def server_bind(self):
        if family == "AF_INET6":
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only))
        if device != "-":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        super().server_bind()
Server((address, int(port)), SimpleHTTPRequestHandler).serve_forever()
"""
UNIT = """\
[Service]
ExecStart=/usr/bin/python3 {home}/server.py {bind}
{more}
[X-Koi]
Enable=yes
Type=_http._tcp
"""
BINDS = {
    "wide": "AF_INET6 :: 8080 - 0",
    "lan": "AF_INET 192.0.2.1 8081 - 0",
    "near": "AF_INET 0.0.0.0 8082 usb0 0",
    "loop": "AF_INET 0.0.0.0 8083 lo 0",
    "inside": "AF_INET 172.30.0.1 8084 - 0",
    "six": "AF_INET6 :: 8085 - 1",
    "deny": "AF_INET6 :: 8086 - 0",
    "late": "AF_INET 203.0.113.7 8087 - 0",
}
FILTER = "IPAddressDeny=any\nIPAddressAllow=localhost 192.0.2.0/24\n"


def join(lan: Lan) -> None:
    """Join both hosts by a second network with link-local addresses; box has a bridge, too."""
    box, peer = str(lan.box.pid), str(lan.peer.pid)
    pair = ["name", "usb0", "netns", box, "type", "veth", "peer", "name", "usb0", "netns", peer]
    subprocess.run(["ip", "link", "add", *pair], check=True)
    for host, number in ((lan.box, 1), (lan.peer, 2)):
        host.run("ip", "addr", "add", f"169.254.7.{number}/16", "dev", "usb0", "scope", "link")
        host.run("ip", "link", "set", "usb0", "up")
    lan.box.run("ip", "link", "add", "br0", "type", "bridge")
    lan.box.run("ip", "addr", "add", "172.30.0.1/16", "dev", "br0")
    lan.box.run("ip", "link", "set", "br0", "up")
    lan.box.run("ip", "addr", "add", "203.0.113.7/24", "dev", "lan0")


async def start(world: World) -> None:
    (world.home / "server.py").write_text(SERVER)
    for name, bind in BINDS.items():
        more = FILTER if name == "deny" else ""
        world.unit(f"{name}.service", UNIT.format(home=world.home, bind=bind, more=more))
    for name in BINDS:
        await on_manager(world, "start", f"{name}.service")


async def explain(world: World, name: str) -> Mapping[str, Any]:
    async with connected(world.bus_address) as link:
        target = (NAME, ROOT, f"{NAME}.Manager")
        (text,) = await link.call(target, "Explain", "s", (f"systemd:{name}.service",))
    return dict(json.loads(text))


async def places(world: World, name: str) -> list[str]:
    """Return where a unit is reached, as Explain says it."""
    explained = await explain(world, name)
    return [
        f"{place['interface']} {place['address']}"
        for port in explained["reachable"]
        for place in port["places"]
        if not place["address"].startswith("fe80:")
    ]


async def all_decided(world: World) -> bool:
    """Return True if each unit has a port that is listening, and a decision on it."""
    for name in BINDS:
        shown = await instance(world, f"{name}.service")
        if not any(port["source"] == "listening" for port in shown["Ports"]):
            return False
        if not shown["Announcements"]:
            return False
    return True


def browsed(lan: Lan) -> dict[str, set[str]]:
    """Return the interfaces on which the peer finds each service."""
    lines = lan.peer.run("avahi-browse", "-tp", "_http._tcp").splitlines()
    found: dict[str, set[str]] = {}
    for line in lines:
        _, interface, _, name, *_ = line.split(";")
        found.setdefault(name, set()).add(interface)
    return found


async def test_services_are_announced_only_where_they_are_reached(
    world: World, lan: Lan, tmp_path: Path
) -> None:
    join(lan)
    settings(world, "[Runtime]\nBackends=systemd\n")
    lan.box.start_avahi()
    async with agent(world, tmp_path):
        await start(world)
        await eventually(lambda: all_decided(world), "all are decided", seconds=60)
        both = ["lan0 192.0.2.1", "lan0 203.0.113.7", "lan0 2001:db8::1", "usb0 169.254.7.1"]
        assert await places(world, "wide") == both
        assert await places(world, "lan") == ["lan0 192.0.2.1"]
        assert await places(world, "near") == ["usb0 169.254.7.1"]
        assert await places(world, "six") == ["lan0 2001:db8::1"]
        assert {one.split()[0] for one in await places(world, "deny")} == {"lan0"}
        for name, why in (("loop", "only this host"), ("inside", "only containers")):
            assert await places(world, name) == []
            (refused,) = (await explain(world, name))["unreachable"]
            assert why in refused["reason"]
        expected = {
            "wide": {"lan0", "usb0"},
            "six": {"lan0", "usb0"},
            **{name: {"lan0"} for name in ("lan", "deny", "late")},
            "near": {"usb0"},
        }
        await eventually(lambda: browsed(lan) == expected, "the peer finds them")
        lan.box.run("ip", "addr", "del", "203.0.113.7/24", "dev", "lan0")
        await eventually(
            lambda: browsed(lan) == {k: v for k, v in expected.items() if k != "late"},
            "a service without its address is withdrawn",
        )
        (held,) = (await explain(world, "late"))["unreachable"]
        assert "no interface of this host has the address 203.0.113.7" in held["reason"]
        lan.box.run("ip", "addr", "add", "203.0.113.7/24", "dev", "lan0")
        await eventually(lambda: browsed(lan) == expected, "it comes back")
