"""A fake Incus that misbehaves, and what is published of it."""

import asyncio
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

import pytest

from koi_agent.backends.http_engine.limits import RequestLimits
from koi_agent.backends.incus.tunables import Tunables
from koi_agent.core.errors import BackendLost
from koi_agent.core.events import BackendState, Started, Stopped
from koi_agent.core.instance import InstanceState
from tests.runtimes.fake_incus import FakeIncus, frame
from tests.runtimes.followed import eventually
from tests.runtimes.followed_incus import FollowedIncus, followed_incus, following_incus
from tests.runtimes.test_incus_property import QUICK

IMPATIENT = Tunables(
    requests=RequestLimits(response=0.3, array=0.3, stream=0.3), inspect_retry=0.05
)


async def agreed(server: FollowedIncus) -> None:
    """Wait until what is published is what runs, without a list."""
    await eventually(lambda: not server.disagreement(), server.disagreement)


def reasons(server: FollowedIncus) -> list[str]:
    return [event.reason for event in server.events if isinstance(event, Stopped)]


async def test_a_life_is_published_step_by_step(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=QUICK) as server:
        guests = server.guests
        web = guests.launch("web1")
        await agreed(server)
        for step in (guests.pause, guests.resume, guests.update, guests.snapshot):
            step(web)
            await agreed(server)
        assert not reasons(server)
        guests.stop_forcibly(web)
        await agreed(server)
        guests.rename(web)
        guests.start(web)
        await agreed(server)
        guests.restart(web)
        await eventually(lambda: len(reasons(server)) == 2, lambda: str(reasons(server)))
        await agreed(server)
        guests.delete(web)
        await agreed(server)
        assert reasons(server)[:2] == ["stopped", "restarted"]
        assert server.status.drift == 0


async def test_a_restart_is_one_stop_and_one_start(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=QUICK) as server:
        web = server.guests.launch("web1")
        await agreed(server)
        server.guests.restart(web)
        await agreed(server)
        kinds = [type(event) for event in server.events if isinstance(event, Started | Stopped)]
        assert kinds == [Started, Stopped, Started]


async def test_addresses_come_without_an_event(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=QUICK) as server:
        web = server.guests.launch("web1")
        await agreed(server)
        server.guests.lease(web)
        await agreed(server)
        assert server.known(web).ips[1] == "fd42::1", "those of its own bridge are left out"


async def test_addresses_come_after_a_restart(tmp_path: Path) -> None:
    patient = Tunables(address_checks=(0.5, 5.0, 50.0))
    async with followed_incus(tmp_path, tunables=patient) as server:
        web = server.guests.launch("web1")
        await agreed(server)
        server.guests.restart(web)
        await eventually(lambda: reasons(server) == ["restarted"], lambda: str(server.events))
        server.guests.lease(web)
        await agreed(server)


async def test_a_young_instance_of_the_first_list_gets_its_other_addresses(tmp_path: Path) -> None:
    slow = Tunables(address_checks=(0.5, 600.0))
    async with FakeIncus(tmp_path / "unix.socket") as fake:
        now = datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00")
        web = fake.guests.launch("web1", day=now)
        web.addresses = ("10.0.0.7",)
        async with following_incus(FollowedIncus(fake, tunables=slow)) as server:
            web.addresses = ("10.0.0.7", "fd42::1")
            await agreed(server)


async def test_addresses_that_change_later_are_no_drift(tmp_path: Path) -> None:
    quiet = Tunables(address_checks=())
    async with followed_incus(tmp_path, tunables=quiet, interval=0.2) as server:
        web = server.guests.launch("web1")
        await agreed(server)
        server.guests.lease(web)
        await agreed(server)
        assert server.status.drift == 0


async def test_lost_events_are_drift(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=QUICK, interval=0.2) as server:
        server.faults.messages.extend([lambda _message: []] * 2)
        server.guests.launch("web1")
        await agreed(server)
        await eventually(lambda: server.status.drift == 1, lambda: str(server.status))


async def test_a_list_is_newer_than_an_inspection_that_began_before(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=QUICK) as server:
        web = server.guests.launch("web1")
        await agreed(server)
        await server.settle()
        server.faults.delays["instance"] = deque([1.0])
        server.guests.update(web)
        await eventually(lambda: not server.faults.delays["instance"], "it is being inspected")
        server.faults.messages.extend([lambda _message: []] * 9)
        server.guests.stop_forcibly(web)
        for _ in range(2):
            await server.follower.resync()
        await agreed(server)


async def test_an_instance_that_is_listed_and_not_found_is_inspected_again(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=QUICK) as server:
        web = server.guests.launch("web1")
        await agreed(server)
        server.faults.delays["list"] = deque([0.3])
        server.faults.statuses["instance"] = deque([404])
        async with asyncio.TaskGroup() as group:
            group.create_task(server.follower.resync())
            await eventually(lambda: not server.faults.delays["list"], lambda: "no list yet")
            server.guests.update(web)
        await agreed(server)


async def test_a_short_run_is_published(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=QUICK) as server:
        web = server.guests.launch("web1")
        server.guests.stop(web)
        await eventually(lambda: reasons(server) == ["shut down"], lambda: str(server.events))


async def test_only_projects_that_match_are_followed(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=QUICK, projects=("shop*",)) as server:
        server.guests.launch("web1")
        shop = server.guests.launch("web2", "shop-1")
        await agreed(server)
        await server.settle()
        assert [one.id for one in server.registry.visible.values()] == [shop.id]


async def test_instances_of_other_members_are_left_out(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=QUICK, member="node1") as server:
        web = server.guests.launch("web1", location="node1")
        other = server.guests.launch("web2", location="node2")
        await eventually(lambda: len(server.registry.visible) == 1, "one is here")
        assert server.known(web).id == web.id
        web.location = "node2"
        server.guests.emit(web, "migrated")
        other.location = "node1"
        server.guests.emit(other, "migrated")
        await eventually(lambda: reasons(server) == ["not running"], lambda: str(server.events))
        await eventually(lambda: len(server.registry.visible) == 1, "the other one is here")
        assert server.known(other).id == other.id


async def test_instances_of_a_lost_server_are_stale_until_it_is_back(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=QUICK) as server:
        web = server.guests.launch("web1")
        await agreed(server)
        await server.fake.close()
        await eventually(lambda: server.known(web).stale, "it is stale")
        server.guests.restart(web)  # no event reports this
        await server.fake.open()
        await eventually(lambda: not server.known(web).stale, "it is not stale")
        await agreed(server)
        await eventually(lambda: reasons(server) == ["restarted"], lambda: str(reasons(server)))


@pytest.mark.parametrize("endpoint", ["server", "list", "events"])
async def test_a_server_that_never_responds_costs_its_state(tmp_path: Path, endpoint: str) -> None:
    async with followed_incus(tmp_path, settled=False, tunables=IMPATIENT) as server:
        server.faults.silent.add(endpoint)
        await eventually(
            lambda: server.status.state is BackendState.FAILED, lambda: str(server.status)
        )
        assert "no response in time" in server.status.last_error
        server.faults.silent.clear()
        await eventually(lambda: server.status.state is BackendState.SYNCED, "it is followed")


async def test_a_list_longer_than_what_is_held_is_followed(tmp_path: Path) -> None:
    def lengthen(body: bytes) -> bytes:
        ignored = b'{"snapshots": ["' + b"x" * 2**14 + b'"]},'
        return body.replace(b'"metadata": [', b'"metadata": [' + ignored * 1500)

    async with FakeIncus(tmp_path / "unix.socket") as fake:
        web = fake.guests.launch("web1")
        fake.faults.bodies["list"] = deque([lengthen])
        async with following_incus(FollowedIncus(fake, tunables=QUICK)) as server:
            assert server.status.state is BackendState.SYNCED, server.status
            assert server.known(web).id == web.id


@pytest.mark.parametrize("body", [b'{"metadata":null}', b"{}", b'{"metadata":{}}', b"[]"])
async def test_a_response_without_a_list_costs_the_state(tmp_path: Path, body: bytes) -> None:
    async with followed_incus(tmp_path, tunables=QUICK) as server:
        web = server.guests.launch("web1")
        await agreed(server)
        server.faults.bodies["list"] = deque([lambda whole: body.ljust(len(whole))])
        with pytest.raises(BackendLost, match="array metadata"):
            await server.follower.resync()
        assert server.known(web).id == web.id
        await agreed(server)


async def test_an_instance_that_can_not_be_inspected_costs_itself(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=IMPATIENT) as server:
        server.faults.silent.add("instance")
        web = server.guests.launch("web1")
        await eventually(lambda: len(server.registry.visible) == 1, "it is known by its event")
        assert server.known(web).state is InstanceState.RUNNING
        server.faults.silent.clear()
        await agreed(server)


async def test_an_event_that_can_not_be_parsed_causes_a_list(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=QUICK) as server:
        server.faults.messages.append(lambda _message: [b"{"])
        server.faults.messages.append(lambda _message: [])
        server.guests.launch("web1")
        await agreed(server)


async def test_frames_of_any_size_are_read(tmp_path: Path) -> None:
    small = Tunables(requests=RequestLimits(max_line=1000), list_delay=0.01)
    async with followed_incus(tmp_path, tunables=small) as server:
        await eventually(server.fake.is_followed, "its events are read")
        server.fake.send(b" " * 70_000)  # too long: it may have been any event
        server.fake.send_frame(frame(0x1, b"{", first=0) + frame(0x9, b"x") + frame(0x0, b"}"))
        server.guests.launch("web1")
        await agreed(server)


async def test_hostile_values_cost_only_themselves(tmp_path: Path) -> None:
    hostile = {"user.koi.name": "a\ud800\x1b[31m", "user.koi.port": [1], "image.description": 5}
    async with followed_incus(tmp_path, tunables=QUICK) as server:
        bad = server.guests.launch(
            "web1", config=hostile, devices={"p": [], "q": {"type": "proxy"}}
        )
        good = server.guests.launch("web2", config={"user.koi.name": "Two"})
        await eventually(lambda: len(server.registry.visible) == 2, "both are published")
        assert server.known(bad).metadata.refused
        assert server.known(good).metadata.name == "Two"


async def test_a_server_of_another_kind_is_left_to_its_own_backend(tmp_path: Path) -> None:
    async with FakeIncus(tmp_path / "unix.socket", server="lxd") as fake:
        async with following_incus(FollowedIncus(fake)) as server:
            assert server.status.state is BackendState.ABSENT
            assert "LXD answers, not Incus" in server.status.last_error
        async with following_incus(FollowedIncus(fake, name="lxd", kind="lxd")) as server:
            assert server.status.state is BackendState.SYNCED


async def test_a_changed_forward_of_a_network_is_published(tmp_path: Path) -> None:
    port = {"listen_port": "80", "protocol": "tcp", "target_address": "10.0.0.2"}
    async with followed_incus(tmp_path, tunables=QUICK) as server:
        web = server.guests.launch("web1")
        web.addresses = ("10.0.0.2",)
        await agreed(server)
        server.fake.forwards.append({"listen_address": "192.0.2.1", "ports": [port]})
        server.fake.send(b'{"type":"lifecycle","metadata":{"action":"network-forward-created"}}')
        await eventually(
            lambda: [one.host_ip for one in server.known(web).ports] == ["192.0.2.1"],
            lambda: str(server.known(web)),
        )
        assert server.status.drift == 0


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_a_server_without_forwards_is_followed(tmp_path: Path, status: int) -> None:
    async with followed_incus(tmp_path, settled=False, tunables=QUICK) as server:
        server.faults.statuses["networks"] = deque([status] * 10)
        server.guests.launch("web1")
        await agreed(server)


async def test_a_refused_event_stream_is_opened_again(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, settled=False, tunables=QUICK) as server:
        server.faults.statuses["events"] = deque([503])
        await eventually(lambda: server.status.state is BackendState.SYNCED, "it is followed")
        server.fake.end()
        server.guests.launch("web1")
        await asyncio.sleep(0)
        await agreed(server)
        assert server.status.reconnects == 1


async def test_an_inspection_that_an_event_outdates_is_repeated(tmp_path: Path) -> None:
    async with followed_incus(tmp_path, tunables=Tunables(address_checks=())) as server:
        web = server.guests.launch("web1")
        await agreed(server)
        before = server.fake.requests.count("instance")
        server.faults.delays["instance"] = deque([0.3])
        server.guests.update(web)
        await eventually(
            lambda: server.fake.requests.count("instance") > before, "the inspection runs"
        )
        server.guests.stop(web)
        await eventually(
            lambda: server.fake.requests.count("instance") > before + 1, "it is repeated"
        )
        await agreed(server)
        assert reasons(server) == ["shut down"]
