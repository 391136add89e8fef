"""How events, inspections and lists change containers, without an engine."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from koi_agent.backends.docker.containers import (
    Container,
    Inspected,
    container_from_inspection,
    container_from_list,
)
from koi_agent.backends.docker.events import Event
from koi_agent.backends.docker.kinds import DOCKER, PODMAN, Kind
from koi_agent.backends.docker.table import ContainerTable
from koi_agent.backends.docker.tracker import Tracker
from koi_agent.backends.docker.tunables import Tunables
from koi_agent.backends.http_engine.inspect_queue import InspectQueue
from koi_agent.core.events import Gone, Seen
from koi_agent.core.instance import Health, Instance, InstanceState
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.owner_ports import HostPorts
from tests.real.agents import eventually
from tests.unit.engine_records import port

WEB = "a" * 64
DB = "b" * 64
INSPECTED = Inspected(main_pid=7, started_at="2026-11-24T01:00:00Z")


def container(id_: str = WEB, **fields: Any) -> Container:
    plain = {
        "name": "web",
        "state": InstanceState.RUNNING,
        "status": "running",
        "inspected": INSPECTED,
    }
    return Container(**{**plain, "id": id_, **fields})


def queued(queue: InspectQueue) -> list[str]:
    """Return all queued ids, in order, and empty the queue."""
    ids = []
    while id_ := queue.get_nowait():
        ids.append(id_)
        queue.finish(id_)
    return ids


class Engine:
    """A tracker, what it delivered, and what it queued for an inspection."""

    def __init__(
        self, *known: Container, kind: Kind = DOCKER, tunables: Tunables | None = None
    ) -> None:
        self.delivered: list[Seen | Gone] = []
        self.queue = InspectQueue()
        containers = {one.id: one for one in known}
        ports = HostPorts(ListenerTable(), lambda _id: None)
        self.table = ContainerTable(
            kind.name, containers, self.delivered.append, ports, image_labels=True
        )
        self.tracker = Tracker(self.table, kind, self.queue, tunables or Tunables())

    def emits(self, action: str, id_: str = WEB, **fields: Any) -> None:
        self.tracker.apply_event(Event(action=action, id=id_, **fields), 1.0)

    def queued(self) -> list[str]:
        """Return the ids that are queued, in order, and empty the queue."""
        return queued(self.queue)

    @property
    def seen(self) -> Instance:
        last = self.delivered[-1]
        assert isinstance(last, Seen)
        return last.instance

    @property
    def brief(self) -> list[str]:
        """Return the deliveries as ``+`` and a state, or ``-`` and a reason."""
        return [
            f"+{one.instance.state_detail}" if isinstance(one, Seen) else f"-{one.reason}"
            for one in self.delivered
        ]


def test_a_start_is_published_after_its_inspection() -> None:
    engine = Engine()
    engine.emits("start", name="web")
    assert engine.brief == []
    assert engine.queued() == [WEB]
    engine.tracker.apply_inspection(WEB, container(), 1.0)
    assert engine.brief == ["+running"]
    assert engine.seen.main_pid == 7


def test_a_short_run_is_published_though_it_ended_before_its_inspection() -> None:
    engine = Engine()
    engine.emits("start", name="web", image="busybox", labels={"koi.name": "Web"})
    engine.emits("die", exit_code=3)
    engine.queued()
    engine.tracker.apply_inspection(WEB, None, 1.0)
    assert engine.brief == ["+running", "-exited with 3"]
    first = engine.delivered[0]
    assert isinstance(first, Seen)
    assert (first.instance.name, first.instance.image) == ("web", "busybox")
    assert first.instance.metadata.name == "Web"


def test_a_container_that_can_not_be_inspected_is_published_from_its_event() -> None:
    engine = Engine()
    engine.emits("start", name="web")
    engine.tracker.inspection_failed(WEB)
    engine.tracker.inspection_failed(WEB)
    assert engine.brief == ["+running"]


def test_an_end_without_a_restart_policy_is_published_at_once() -> None:
    engine = Engine(container())
    engine.emits("die", exit_code=0)
    assert engine.brief == ["-exited with 0"]
    engine.emits("stop")
    engine.emits("destroy")
    assert engine.brief == ["-exited with 0"]
    assert engine.queued() == []


def test_the_end_of_an_uninspected_container_is_inspected() -> None:
    engine = Engine(container(inspected=None))
    engine.emits("die", exit_code=1)
    assert (engine.brief, engine.queued()) == ([], [WEB])
    engine.tracker.apply_inspection(WEB, container(state=InstanceState.STOPPED), 1.0)
    assert engine.brief == ["-exited with 1"]


def test_the_first_end_in_a_crash_loop_is_not_a_stop() -> None:
    engine = Engine()
    engine.emits("start", name="web")
    engine.emits("die", exit_code=1)
    assert engine.queued() == [WEB]
    waits = replace(INSPECTED, restart_policy="always", restart_count=1, main_pid=0)
    restarting = container(state=InstanceState.RESTARTING, status="restarting", inspected=waits)
    engine.tracker.apply_inspection(WEB, restarting, 1.0)
    engine.tracker.close()
    assert engine.brief == ["+running", "+restarting"]


def test_an_end_and_a_start_of_an_uninspected_container_are_a_stop_and_a_start() -> None:
    engine = Engine(container(inspected=None))
    engine.emits("die", exit_code=1)
    engine.emits("start")
    engine.tracker.apply_inspection(WEB, container(), 1.0)
    engine.tracker.apply_inspection(WEB, container(inspected=replace(INSPECTED, main_pid=8)), 1.0)
    assert engine.brief == ["-restarted", "+running", "+running"]


def test_an_inspection_older_than_a_list_is_repeated() -> None:
    engine = Engine(container())
    engine.queue.put(WEB, urgent=True)
    assert engine.queue.get_nowait() == WEB
    engine.tracker.forget_unlisted(set())
    assert not engine.queue.finish(WEB)
    assert engine.queued() == [WEB]


@pytest.mark.parametrize("trouble", ["inspection_failed", "close"])
def test_an_end_that_can_not_be_inspected_is_published(trouble: str) -> None:
    engine = Engine(container(inspected=None), container(DB, inspected=None))
    engine.emits("die", exit_code=1)
    if trouble == "close":
        engine.tracker.close()
    else:
        engine.tracker.inspection_failed(WEB)
    assert engine.brief == ["-exited with 1"]


def test_the_end_of_a_container_with_a_restart_policy_is_left_to_the_next_connection() -> None:
    engine = Engine(container(inspected=replace(INSPECTED, restart_policy="always")))
    engine.emits("die", exit_code=1)
    engine.tracker.close()
    assert engine.brief == []


@pytest.mark.parametrize("policy", ["always", "on-failure"])
def test_the_end_of_a_container_with_a_restart_policy_is_inspected(policy: str) -> None:
    engine = Engine(container(inspected=replace(INSPECTED, restart_policy=policy)))
    engine.emits("die", exit_code=1)
    assert engine.brief == []
    assert engine.queued() == [WEB]
    engine.tracker.apply_inspection(WEB, container(state=InstanceState.STOPPED), 1.0)
    assert engine.brief == ["-exited with 1"]


def test_a_restart_by_the_engine_continues_the_run() -> None:
    engine = Engine(container(inspected=replace(INSPECTED, restart_policy="always")))
    engine.emits("die", exit_code=1)
    waits = replace(INSPECTED, restart_count=1, main_pid=0)
    restarting = container(state=InstanceState.RESTARTING, status="restarting", inspected=waits)
    engine.tracker.apply_inspection(WEB, restarting, 1.0)
    engine.emits("start")
    again = replace(INSPECTED, restart_count=1, main_pid=8, started_at="later")
    engine.tracker.apply_inspection(WEB, container(inspected=again), 1.0)
    assert engine.brief == ["+restarting", "+running"]
    assert engine.seen.main_pid == 8


def test_a_restart_without_events_is_a_stop_and_a_start() -> None:
    engine = Engine(container())
    engine.tracker.apply_inspection(
        WEB, container(inspected=replace(INSPECTED, started_at="later")), 1.0
    )
    assert engine.brief == ["-restarted", "+running"]


async def test_a_restart_on_request_is_a_stop_and_a_start() -> None:
    engine = Engine(container())
    for action in ("kill", "die", "stop", "start", "restart"):
        engine.emits(action, signal=15 if action == "kill" else 0, exit_code=143)
    assert engine.queued() == [WEB]
    engine.tracker.apply_inspection(
        WEB, container(inspected=replace(INSPECTED, started_at="later")), 1.0
    )
    assert engine.brief == ["-exited with 143", "+running"]


@pytest.mark.parametrize("number", [1, 10, 0])
def test_a_signal_that_does_not_end_it_changes_nothing(number: int) -> None:
    engine = Engine(container())
    engine.emits("kill", signal=number)
    assert engine.brief == []


@pytest.mark.parametrize(("number", "own"), [(9, 0), (15, 0), (3, 3)])
async def test_a_signal_that_does_not_end_it_at_once_is_published(number: int, own: int) -> None:
    known = container(inspected=replace(INSPECTED, stop_signal=own))
    engine = Engine(known, tunables=Tunables(stop_notice=0.01))
    engine.emits("kill", signal=number)
    assert engine.brief == []
    await eventually(lambda: engine.brief == ["+stopping"], "it is published as stopping")
    assert engine.seen.state is InstanceState.RUNNING
    engine.queue.close()


@pytest.mark.parametrize("action", ["die", "destroy", "pause"])
async def test_a_container_with_a_newer_event_is_not_published_as_stopping(action: str) -> None:
    engine = Engine(container(), tunables=Tunables(stop_notice=0.01))
    engine.emits("kill", signal=15)
    engine.emits(action)
    await asyncio.sleep(0.05)
    assert "+stopping" not in engine.brief
    assert len(engine.brief) == 1


@pytest.mark.parametrize("is_announced", [True, False], ids=["event", "inspection"])
async def test_a_container_that_the_engine_restarts_is_not_published_as_stopping(
    *, is_announced: bool
) -> None:
    policy = replace(INSPECTED, restart_policy="always")
    engine = Engine(container(inspected=policy), tunables=Tunables(stop_notice=0.01))
    engine.emits("kill", signal=15)
    if is_announced:
        engine.emits("die", exit_code=143)
    else:
        again = replace(INSPECTED, started_at="later")
        engine.tracker.apply_inspection(WEB, container(inspected=again), 1.0)
    await asyncio.sleep(0.05)
    assert "+stopping" not in engine.brief
    engine.queue.close()


async def test_a_container_that_is_sent_many_signals_is_published_as_stopping() -> None:
    engine = Engine(container(), tunables=Tunables(stop_notice=0.05))
    for _ in range(10):
        engine.emits("kill", signal=15)
        await asyncio.sleep(0.02)
    assert engine.brief == ["+stopping"]
    engine.queue.close()


async def test_a_paused_container_that_survives_its_stop_signal_is_published_as_stopping() -> None:
    engine = Engine(container(), tunables=Tunables(stop_notice=0.01))
    for action in ("pause", "kill", "unpause"):  # Docker's events of "docker stop"
        engine.emits(action, signal=15 if action == "kill" else 0)
    await eventually(lambda: engine.brief[-1] == "+stopping", "it is published as stopping")
    assert engine.brief == ["+paused", "+running", "+stopping"]
    engine.queue.close()


async def test_a_closed_tracker_publishes_nothing() -> None:
    engine = Engine(container(), tunables=Tunables(stop_notice=0.01))
    engine.emits("kill", signal=15)
    engine.tracker.close()
    await asyncio.sleep(0.05)
    assert engine.brief == []


async def test_a_container_that_survives_its_stop_signal_is_inspected() -> None:
    engine = Engine(container(), tunables=Tunables(stop_notice=0, stop_check=0.01))
    engine.emits("kill", signal=15)
    await eventually(lambda: engine.brief == ["+stopping"], "it is published as stopping")
    engine.tracker.apply_list([container()])
    assert [one.state_detail for one in engine.table.instances([WEB])] == ["stopping"]
    async with asyncio.timeout(60):
        assert await engine.queue.get() == WEB
    engine.tracker.apply_inspection(WEB, container(), 1.0)
    assert engine.brief == ["+stopping", "+running"]


@pytest.mark.parametrize("restarts", [False, True], ids=["stopped", "restarted"])
async def test_a_container_that_has_stopped_is_not_inspected_for_its_stop_signal(
    *, restarts: bool
) -> None:
    tunables = Tunables(stop_notice=0.01, stop_check=0.01)
    engine = Engine(container(), container(DB), tunables=tunables)
    engine.emits("kill", signal=15)
    engine.emits("kill", DB, signal=15)  # its check comes after that of the other one
    engine.emits("die", exit_code=143)
    if restarts:
        engine.emits("start")
        assert await engine.queue.get() == WEB
        engine.queue.finish(WEB)
        engine.tracker.apply_inspection(WEB, container(), 1.0)
    async with asyncio.timeout(60):
        assert await engine.queue.get() == DB
    assert engine.queued() == []


def test_pause_and_rename_need_no_inspection() -> None:
    engine = Engine(container())
    engine.emits("pause")
    assert engine.seen.state is InstanceState.PAUSED
    engine.emits("unpause")
    engine.emits("rename", name="shop")
    assert (engine.seen.name, engine.seen.state) == ("shop", InstanceState.RUNNING)
    engine.emits("rename", name="\x1b[31m")
    assert "\x1b" not in engine.seen.name
    assert engine.queued() == []


def test_health_is_applied_and_only_bad_health_is_inspected() -> None:
    engine = Engine(container(health=Health.STARTING))
    engine.emits("health_status", health=Health.HEALTHY)
    engine.emits("health_status", health=Health.HEALTHY)
    assert [one.instance.health for one in engine.delivered if isinstance(one, Seen)] == [
        Health.HEALTHY
    ]
    assert engine.queued() == []
    engine.emits("health_status", health=Health.UNHEALTHY)
    assert engine.seen.health is Health.UNHEALTHY
    assert engine.queued() == [WEB]


@pytest.mark.parametrize("action", ["update", "connect", "disconnect", "restart", "stop"])
def test_an_event_without_the_new_state_is_inspected(action: str) -> None:
    engine = Engine(container())
    engine.emits(action)
    assert engine.queued() == [WEB]
    engine.emits(action, DB)
    assert engine.queued() == []


def test_an_end_for_lack_of_memory_says_so() -> None:
    engine = Engine(container(inspected=replace(INSPECTED, restart_policy="always")))
    engine.emits("oom")
    engine.emits("die", exit_code=137)
    engine.tracker.apply_inspection(WEB, None, 1.0)
    engine.emits("oom")
    assert engine.brief == ["-out of memory"]


def test_a_removal_is_a_stop() -> None:
    engine = Engine(container())
    engine.emits("destroy")
    assert engine.brief == ["-removed"]


def test_a_list_is_not_applied_to_containers_with_recent_events() -> None:
    engine = Engine(container(), container(DB, name="db"))
    engine.emits("die", exit_code=0)
    engine.emits("pause", DB)
    engine.tracker.forget_unlisted({WEB, DB})
    engine.tracker.apply_list([container(), container(DB, name="db")])
    assert engine.table.containers.keys() == {DB}
    assert engine.table.containers[DB].state is InstanceState.PAUSED


def test_a_list_is_applied_to_all_other_containers() -> None:
    engine = Engine(container())
    engine.tracker.forget_unlisted({DB})
    engine.tracker.apply_list([container(DB)])
    assert engine.table.containers.keys() == {DB}


@pytest.fixture
def joined() -> Engine:
    target = container(ips=("172.17.0.2",))
    return Engine(target, container(DB, name="db", network=f"container:{WEB}"))


def test_a_container_in_a_shared_network_has_its_addresses(joined: Engine) -> None:
    (db,) = joined.table.instances([DB])
    assert db.ips == ("172.17.0.2",)
    joined.tracker.apply_inspection(WEB, container(ips=("172.17.0.9",)), 1.0)
    assert [one.instance.ips for one in joined.delivered if isinstance(one, Seen)] == [
        ("172.17.0.9",),
        ("172.17.0.9",),
    ]


def test_a_container_in_a_network_that_is_gone_has_no_address(joined: Engine) -> None:
    joined.emits("die", exit_code=0)
    assert joined.seen.id == DB
    assert joined.seen.ips == ()
    joined.emits("die", DB, exit_code=0)
    joined.tracker.apply_inspection(WEB, container(), 1.0)
    assert joined.seen.id == WEB


async def test_each_id_wakes_a_worker_that_waits() -> None:
    queue = InspectQueue()
    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(queue.get()) for _ in range(3)]
        await asyncio.sleep(0)
        queue.put("a", urgent=True)
        await asyncio.sleep(0.01)
        assert [one.result() for one in workers if one.done()] == ["a"]
        queue.put("b", urgent=False)
        queue.put("b", urgent=False)
        queue.put("c", urgent=False)
    assert sorted(one.result() for one in workers) == ["a", "b", "c"]


def test_an_inspection_older_than_an_event_is_repeated() -> None:
    queue = InspectQueue()
    queue.put(WEB, urgent=True)
    assert queue.get_nowait() == WEB
    queue.outdate(WEB)
    assert not queue.finish(WEB)
    assert queue.get_nowait() == WEB
    assert queue.finish(WEB)


def test_a_container_with_an_event_is_inspected_first_and_once() -> None:
    queue = InspectQueue()
    for id_ in (WEB, DB):
        queue.put(id_, urgent=False)
    queue.put(DB, urgent=True)
    queue.put(DB, urgent=True)
    assert queued(queue) == [DB, WEB]


async def test_podman_announces_a_restart_after_the_end() -> None:
    engine = Engine(container(inspected=replace(INSPECTED, restart_policy="always")), kind=PODMAN)
    engine.emits("die", exit_code=0)
    assert engine.queued() == []  # Podman gets time to announce a restart
    engine.emits("restart")
    engine.tracker.apply_inspection(WEB, container(state=InstanceState.STOPPED), 1.0)
    engine.emits("start")
    again = replace(INSPECTED, main_pid=8, started_at="later")
    engine.tracker.apply_inspection(WEB, container(inspected=again), 1.0)
    assert engine.brief == ["+restarting", "+running"]
    engine.queue.close()


async def test_a_restart_that_podman_announced_and_did_not_do_is_a_stop() -> None:
    engine = Engine(container(inspected=replace(INSPECTED, restart_policy="always")), kind=PODMAN)
    engine.emits("die", exit_code=2)
    engine.emits("restart")
    stopped = container(state=InstanceState.STOPPED)
    engine.tracker.apply_inspection(WEB, stopped, 1.1)
    engine.tracker.apply_inspection(WEB, stopped, 2.0)
    assert engine.brief == ["+restarting"]
    engine.tracker.apply_inspection(WEB, stopped, 1.0 + Tunables().restart_check)
    assert engine.brief == ["+restarting", "-exited with 2"]
    engine.queue.close()


@pytest.mark.parametrize("listed_after", [0.0, 5.0])
async def test_a_list_leaves_a_restart_that_podman_announced(listed_after: float) -> None:
    engine = Engine(container(inspected=replace(INSPECTED, restart_policy="always")), kind=PODMAN)
    engine.emits("die", exit_code=2)
    engine.emits("restart")
    if listed_after:
        engine.tracker.event_times.clear()
    engine.tracker.forget_unlisted(set())
    engine.tracker.apply_inspection(WEB, container(state=InstanceState.STOPPED), 1.0 + listed_after)
    again = replace(INSPECTED, main_pid=8, started_at="later")
    engine.emits("start")
    engine.tracker.apply_inspection(WEB, container(inspected=again), 2.0 + listed_after)
    assert engine.brief == ["+restarting", "+running"]
    engine.queue.close()


async def test_an_end_after_a_restart_that_podman_announced_is_an_end() -> None:
    engine = Engine(
        container(inspected=replace(INSPECTED, restart_policy="on-failure")), kind=PODMAN
    )
    for action in ("die", "restart", "start", "die"):
        engine.emits(action, exit_code=2)
    engine.tracker.apply_inspection(WEB, container(state=InstanceState.STOPPED), 1.5)
    assert engine.brief == ["+restarting", "-exited with 2"]
    engine.queue.close()


async def test_a_stop_ends_a_restart_that_podman_announced() -> None:
    engine = Engine(container(inspected=replace(INSPECTED, restart_policy="always")), kind=PODMAN)
    engine.emits("die", exit_code=2)
    engine.emits("restart")
    engine.emits("stop")
    engine.tracker.apply_inspection(WEB, container(state=InstanceState.STOPPED), 1.1)
    assert engine.brief == ["+restarting", "-exited with 2"]
    engine.queue.close()


async def test_a_start_whose_inspection_fails_does_not_end_the_run() -> None:
    engine = Engine(container(inspected=replace(INSPECTED, restart_policy="always")))
    engine.emits("die", exit_code=1)
    engine.emits("start")
    engine.tracker.inspection_failed(WEB)
    assert engine.brief == []
    engine.emits("die", exit_code=1)
    engine.tracker.inspection_failed(WEB)
    assert engine.brief == ["-exited with 1"]
    engine.queue.close()


def test_a_list_is_delivered_for_a_container_that_was_delivered_since_its_request() -> None:
    engine = Engine(container(health=Health.STARTING), container(DB, health=Health.STARTING))
    engine.table.begin_list()
    engine.table.republish(WEB)
    engine.tracker.apply_list([container(one, health=Health.HEALTHY) for one in (WEB, DB)])
    engine.table.end_list()
    assert [one.instance.id for one in engine.delivered if isinstance(one, Seen)] == [WEB, WEB]
    assert engine.seen.health is Health.HEALTHY


async def test_a_failed_inspection_leaves_what_a_list_has_published() -> None:
    engine = Engine()
    engine.emits("start", name="web")
    engine.tracker.event_times.clear()
    engine.tracker.apply_list([container(inspected=None, ports=(port(80, 8080),))])
    engine.tracker.inspection_failed(WEB)
    assert engine.brief == []
    assert engine.table.containers[WEB].ports


async def test_a_restart_of_podman_on_request_is_a_stop_and_a_start() -> None:
    engine = Engine(container(), kind=PODMAN)
    engine.emits("restart")
    engine.emits("die", exit_code=0)
    engine.emits("start")
    engine.tracker.apply_inspection(
        WEB, container(inspected=replace(INSPECTED, started_at="later")), 1.0
    )
    assert engine.brief == ["-exited with 0", "+running"]
    engine.queue.close()


PUBLISHED = {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}
BETWEEN = {"Status": "restarting", "Restarting": True, "ExitCode": 1}


def test_between_two_runs_the_ports_of_the_last_run_are_kept() -> None:
    engine = Engine(container(ports=(port(80, 8080),), ips=("172.17.0.2",)))
    records: list[dict[str, Any]] = [{}, {"HostConfig": {"PortBindings": PUBLISHED}}]
    for record in records:
        between = container_from_inspection({"Id": WEB, "State": BETWEEN, **record}, DOCKER)
        engine.tracker.apply_inspection(WEB, between, 1.0)
        assert engine.seen.state is InstanceState.RESTARTING
        assert (engine.seen.ports, engine.seen.ips) == ((port(80, 8080),), ("172.17.0.2",))
    listed = container_from_list(
        {"Id": WEB, "State": "restarting", "Ports": []}, DOCKER, engine.table.containers[WEB]
    )
    assert (listed.ports, listed.ips) == ((port(80, 8080),), ("172.17.0.2",))


def test_first_seen_between_two_runs_the_requested_ports_count() -> None:
    engine = Engine()
    first = {"Id": WEB, "State": BETWEEN, "HostConfig": {"PortBindings": PUBLISHED}}
    engine.tracker.apply_inspection(WEB, container_from_inspection(first, DOCKER), 1.0)
    assert engine.seen.ports == (port(80, 8080),)


def test_next_run_has_its_own_ports() -> None:
    engine = Engine(container(state=InstanceState.RESTARTING, ports=(port(80, 8080),)))
    engine.tracker.apply_inspection(WEB, container(ports=(port(80, 8081),)), 1.0)
    assert engine.seen.ports == (port(80, 8081),)
    running = {"Id": WEB, "State": {"Status": "running"}, "HostConfig": {"PortBindings": PUBLISHED}}
    engine.tracker.apply_inspection(WEB, container_from_inspection(running, DOCKER), 1.0)
    assert not engine.seen.ports


@pytest.mark.parametrize("code", [137, 0, None])
async def test_end_that_only_an_inspection_shows_has_its_exit_code(code: int | None) -> None:
    engine = Engine(container())
    ended = container(state=InstanceState.STOPPED, inspected=replace(INSPECTED, exit_code=code))
    engine.tracker.apply_inspection(WEB, ended, 1.0)
    assert engine.brief == ["-exited" if code is None else f"-exited with {code}"]
