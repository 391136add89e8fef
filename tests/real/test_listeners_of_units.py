"""Listeners of real control groups, and the units of a real manager that they belong to."""

import json
import subprocess
import sys

from koi_agent.backends.systemd.sockets import socket_ports
from tests.namespaces import wait_until
from tests.world import World

SERVE = """
import os, socket, sys, time
if group := sys.argv[2:]:
    own = open("/proc/self/cgroup").read().rpartition(":")[2].strip()
    below = f"/sys/fs/cgroup{own}/{group[0]}"
    os.makedirs(below)
    open(f"{below}/cgroup.procs", "w").write(str(os.getpid()))
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
time.sleep(1000)
"""

OWNERS = """
import asyncio, json, sys
from koi_agent.host.cgroups import ControlGroups
from koi_agent.host.sock_diag import listeners
found = asyncio.run(listeners())
owners = ControlGroups().owners({one.cgroup_id for one in found}, json.loads(sys.argv[1]))
print(json.dumps({one.port: owners.get(one.cgroup_id, "") for one in found}))
"""


def owners(world: World, *units: str) -> dict[str, str]:
    groups = {
        unit: world.systemctl("show", "-P", "ControlGroup", unit).stdout.strip() for unit in units
    }
    answer = world.run(sys.executable, "-c", OWNERS, json.dumps(groups)).stdout
    found: dict[str, str] = json.loads(answer)
    return found


def test_ports_belong_to_their_units_and_groups_below(world: World) -> None:
    (world.home / "serve.py").write_text(SERVE)
    serve = f"{sys.executable} {world.home}/serve.py"
    world.unit("a.service", f"[Service]\nExecStart={serve} 8001\n")
    world.unit("b.service", f"[Service]\nDelegate=yes\nExecStart={serve} 8002 one/two\n")
    world.unit("c.service", f"[Service]\nExecStart={serve} 8003\n")
    world.systemctl("start", "a.service", "b.service", "c.service")
    expected = {"8001": "a.service", "8002": "b.service", "8003": ""}
    wait_until(lambda: owners(world, "a.service", "b.service") == expected, "the listeners")
    world.systemctl("restart", "a.service")
    wait_until(lambda: owners(world, "a.service", "b.service") == expected, "the new listener")


def test_listen_property_of_a_socket_unit_is_parsed(world: World) -> None:
    lines = ["8001", "127.0.0.1:8002", "[::]:8003", "%t/x.sock", "@x", "vsock:2:1234"]
    text = "".join(f"ListenStream={line}\n" for line in lines)
    world.unit("x.socket", f"[Socket]\n{text}ListenDatagram=0.0.0.0:5353\nListenFIFO=%t/fifo\n")
    world.unit("x.service", "[Service]\nExecStart=true\n")
    command = ["busctl", f"--address={world.bus_address}", "--json=short", "get-property"]
    command += ["org.freedesktop.systemd1", "/org/freedesktop/systemd1/unit/x_2esocket"]
    command += ["org.freedesktop.systemd1.Socket", "Listen"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    listen = [(kind, where) for kind, where in json.loads(done.stdout)["data"]]
    assert len(listen) == 8
    assert [(one.host_ip, one.host_port, one.protocol.value) for one in socket_ports(listen)] == [
        ("0.0.0.0", 5353, "udp"),
        ("::", 8001, "tcp"),
        ("127.0.0.1", 8002, "tcp"),
        ("::", 8003, "tcp"),
    ]
