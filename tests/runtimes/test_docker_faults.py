"""What an engine may do wrong, one thing at a time: each costs at most the record it is about."""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from koi_agent.backends.docker import api, session
from koi_agent.core.events import BackendState, Started, Stopped
from koi_agent.core.instance import Health
from tests.runtimes.fake_docker import FakeDocker
from tests.runtimes.followed import Followed, eventually, followed


async def agreed(engine: Followed, seconds: float = 5.0) -> None:
    await eventually(lambda: not engine.disagreement(), engine.disagreement, seconds)


@pytest.mark.parametrize("name", ["docker", "podman"])
async def test_each_start_and_stop_is_told_once(tmp_path: Path, name: str) -> None:
    async with followed(tmp_path, name) as engine:
        boxes = [engine.truth.run(port=number) for number in range(1, 10)]
        await agreed(engine)
        for box in boxes:
            engine.truth.restart(box)
        await agreed(engine)
        for box in boxes:
            engine.truth.remove(box)
        await agreed(engine)
        started = [event.instance.id for event in engine.events if isinstance(event, Started)]
        stopped = [event.instance.id for event in engine.events if isinstance(event, Stopped)]
        assert sorted(started) == sorted(stopped) == sorted([box.id for box in boxes] * 2)
        assert engine.status.drift == 0


async def test_short_lives_are_told_whole(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        for _ in range(50):
            engine.truth.remove(engine.truth.run())
        await eventually(lambda: len(engine.told) == 100, "all are told")
        reasons = {event.reason for event in engine.events if isinstance(event, Stopped)}
        assert reasons == {"exited with 137"}


async def test_list_is_shown_at_once_and_the_rest_follows(tmp_path: Path) -> None:
    async with followed(tmp_path, settled=False) as engine:
        engine.faults.silent.add("inspect")
        box = engine.truth.run(port=80, environment=("KOI_MDNS_ANNOUNCE=Shop", "TOKEN=x"))
        async with asyncio.timeout(5):
            await engine.follower.settled.wait()
        shown = engine.known(box)
        assert (shown.name, shown.main_pid, shown.metadata.name) == ("box-1", 0, None)


async def test_shorthand_of_the_environment_is_found(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        box = engine.truth.run(environment=("KOI_MDNS_ANNOUNCE=Shop",))
        await agreed(engine)
        assert engine.known(box).metadata.name == "Shop"


async def test_engine_that_goes_is_kept_marked_and_followed_again(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        stays, goes = engine.truth.run(), engine.truth.run()
        await agreed(engine)
        await engine.fake.close()
        await eventually(lambda: engine.status.state is BackendState.STALE, "it is stale")
        assert engine.known(stays).stale
        del engine.truth.boxes[goes.id]
        await engine.fake.open()
        await eventually(lambda: engine.status.state is BackendState.SYNCED, "it is back", 1.0)
        await agreed(engine)
        assert not engine.known(stays).stale
        assert engine.status.reconnects == 1


async def test_engine_that_comes_is_found_at_once(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        await engine.fake.close()
        await eventually(lambda: engine.status.state is not BackendState.SYNCED, "it is gone")
        await asyncio.sleep(1.5)  # attempts are rare by now
        await engine.fake.open()
        await eventually(lambda: engine.status.state is BackendState.SYNCED, "it is back", 1.0)


async def test_restart_while_nobody_listened_is_a_stop_and_a_start(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        box = engine.truth.run()
        await agreed(engine)
        engine.told.clear()
        await engine.fake.close()
        engine.truth.restart(box)
        engine.fake._recent.clear()  # as in a daemon that is new
        await engine.fake.open()
        await agreed(engine)
        assert engine.told[-2:] == ["-1", "+1"]


async def test_events_of_the_gap_are_told_again_and_believed_once(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        box = engine.truth.run()
        await agreed(engine)
        engine.fake.end()
        gone = engine.truth.run()
        engine.truth.restart(box)
        engine.truth.remove(gone)
        first, second = box.id[-1], gone.id[-1]
        await eventually(lambda: f"-{second}" in engine.told, "all of it is told")
        await agreed(engine)
        told = [one for one in engine.told if one[0] in "+-"]
        assert [one for one in told if one[1] == first] == [f"+{first}", f"-{first}", f"+{first}"]
        assert [one for one in told if one[1] == second] == [f"+{second}", f"-{second}"]


async def test_stream_that_ends_is_no_loss(tmp_path: Path) -> None:
    async with followed(tmp_path, "podman") as engine:
        engine.truth.run()
        await agreed(engine)
        for end in (engine.fake.end, engine.fake.cut):
            end()
            await asyncio.sleep(0.2)
            engine.truth.run()
            await agreed(engine)
        assert engine.status.reconnects == 0
        assert engine.status.state is BackendState.SYNCED


async def test_engine_without_events_is_asked_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LONGEST_POLL", 0.2)
    async with followed(tmp_path, "podman", settled=False) as engine:
        engine.faults.statuses["events"] = deque([500] * 1000)
        engine.truth.run()
        await agreed(engine)
        engine.truth.remove(engine.truth.run())
        box = engine.truth.run()
        engine.truth.stop(box)
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


@pytest.mark.parametrize("endpoint", ["list", "inspect", "version", "info"])
@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
async def test_answer_that_can_not_be_read_is_asked_for_again(
    tmp_path: Path, endpoint: str, spoil: Spoil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "RETRY", 0.05)
    async with followed(tmp_path, settled=False) as engine:
        engine.faults.bodies[endpoint] = deque([spoil])
        engine.truth.run()
        engine.truth.run()
        await agreed_after_list(engine)


async def agreed_after_list(engine: Followed) -> None:
    async with asyncio.timeout(10):
        await engine.follower.settled.wait()
    await engine.settle()


@pytest.mark.parametrize("endpoint", ["list", "inspect", "version", "info", "events"])
@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
async def test_error_is_not_the_end(
    tmp_path: Path, endpoint: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "RETRY", 0.05)
    async with followed(tmp_path, settled=False) as engine:
        engine.faults.statuses[endpoint] = deque([status])
        engine.truth.run()
        await agreed_after_list(engine)


@pytest.mark.parametrize("endpoint", ["list", "version"])
async def test_engine_that_never_answers_is_lost_and_nothing_else(
    tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "ANSWER_TIMEOUT", 0.2)
    monkeypatch.setattr("koi_agent.follow.LIST_TIMEOUT", 0.2)
    async with followed(tmp_path, settled=False) as engine:
        engine.faults.silent.add(endpoint)
        await eventually(lambda: engine.status.state is BackendState.FAILED, "it is failed")
        assert "in time" in engine.status.last_error or "no list" in engine.status.last_error
        assert engine.follower.overdue() == ""
        engine.faults.silent.clear()
        engine.truth.run()
        await agreed(engine)


async def test_container_that_hangs_its_engine_costs_itself_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "ANSWER_TIMEOUT", 0.2)
    async with followed(tmp_path) as engine:
        engine.faults.silent.add("inspect")
        boxes = [engine.truth.run() for _ in range(10)]
        await eventually(lambda: len(engine.registry.visible) == 10, "all are shown all the same")
        assert engine.known(boxes[0]).name == "box-1"
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


async def test_hostile_labels_cost_no_more_than_themselves(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        bad = engine.truth.run(labels=HOSTILE)
        engine.truth.run()
        await agreed(engine)
        shown = engine.known(bad)
        assert shown.name == "box-1"
        assert any("compose.service" in note for note in shown.notes)
        text = json.dumps([*shown.notes, *(str(refused) for refused in shown.metadata.refused)])
        assert "\\u001b" not in text


async def test_record_without_an_id_costs_itself(tmp_path: Path) -> None:
    def spoiled(body: bytes) -> bytes:
        records = json.loads(body)
        records[0]["Id"] = {"no": "id"}
        return json.dumps([None, *records, 7]).encode().ljust(len(body))

    async with followed(tmp_path, settled=False) as engine:
        engine.faults.bodies["list"] = deque([spoiled])
        lost, seen = engine.truth.run(), engine.truth.run()
        async with asyncio.timeout(5):
            await engine.follower.settled.wait()
        assert engine.known(seen).name
        await engine.settle()
        assert engine.known(lost).name


async def test_line_without_an_end_costs_itself(tmp_path: Path) -> None:
    async with followed(tmp_path) as engine:
        box = engine.truth.run(health="healthy")
        await agreed(engine)
        engine.faults.lines.append(lambda line: [b"x" * (5 * 2**20) + b"\n", line])
        engine.truth.check(box)
        await eventually(lambda: engine.known(box).health is Health.HEALTHY, "the next is heard")
        assert engine.status.reconnects == 0


async def test_flood_that_nobody_can_follow_ends_in_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MOST_WAITING", 50)
    async with followed(tmp_path) as engine:
        boxes = [engine.truth.run() for _ in range(20)]
        for _ in range(50):
            for box in boxes:
                engine.truth.pause(box)
                engine.truth.unpause(box)
        engine.truth.pause(boxes[3])
        await agreed(engine)
        assert engine.status.reconnects == 0


async def test_podman_where_docker_is_looked_for_is_left_to_podman(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    async with FakeDocker(path, podman=True) as fake:
        engine = Followed(fake, "docker")
        async with asyncio.TaskGroup() as group:
            task = group.create_task(engine.follower.run())
            await eventually(lambda: engine.status.last_error, "it is told")
            task.cancel()
        assert engine.status.state is BackendState.ABSENT
        assert engine.status.last_error == (f"{path} is Podman's, which is followed by that name")
