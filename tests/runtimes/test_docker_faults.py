"""Faults of an engine, one at a time. Each costs at most the record it is about."""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from koi_agent.backends.docker.tunables import Tunables
from koi_agent.backends.http_engine.limits import RequestLimits
from koi_agent.core.events import BackendState, Started, Stopped
from koi_agent.core.instance import Health
from tests.runtimes.fake_docker import FakeDocker
from tests.runtimes.followed import Followed, eventually, followed, following

SOON = Tunables(requests=RequestLimits(response=0.5), inspect_retry=0.05, longest_poll=0.2)
"""Short times: nothing here waits for a real engine."""


async def agreed(engine: Followed) -> None:
    await eventually(lambda: not engine.disagreement(), engine.disagreement)


@pytest.mark.parametrize("name", ["docker", "podman"])
async def test_each_start_and_stop_is_published_once(tmp_path: Path, name: str) -> None:
    async with followed(tmp_path, name) as engine:
        containers = [engine.containers.run(port=number) for number in range(1, 10)]
        await agreed(engine)
        for container in containers:
            engine.containers.restart(container)
        await agreed(engine)
        for container in containers:
            engine.containers.remove(container)
        await agreed(engine)
        started = [event.instance.id for event in engine.events if isinstance(event, Started)]
        stopped = [event.instance.id for event in engine.events if isinstance(event, Stopped)]
        assert (
            sorted(started)
            == sorted(stopped)
            == sorted([container.id for container in containers] * 2)
        )
        assert engine.status.drift == 0


async def test_short_runs_are_published(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        for _ in range(50):
            engine.containers.remove(engine.containers.run())
        await eventually(lambda: len(engine.brief) == 100, "all are published")
        reasons = {event.reason for event in engine.events if isinstance(event, Stopped)}
        assert reasons == {"exited with 137"}


async def test_a_list_is_published_before_the_inspections(tmp_path: Path) -> None:
    async with followed(tmp_path, settled=False) as engine:
        engine.faults.silent.add("inspect")
        container = engine.containers.run(
            port=80, environment=("KOI_MDNS_ANNOUNCE=Shop", "TOKEN=x")
        )
        async with asyncio.timeout(60):
            await engine.follower.settled.wait()
        shown = engine.known(container)
        assert (shown.name, shown.main_pid, shown.metadata.name) == ("box-1", 0, None)


async def test_the_shorthand_in_the_environment_is_read(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        container = engine.containers.run(environment=("KOI_MDNS_ANNOUNCE=Shop",))
        await agreed(engine)
        assert engine.known(container).metadata.name == "Shop"


async def test_containers_of_a_lost_engine_are_stale_until_it_is_back(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        stays, goes = engine.containers.run(), engine.containers.run()
        await agreed(engine)
        await engine.fake.close()
        await eventually(lambda: engine.status.state is BackendState.STALE, "it is stale")
        assert engine.known(stays).stale
        del engine.containers.all[goes.id]
        await engine.fake.open()
        await eventually(lambda: engine.status.state is BackendState.SYNCED, "it is back")
        await agreed(engine)
        assert not engine.known(stays).stale
        assert engine.status.reconnects == 1


async def test_an_engine_that_appears_is_followed_at_once(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        await engine.fake.close()
        await eventually(lambda: engine.status.state is not BackendState.SYNCED, "it is gone")
        await asyncio.sleep(1.5)  # attempts are rare after that
        await engine.fake.open()
        await eventually(lambda: engine.status.state is BackendState.SYNCED, "it is back")


async def test_a_restart_between_two_connections_is_a_stop_and_a_start(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        container = engine.containers.run()
        await agreed(engine)
        engine.brief.clear()
        await engine.fake.close()
        engine.containers.restart(container)
        engine.fake.forget_events()
        await engine.fake.open()
        await agreed(engine)
        assert engine.brief[-2:] == ["-1", "+1"]


async def test_events_between_two_streams_are_applied_once(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        container = engine.containers.run()
        await agreed(engine)
        engine.fake.end()
        gone = engine.containers.run()
        engine.containers.restart(container)
        engine.containers.remove(gone)
        first, second = container.id[-1], gone.id[-1]
        await eventually(lambda: f"-{second}" in engine.brief, "the second container is gone")
        await agreed(engine)
        events = [one for one in engine.brief if one[0] in "+-"]
        assert [one for one in events if one[1] == first] == [f"+{first}", f"-{first}", f"+{first}"]
        assert [one for one in events if one[1] == second] == [f"+{second}", f"-{second}"]


async def test_a_stream_that_ends_is_opened_again(tmp_path: Path) -> None:
    async with followed(tmp_path, "podman") as engine:
        engine.containers.run()
        await agreed(engine)
        for end in (engine.fake.end, engine.fake.cut):
            end()
            await asyncio.sleep(0.2)
            engine.containers.run()
            await agreed(engine)
        assert engine.status.reconnects == 0
        assert engine.status.state is BackendState.SYNCED


async def test_an_engine_without_events_is_listed_now_and_then(tmp_path: Path) -> None:
    async with followed(tmp_path, "podman", settled=False, tunables=SOON) as engine:
        engine.faults.statuses["events"] = deque([500] * 1000)
        engine.containers.run()
        await agreed(engine)
        engine.containers.remove(engine.containers.run())
        container = engine.containers.run()
        engine.containers.stop(container)
        await agreed(engine)
        assert engine.status.state is BackendState.SYNCED


Spoil = Callable[[bytes], bytes]
SPOILS: dict[str, Spoil] = {
    "no JSON": lambda _body: b"<html>",
    "cut off": lambda body: body[: len(body) // 2],
    "empty": lambda _body: b"",
    "deep": lambda _body: b"[" * 100_000,
    "not UTF-8": lambda body: body.replace(b"busybox", b"\xff\xfe\xfd\xfc"),
    "a word": lambda _body: b'"word"',
    "null": lambda _body: b"null",
}


@pytest.mark.parametrize("endpoint", ["list", "inspect", "version"])
@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
async def test_a_response_that_can_not_be_parsed_is_requested_again(
    tmp_path: Path, endpoint: str, spoil: Spoil
) -> None:
    async with followed(tmp_path, settled=False, tunables=SOON) as engine:
        engine.faults.bodies[endpoint] = deque([spoil])
        engine.containers.run()
        engine.containers.run()
        await agreed_after_list(engine)


async def agreed_after_list(engine: Followed) -> None:
    async with asyncio.timeout(60):
        await engine.follower.settled.wait()
    await engine.settle()


@pytest.mark.parametrize("endpoint", ["list", "inspect", "version", "events"])
@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
async def test_after_an_http_error_the_request_is_sent_again(
    tmp_path: Path, endpoint: str, status: int
) -> None:
    async with followed(tmp_path, settled=False, tunables=SOON) as engine:
        engine.faults.statuses[endpoint] = deque([status])
        engine.containers.run()
        await agreed_after_list(engine)


@pytest.mark.parametrize("endpoint", ["list", "version", "events"])
async def test_an_engine_that_never_responds_is_lost(tmp_path: Path, endpoint: str) -> None:
    limits = RequestLimits(response=0.5, array=0.5, stream=0.5)
    tunables = Tunables(requests=limits)
    async with followed(tmp_path, settled=False, tunables=tunables) as engine:
        engine.faults.silent.add(endpoint)
        await eventually(lambda: engine.status.state is BackendState.FAILED, "it is failed")
        assert engine.status.last_error.startswith(f"{engine.fake.path}: GET ")
        assert engine.status.last_error.endswith(": no response in time")
        assert engine.follower.overdue() == ""
        engine.faults.silent.clear()
        engine.containers.run()
        await agreed(engine)


async def test_a_container_that_hangs_its_engine_costs_itself_only(tmp_path: Path) -> None:
    async with followed(tmp_path, tunables=SOON) as engine:
        engine.faults.silent.add("inspect")
        containers = [engine.containers.run() for _ in range(10)]
        await eventually(lambda: len(engine.registry.visible) == 10, "all are published")
        assert engine.known(containers[0]).name == "box-1"
        assert engine.status.state is BackendState.SYNCED


HOSTILE = {
    "com.docker.compose.service": "\x1b[31mred\x1b[0m\nline",
    "koi.name": "x" * 100_000,
    "koi.enable": 7,
    "koi.txt.a": ["b"],
    "koi.dns.name": "no good",
    "koi.health.path": "\0",
    "traefik.http.routers.x.rule": "Host(`" * 1000,
    **{f"koi.txt.{number}": "v" * 300 for number in range(2000)},
}


async def test_hostile_labels_cost_only_themselves(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        bad = engine.containers.run(labels=HOSTILE)
        engine.containers.run()
        await agreed(engine)
        shown = engine.known(bad)
        assert shown.name == "box-1"
        assert any("compose.service" in note for note in shown.notes)
        text = json.dumps([*shown.notes, *(str(refused) for refused in shown.metadata.refused)])
        assert "\\u001b" not in text


async def test_a_record_without_an_id_costs_only_itself(tmp_path: Path) -> None:
    def spoiled(body: bytes) -> bytes:
        records = json.loads(body)
        records[0]["Id"] = {"no": "id"}
        return json.dumps([None, *records, 7]).encode().ljust(len(body))

    async with followed(tmp_path, settled=False) as engine:
        engine.faults.bodies["list"] = deque([spoiled])
        bad, good = engine.containers.run(), engine.containers.run()
        async with asyncio.timeout(60):
            await engine.follower.settled.wait()
        assert engine.known(good).name
        await engine.settle()
        assert engine.known(bad).name


async def test_a_line_that_is_too_long_costs_only_itself(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        container = engine.containers.run(health="healthy")
        await agreed(engine)
        engine.faults.lines.append(lambda line: [b"x" * (5 * 2**20) + b"\n", line])
        engine.containers.toggle_health(container)
        await eventually(
            lambda: engine.known(container).health is Health.HEALTHY, "the next event is applied"
        )
        assert engine.status.reconnects == 0


async def test_a_flood_of_events_ends_in_a_list(tmp_path: Path) -> None:
    async with followed(tmp_path, tunables=Tunables(max_pending_events=50)) as engine:
        containers = [engine.containers.run() for _ in range(20)]
        for _ in range(50):
            for container in containers:
                engine.containers.pause(container)
                engine.containers.unpause(container)
        engine.containers.pause(containers[3])
        await agreed(engine)
        assert engine.status.reconnects == 0


async def test_an_end_is_not_lost_that_is_reported_while_a_list_is_applied(tmp_path: Path) -> None:
    async with followed(tmp_path, tunables=Tunables(list_lag=0.0)) as engine:
        for _ in range(500):
            engine.containers.run()
        for turns in range(0, 100, 4):
            container = engine.containers.run()
            await agreed(engine)
            engine.faults.holds_events = True
            engine.containers.stop(container)
            engine.faults.bodies["list"] = deque([releasing(engine, turns)])
            await engine.follower.resync()
            await eventually(lambda: not engine.faults.holds_events, "the events were sent")
            await agreed(engine)


def releasing(engine: Followed, turns: int) -> Callable[[bytes], bytes]:
    """Return a function for a body that sends the held events some turns of the loop later."""

    def release(left: int) -> None:
        if left:
            asyncio.get_running_loop().call_soon(release, left - 1)
            return
        engine.faults.holds_events = False
        engine.fake.release()

    def spoil(body: bytes) -> bytes:
        release(turns)
        return body

    return spoil


async def test_a_list_counts_for_a_container_whose_inspection_fails_meanwhile(
    tmp_path: Path,
) -> None:
    async with followed(tmp_path, tunables=Tunables(list_lag=0.0)) as engine:
        engine.faults.delays = {"inspect": deque([0.3]), "list": deque([1.0])}
        engine.faults.bodies["inspect"] = deque([lambda _body: b"{"])
        container = engine.containers.run()
        await eventually(lambda: not engine.faults.delays["inspect"], "it is being inspected")
        engine.faults.lines.extend([lambda _line: []] * 9)
        engine.containers.remove(container)
        await engine.follower.resync()
        assert engine.brief == ["+1", "-1"]


async def test_an_engine_of_another_kind_is_left_to_its_own_backend(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    async with FakeDocker(path, podman=True) as fake:
        async with following(Followed(fake, "docker"), settled=False) as engine:
            await eventually(lambda: engine.status.last_error, "an error is published")
        assert engine.status.state is BackendState.ABSENT
        assert engine.status.last_error == (
            f"{path}: Podman answers, not Docker; a backend of kind podman can follow it"
        )


async def test_two_backends_of_one_kind_follow_two_sockets(tmp_path: Path) -> None:
    async with (
        FakeDocker(tmp_path / "a.sock") as first,
        FakeDocker(tmp_path / "b.sock") as second,
        following(Followed(first, "docker", name="docker")) as one,
        following(Followed(second, "docker", name="build")) as other,
    ):
        twins = one.containers.run(), other.containers.run()
        assert twins[0].id == twins[1].id
        await agreed(one)
        await agreed(other)
        assert one.known(twins[0]).backend == "docker"
        assert other.known(twins[1]).backend == "build"
        one.containers.remove(twins[0])
        await agreed(one)
        assert (one.status.instances, other.status.instances) == (0, 1)
        await second.close()
        await eventually(lambda: other.status.state is BackendState.STALE, "it is stale")
        assert one.status.state is BackendState.SYNCED
        assert (one.status.name, other.status.name) == ("docker", "build")
        assert (one.status.endpoint, other.status.endpoint) == (
            str(tmp_path / "a.sock"),
            str(tmp_path / "b.sock"),
        )
