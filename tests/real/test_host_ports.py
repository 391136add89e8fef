"""Containers on the host's network: their ports are what their control groups listen on."""

import json
import sys

from tests.world import World

SERVER = """
import os, socket, sys, time
group, after = sys.argv[1:]
with open(f"{group}/cgroup.procs", "w") as own:
    own.write(str(os.getpid()))
time.sleep(float(after))
tcp = socket.create_server(("::", 8001), family=socket.AF_INET6, dualstack_ipv6=True)
udp = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2)]
for number, one in enumerate(udp):
    one.bind(("127.0.0.1", 40000 + number))
time.sleep(1000)
"""

FOLLOWER = """
import asyncio, json, os, subprocess, sys
from koi_agent.host.owner_ports import HostPorts
from koi_agent.core.instance import KoiMetadata
from koi_agent.host.listeners import ListenerTable
own = open("/proc/self/cgroup").read().rpartition(":")[2].strip().rstrip("/")
changed, found = [], []
ports = HostPorts(ListenerTable(), changed.append)

async def until(full):
    while len(ports.ports_of("c1")) != (2 if full else 0):
        await asyncio.sleep(0.01)
    found.append([sorted(set(changed)), [(one.host_port, one.protocol, one.host_ip)
                               for one in ports.ports_of("c1")]])
    changed.clear()

async def life(number, after):
    group = f"/sys/fs/cgroup{own}/c{number}"
    os.makedirs(f"{group}/payload")
    server = subprocess.Popen([sys.executable, sys.argv[1], f"{group}/payload", str(after)])
    ports.follow("c1", f"{own}/c{number}", KoiMetadata(port=40000))
    await until(True)
    server.kill()
    server.wait()
    ports.follow("c1", f"{own}/none", KoiMetadata())
    await until(False)
    os.rmdir(f"{group}/payload")
    os.rmdir(group)

async def main():
    run = asyncio.ensure_future(ports.run())
    await life(1, 0.4)
    await life(2, 0.0)
    ports.forget("c1")
    run.cancel()
    print(json.dumps(found))

asyncio.run(main())
"""


def test_ports_appear_when_they_open_and_go_with_the_container(world: World) -> None:
    (world.home / "server.py").write_text(SERVER)
    done = world.run(sys.executable, "-c", FOLLOWER, str(world.home / "server.py"))
    ports = [[8001, "tcp", "::"], [40000, "udp", "127.0.0.1"]]
    found = json.loads(done.stdout)
    assert found == [[["c1"], ports], [["c1"], []]] * 2


POD = """
import asyncio, json, os, subprocess, sys
from pathlib import Path
from tests.runtimes.followed import eventually
from tests.runtimes.followed_kubernetes import followed_kubernetes

def on_host(record):
    listed = [{"containerPort": 8001}, {"containerPort": 2375, "hostPort": 2375}]
    record["spec"] |= {"hostNetwork": True, "containers": [{"name": "c", "ports": listed}]}

async def main(home, program):
    async with followed_kubernetes(Path(home)) as server:
        cluster, found = server.cluster, []
        uid = cluster.create()
        group = f"/sys/fs/cgroup/kubepods/besteffort/pod{uid}"
        os.makedirs(f"{group}/container")

        def ports():
            return [
                (one.host_port, one.host_ip, str(one.source))
                for pod in server.registry.visible.values()
                for one in pod.ports
            ]

        async def until(expected):
            await eventually(lambda: ports() == expected, lambda: str(ports()))
            found.append(ports())

        cluster.change(uid, on_host)
        cluster.run(uid)
        others = [(2375, "", "declared")]
        silent = [*others, (8001, "", "declared")]
        await until(silent)
        process = subprocess.Popen([sys.executable, program, f"{group}/container", "0"])
        await until([*others, (8001, "::", "listening")])
        await server.follower.resync()
        assert server.status.drift == 0, server.status
        process.kill()
        process.wait()
        cluster.crash(uid)
        await until(silent)
        cluster.remove(uid)
        await until([])
        print(json.dumps(found))

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_pod_on_the_hosts_network_has_the_ports_that_it_listens_on(world: World) -> None:
    program = world.home / "server.py"
    program.write_text(SERVER)
    done = world.run(sys.executable, "-c", POD, str(world.home), str(program))
    others = [2375, "", "declared"]
    silent = [others, [8001, "", "declared"]]
    assert json.loads(done.stdout) == [silent, [others, [8001, "::", "listening"]], silent, []]
