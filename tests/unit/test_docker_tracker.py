"""What becomes of each event, answer and list: pure, with an engine that only a test plays."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from koi_agent.backends.docker.containers import Container
from koi_agent.backends.docker.events import Event
from koi_agent.backends.docker.inspect_queue import InspectQueue
from koi_agent.backends.docker.inspections import Inspected
from koi_agent.backends.docker.listeners import HostPorts
from koi_agent.backends.docker.tracker import STOP_PATIENCE, Tracker
from koi_agent.core.events import Gone, Seen
from koi_agent.core.instance import Health, Instance, InstanceState
from koi_agent.host.listeners import ListenerTable

WEB = "a" * 64
DB = "b" * 64
RAN = Inspected(main_pid=7, started_at="2026-11-24T01:00:00Z")


def container(id_: str = WEB, **fields: Any) -> Container:
    plain = {
        "backend": "docker",
        "name": "web",
        "state": InstanceState.RUNNING,
        "status": "running",
        "inspected": RAN,
    }
    return Container(**{**plain, "id": id_, **fields})


def taken(inquiries: InspectQueue) -> list[str]:
    """Take all ids out, in order, without waiting for more."""
    ids = []
    while id_ := inquiries.first():
        ids.append(id_)
        inquiries.answered(id_)
    return ids


class Engine:
    """The tracker, what it says, and what it wishes to be asked."""

    name = "docker"

    def __init__(self, *known: Container) -> None:
        self.said: list[Seen | Gone] = []
        self.inquiries = InspectQueue()
        self.tracker = Tracker(
            self.name,
            {one.id: one for one in known},
            self.said.append,
            self.inquiries,
            HostPorts(ListenerTable(), lambda _id: None),
        )

    def hears(self, action: str, id_: str = WEB, **fields: Any) -> None:
        self.tracker.take(Event(action=action, id=id_, **fields), 1.0)

    def asked(self) -> list[str]:
        """Take out what is wished to be asked, in order."""
        return taken(self.inquiries)

    @property
    def seen(self) -> Instance:
        last = self.said[-1]
        assert isinstance(last, Seen)
        return last.instance

    @property
    def told(self) -> list[str]:
        """Write what was said shortly: + and a state, or - and a reason."""
        return [
            f"+{one.instance.state_detail}" if isinstance(one, Seen) else f"-{one.reason}"
            for one in self.said
        ]


def test_start_is_told_when_it_was_looked_at() -> None:
    engine = Engine()
    engine.hears("start", name="web")
    assert engine.told == []
    assert engine.asked() == [WEB]
    engine.tracker.answered(WEB, container(), 1.0)
    assert engine.told == ["+running"]
    assert engine.seen.main_pid == 7


def test_short_life_is_told_whole_though_nobody_could_look_at_it() -> None:
    engine = Engine()
    engine.hears("start", name="web", image="busybox", labels={"koi.name": "Web"})
    engine.hears("die", exit_code=3)
    engine.asked()
    engine.tracker.answered(WEB, None, 1.0)
    assert engine.told == ["+running", "-exited with 3"]
    first = engine.said[0]
    assert isinstance(first, Seen)
    assert (first.instance.name, first.instance.image) == ("web", "busybox")
    assert first.instance.metadata.name == "Web"


def test_one_that_can_not_be_inspected_is_told_as_it_was_heard() -> None:
    engine = Engine()
    engine.hears("start", name="web")
    engine.tracker.unanswered(WEB)
    engine.tracker.unanswered(WEB)
    assert engine.told == ["+running"]


def test_end_is_told_at_once_where_nobody_starts_it_again() -> None:
    engine = Engine(container())
    engine.hears("die", exit_code=0)
    assert engine.told == ["-exited with 0"]
    engine.hears("stop")
    engine.hears("destroy")
    assert engine.told == ["-exited with 0"]
    assert engine.asked() == []


def test_end_of_one_never_inspected_is_asked_about() -> None:
    engine = Engine(container(inspected=None))
    engine.hears("die", exit_code=1)
    assert (engine.told, engine.asked()) == ([], [WEB])
    engine.tracker.answered(WEB, container(state=InstanceState.STOPPED), 1.0)
    assert engine.told == ["-exited with 1"]


def test_first_end_in_a_crash_loop_is_no_end() -> None:
    engine = Engine()
    engine.hears("start", name="web")
    engine.hears("die", exit_code=1)
    assert engine.asked() == [WEB]
    waits = replace(RAN, restart_policy="always", restart_count=1, main_pid=0)
    restarting = container(state=InstanceState.RESTARTING, status="restarting", inspected=waits)
    engine.tracker.answered(WEB, restarting, 1.0)
    engine.tracker.close()
    assert engine.told == ["+running", "+restarting"]


def test_end_and_start_of_one_never_inspected_are_a_stop_and_a_start() -> None:
    engine = Engine(container(inspected=None))
    engine.hears("die", exit_code=1)
    engine.hears("start")
    engine.tracker.answered(WEB, container(), 1.0)
    engine.tracker.answered(WEB, container(inspected=replace(RAN, main_pid=8)), 1.0)
    assert engine.told == ["-restarted", "+running", "+running"]


def test_answer_older_than_a_list_without_it_is_asked_for_again() -> None:
    engine = Engine(container())
    engine.inquiries.put(WEB, urgent=True)
    assert engine.inquiries.first() == WEB
    engine.tracker.not_listed(set())
    assert not engine.inquiries.answered(WEB)
    assert engine.asked() == [WEB]


@pytest.mark.parametrize("trouble", ["unanswered", "close"])
def test_end_that_nobody_can_be_asked_about_is_believed(trouble: str) -> None:
    engine = Engine(container(inspected=None), container(DB, inspected=None))
    engine.hears("die", exit_code=1)
    if trouble == "close":
        engine.tracker.close()
    else:
        engine.tracker.unanswered(WEB)
    assert engine.told == ["-exited with 1"]


def test_end_of_one_that_may_be_started_again_is_left_to_the_next_connection() -> None:
    engine = Engine(container(inspected=replace(RAN, restart_policy="always")))
    engine.hears("die", exit_code=1)
    engine.tracker.close()
    assert engine.told == []


@pytest.mark.parametrize("policy", ["always", "on-failure"])
def test_end_of_one_that_may_be_started_again_is_asked_about(policy: str) -> None:
    engine = Engine(container(inspected=replace(RAN, restart_policy=policy)))
    engine.hears("die", exit_code=1)
    assert engine.told == []
    assert engine.asked() == [WEB]
    engine.tracker.answered(WEB, container(state=InstanceState.STOPPED), 1.0)
    assert engine.told == ["-exited with 1"]


def test_restart_by_the_engine_is_one_long_run() -> None:
    engine = Engine(container(inspected=replace(RAN, restart_policy="always")))
    engine.hears("die", exit_code=1)
    waits = replace(RAN, restart_count=1, main_pid=0)
    restarting = container(state=InstanceState.RESTARTING, status="restarting", inspected=waits)
    engine.tracker.answered(WEB, restarting, 1.0)
    engine.hears("start")
    again = replace(RAN, restart_count=1, main_pid=8, started_at="later")
    engine.tracker.answered(WEB, container(inspected=again), 1.0)
    assert engine.told == ["+restarting", "+running"]
    assert engine.seen.main_pid == 8


def test_restart_that_nobody_told_of_is_a_stop_and_a_start() -> None:
    engine = Engine(container())
    engine.tracker.answered(WEB, container(inspected=replace(RAN, started_at="later")), 1.0)
    assert engine.told == ["-restarted", "+running"]


async def test_restart_on_demand_is_a_stop_and_a_start() -> None:
    engine = Engine(container())
    for action in ("kill", "die", "stop", "start", "restart"):
        engine.hears(action, signal=15 if action == "kill" else 0, exit_code=143)
    assert engine.asked() == [WEB]
    engine.tracker.answered(WEB, container(inspected=replace(RAN, started_at="later")), 1.0)
    assert engine.told == ["+stopping", "-exited with 143", "+running"]
    engine.inquiries.close()


@pytest.mark.parametrize("number", [1, 10, 0])
def test_signal_that_does_not_end_it_changes_nothing(number: int) -> None:
    engine = Engine(container())
    engine.hears("kill", signal=number)
    assert engine.told == []


@pytest.mark.parametrize(("number", "own"), [(9, 0), (15, 0), (3, 3)])
async def test_signal_that_ends_it_is_told_before_it_ended(number: int, own: int) -> None:
    engine = Engine(container(inspected=replace(RAN, stop_signal=own)))
    engine.hears("kill", signal=number)
    assert engine.told == ["+stopping"]
    assert engine.seen.state is InstanceState.RUNNING
    engine.inquiries.close()


async def test_one_that_outlives_its_signal_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("koi_agent.backends.docker.tracker.STOP_PATIENCE", 0.01)
    assert STOP_PATIENCE > 10
    engine = Engine(container())
    engine.hears("kill", signal=15)
    engine.tracker.listed([container()])
    assert [one.state_detail for one in engine.tracker.instances([WEB])] == ["stopping"]
    async with asyncio.timeout(1):
        assert await engine.inquiries.take() == WEB
    engine.tracker.answered(WEB, container(), 1.0)
    assert engine.told == ["+stopping", "+running"]


def test_pause_and_name_need_no_question() -> None:
    engine = Engine(container())
    engine.hears("pause")
    assert engine.seen.state is InstanceState.PAUSED
    engine.hears("unpause")
    engine.hears("rename", name="shop")
    assert (engine.seen.name, engine.seen.state) == ("shop", InstanceState.RUNNING)
    engine.hears("rename", name="\x1b[31m")
    assert "\x1b" not in engine.seen.name
    assert engine.asked() == []


def test_health_is_believed_and_only_bad_health_is_asked_about() -> None:
    engine = Engine(container(health=Health.STARTING))
    engine.hears("health_status", health=Health.HEALTHY)
    engine.hears("health_status", health=Health.HEALTHY)
    assert [one.instance.health for one in engine.said if isinstance(one, Seen)] == [Health.HEALTHY]
    assert engine.asked() == []
    engine.hears("health_status", health=Health.UNHEALTHY)
    assert engine.seen.health is Health.UNHEALTHY
    assert engine.asked() == [WEB]


@pytest.mark.parametrize("action", ["update", "connect", "disconnect", "restart", "stop"])
def test_what_an_event_does_not_tell_is_asked(action: str) -> None:
    engine = Engine(container())
    engine.hears(action)
    assert engine.asked() == [WEB]
    engine.hears(action, DB)
    assert engine.asked() == []


def test_end_for_lack_of_memory_is_called_so() -> None:
    engine = Engine(container(inspected=replace(RAN, restart_policy="always")))
    engine.hears("oom")
    engine.hears("die", exit_code=137)
    engine.tracker.answered(WEB, None, 1.0)
    engine.hears("oom")
    assert engine.told == ["-out of memory"]


def test_removal_is_an_end() -> None:
    engine = Engine(container())
    engine.hears("destroy")
    assert engine.told == ["-removed"]


def test_list_is_not_believed_on_what_events_spoke_of() -> None:
    engine = Engine(container(), container(DB, name="db"))
    engine.hears("die", exit_code=0)
    engine.hears("pause", DB)
    engine.tracker.not_listed({WEB, DB})
    engine.tracker.listed([container(), container(DB, name="db")])
    assert engine.tracker.known.keys() == {DB}
    assert engine.tracker.known[DB].state is InstanceState.PAUSED


def test_list_is_believed_on_all_else() -> None:
    engine = Engine(container())
    engine.tracker.not_listed({DB})
    engine.tracker.listed([container(DB)])
    assert engine.tracker.known.keys() == {DB}


@pytest.fixture
def joined() -> Engine:
    target = container(ips=("172.17.0.2",))
    return Engine(target, container(DB, name="db", network=f"container:{WEB}"))


def test_who_joined_a_network_has_its_addresses(joined: Engine) -> None:
    (db,) = joined.tracker.instances([DB])
    assert db.ips == ("172.17.0.2",)
    joined.tracker.answered(WEB, container(ips=("172.17.0.9",)), 1.0)
    assert [one.instance.ips for one in joined.said if isinstance(one, Seen)] == [
        ("172.17.0.9",),
        ("172.17.0.9",),
    ]


def test_who_joined_a_network_that_is_gone_has_none(joined: Engine) -> None:
    joined.hears("die", exit_code=0)
    assert joined.seen.id == DB
    assert joined.seen.ips == ()
    joined.hears("die", DB, exit_code=0)
    joined.tracker.answered(WEB, container(), 1.0)
    assert joined.seen.id == WEB


def test_an_older_answer_than_the_last_event_is_asked_for_again() -> None:
    inquiries = InspectQueue()
    inquiries.put(WEB, urgent=True)
    assert inquiries.first() == WEB
    inquiries.spoken(WEB)
    assert not inquiries.answered(WEB)
    assert inquiries.first() == WEB
    assert inquiries.answered(WEB)


def test_what_an_event_spoke_of_is_asked_first_and_once() -> None:
    inquiries = InspectQueue()
    for id_ in (WEB, DB):
        inquiries.put(id_, urgent=False)
    inquiries.put(DB, urgent=True)
    inquiries.put(DB, urgent=True)
    assert taken(inquiries) == [DB, WEB]


class Podman(Engine):
    """The same, of the other engine."""

    name = "podman"


async def test_podman_that_starts_one_again_says_so_after_its_end() -> None:
    engine = Podman(container(inspected=replace(RAN, restart_policy="always")))
    engine.hears("die", exit_code=0)
    assert engine.asked() == []  # it is given a moment to say so
    engine.hears("restart")
    engine.tracker.answered(WEB, container(state=InstanceState.STOPPED), 1.0)
    engine.hears("start")
    again = replace(RAN, main_pid=8, started_at="later")
    engine.tracker.answered(WEB, container(inspected=again), 1.0)
    assert engine.told == ["+restarting", "+running"]
    engine.inquiries.close()


async def test_podman_that_said_so_and_does_not_start_it_is_believed_in_the_end() -> None:
    engine = Podman(container(inspected=replace(RAN, restart_policy="always")))
    engine.hears("die", exit_code=2)
    engine.hears("restart")
    for _ in range(2):
        engine.tracker.answered(WEB, container(state=InstanceState.STOPPED), 1.0)
    assert engine.told == ["+restarting", "-exited with 2"]
    engine.inquiries.close()


async def test_restart_of_podmans_on_demand_is_a_stop_and_a_start() -> None:
    engine = Podman(container())
    engine.hears("restart")
    engine.hears("die", exit_code=0)
    engine.hears("start")
    engine.tracker.answered(WEB, container(inspected=replace(RAN, started_at="later")), 1.0)
    assert engine.told == ["-exited with 0", "+running"]
    engine.inquiries.close()
