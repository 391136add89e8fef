"""A new configuration changes only the backends that it affects."""

import asyncio

from koi_agent.core.errors import BackendAbsent
from koi_agent.core.events import (
    BackendAdded,
    BackendRemoved,
    BackendState,
    Followed,
    Seen,
    Stopped,
    Unfollowed,
)
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from koi_agent.follow.follower import LIST_TIMEOUT, OPEN_TIMEOUT
from tests.unit.scripted import Runtime, failing, following, never
from tests.unit.test_follower import kinds
from tests.unit.things import Reader, container, listing, short_forms, unit
from tests.unit.virtual_time import in_virtual_time

A, B = unit("a.service"), unit("b.service")
BOX = container("c1", claims="a.service")


def test_added_backend_starts_without_instances() -> None:
    here = Registry({"systemd": "systemd"})
    (added,) = here.apply(Followed("podman", "podman"), 1)
    assert isinstance(added, BackendAdded)
    assert added.status.state is BackendState.CONNECTING
    assert short_forms(here.apply(listing("podman", BOX), 2)) == ["+c1"]


def test_instances_end_with_their_removed_backend() -> None:
    here = Registry({"systemd": "systemd", "podman": "podman"})
    reader = Reader()
    for now, change in enumerate((listing("systemd", A, B), listing("podman", BOX))):
        reader.read(here.apply(change, now))
    events = here.apply(Unfollowed("systemd"), 9)
    reader.read(events)
    assert short_forms(events) == ["-b.service"]
    assert [e.reason for e in events if isinstance(e, Stopped)] == ["no longer followed"]
    assert events[-1] == BackendRemoved("systemd")
    assert set(here.backends) == {"podman"}
    assert set(here.visible) == set(reader.known) == {Key("podman", "c1")}


def test_unit_is_visible_again_after_its_containers_backend_is_removed() -> None:
    here = Registry({"systemd": "systemd", "podman": "podman"})
    here.apply(listing("systemd", A), 1)
    here.apply(listing("podman", BOX), 2)
    assert short_forms(here.apply(Unfollowed("podman"), 3)) == ["-c1", "+a.service"]


def test_waiting_unit_is_visible_after_the_awaited_backend_is_removed() -> None:
    here = Registry({"systemd": "systemd", "podman": "podman"})
    assert short_forms(here.apply(Seen(unit("q.service", awaits="podman")), 1)) == []
    assert short_forms(here.apply(Unfollowed("podman"), 2)) == ["+q.service"]


def test_unit_is_hidden_when_a_backend_that_may_claim_it_is_added() -> None:
    here = Registry({"systemd": "systemd"})
    assert short_forms(here.apply(Seen(unit("q.service", awaits="podman")), 1)) == ["+q.service"]
    assert short_forms(here.apply(Followed("podman", "podman"), 2)) == ["-q.service"]


@in_virtual_time
async def test_renewed_backend_keeps_instances_and_lists_by_the_new_configuration() -> None:
    before, after = Runtime(A, B), Runtime(A)
    async with following(before) as engine:
        engine.follower.renew(after, interval=1e9)
        await engine.follower.settled.wait()
        assert kinds(engine) == ["Listing", "Listing"]
        assert short_forms(engine.events) == ["+a.service", "+b.service", "-b.service"]
        assert [name for name, _ in before.requests] == ["open", "list", "close"]
        after.starts(B)
        assert engine.ids == {"a.service", "b.service"}
        assert engine.losses == []


@in_virtual_time
async def test_backend_renewed_during_a_pause_is_tried_at_once() -> None:
    absent, there = Runtime(), Runtime(A)
    absent.plan["open"].extend(failing(BackendAbsent("no")) for _ in range(1000))
    async with following(absent) as engine:
        await asyncio.sleep(300)
        engine.follower.renew(there, interval=1e9)
        await asyncio.sleep(0.001)
        assert engine.ids == {"a.service"}


@in_virtual_time
async def test_backend_renewed_while_it_connects_connects_again() -> None:
    silent, there = Runtime(), Runtime(A)
    silent.plan["open"].append(never)
    async with following(silent, settled=False) as engine:
        await asyncio.sleep(1)
        engine.follower.renew(there, interval=1e9)
        await asyncio.sleep(0.001)
        assert engine.ids == {"a.service"}
        assert engine.losses == []


@in_virtual_time
async def test_runtime_that_never_answers_is_not_overdue_but_lost() -> None:
    runtime = Runtime(A)
    runtime.plan["open"].append(never)
    runtime.plan["list"].append(never)
    async with following(runtime, settled=False) as engine:
        for _ in range(int(OPEN_TIMEOUT + LIST_TIMEOUT) * 3):
            await asyncio.sleep(1)
            assert engine.follower.overdue() == ""
        assert len(engine.losses) == 2


@in_virtual_time
async def test_session_that_ignores_its_timeout_is_overdue() -> None:
    runtime = Runtime(A)

    async def ignore_cancellation() -> None:
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                if engine.follower.overdue():
                    raise

    runtime.plan["list"].append(ignore_cancellation)
    async with following(runtime, settled=False) as engine:
        await asyncio.sleep(2 * LIST_TIMEOUT - 1)
        assert engine.follower.overdue() == ""
        await asyncio.sleep(2)
        assert engine.follower.overdue() == "systemd: listing did not end in time"
