"""Lists of a server beside events and inspections that are under way."""

import asyncio
from collections import deque
from pathlib import Path

from koi_agent.backends.incus import Incus
from koi_agent.backends.incus.activation import Activation
from koi_agent.backends.incus.kinds import KINDS
from koi_agent.backends.incus.sockets import find_sockets
from koi_agent.backends.incus.tunables import Tunables
from tests.runtimes.followed import eventually
from tests.runtimes.followed_incus import NO_BUS, FollowedIncus, followed_incus
from tests.runtimes.test_incus_faults import agreed

NO_CHECKS = Tunables(inspect_retry=0.05, list_delay=0.01, address_checks=())
FORWARD = {
    "listen_address": "192.0.2.1",
    "config": {},
    "ports": [
        {
            "protocol": "tcp",
            "listen_port": "80",
            "target_port": "8080",
            "target_address": "10.0.0.5",
        }
    ],
}


def fail_inspections(server: FollowedIncus, count: int) -> None:
    server.faults.delays["instance"] = deque([1.0])
    server.faults.bodies["instance"] = deque([lambda _body: b"{"] * count)


async def test_a_list_counts_for_a_new_instance_whose_inspection_fails(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=NO_CHECKS) as server:
        fail_inspections(server, 100)
        web = server.guests.launch("web1", config={"user.koi.name": "Web"})
        await eventually(lambda: not server.faults.delays["instance"], "it is being inspected")
        await server.follower.resync()
        await eventually(lambda: len(server.faults.bodies["instance"]) < 98, "that fails")
        assert server.known(web).metadata.name == "Web"


async def test_a_list_counts_for_a_known_instance_whose_inspection_fails(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=NO_CHECKS) as server:
        web = server.guests.launch("web1")
        await agreed(server)
        fail_inspections(server, 100)
        server.guests.update(web)
        await eventually(lambda: not server.faults.delays["instance"], "it is being inspected")
        await server.follower.resync()
        await eventually(lambda: len(server.faults.bodies["instance"]) < 98, "that fails")
        assert server.known(web).metadata.name == web.config["user.koi.name"]


async def test_an_instance_that_stopped_while_the_settings_changed_is_gone(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=NO_CHECKS) as server:
        web = server.guests.launch("web1")
        await agreed(server)
        server.faults.delays["list"] = deque([0.5])
        server.faults.messages.extend([lambda _message: []] * 9)
        server.guests.stop_forcibly(web)
        server.faults.messages.clear()
        sockets = find_sockets(KINDS["incus"], str(server.fake.path), "system")
        activation = Activation(NO_BUS)
        renewed = Incus("incus", KINDS["incus"], sockets, server.projects, activation, NO_CHECKS)
        server.follower.renew(renewed, interval=1e6)
        await eventually(lambda: not server.faults.delays["list"], "a list is requested")
        server.guests.update(web)
        await agreed(server)


async def test_forwards_that_change_within_an_inspection_count(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=NO_CHECKS) as server:
        web = server.guests.launch("web1")
        web.addresses = ("10.0.0.5",)
        await agreed(server)
        await server.settle()
        server.fake.forwards = [FORWARD]
        server.faults.delays["forwards"] = deque([0.5])
        server.faults.delays["instance"] = deque([0.2])
        async with asyncio.TaskGroup() as group:
            group.create_task(server.follower.resync())
            await eventually(lambda: not server.faults.delays["forwards"], "they are read")
            server.guests.update(web)
        await eventually(
            lambda: [port.host_port for port in server.known(web).ports] == [80],
            lambda: f"its port is published: {server.known(web).ports}",
        )


async def test_a_run_that_is_inspected_after_its_end_is_published(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=NO_CHECKS) as server:
        web = server.guests.launch("web1")
        server.faults.holds_events = True
        server.guests.stop_forcibly(web)
        await eventually(lambda: "instance" in server.fake.requests, "it is inspected")
        await asyncio.sleep(0.2)
        server.faults.holds_events = False
        server.fake.release()
        await eventually(lambda: server.brief == ["+1", "-1"], lambda: str(server.brief))


async def test_a_failed_inspection_does_not_revive_what_a_list_lacks(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=NO_CHECKS) as server:
        web = server.guests.launch("web1")
        await agreed(server)
        server.faults.messages.extend([lambda _message: []] * 9)
        server.guests.stop_forcibly(web)
        server.faults.messages.clear()
        await server.follower.resync()
        fail_inspections(server, 3)
        server.guests.update(web)
        await eventually(lambda: not server.faults.bodies["instance"], "its inspections failed")
        await asyncio.sleep(0.2)
        assert server.brief == ["+1", "-1"]
