"""A stop of a unit that may restart is decided by the manager, not by time."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koi_agent.core.instance import InstanceState
from tests.unit.unit_table_harness import Harness, Item, changed, path, row, unit_removed

WEB = path("web.service")
DEAD = changed("inactive/dead", pid=0, run=b"a")
QUEUED = changed("inactive/dead", pid=0, run=b"a", restarts=1)
NEXT_RUN = changed("active/running", pid=101, run=b"b", restarts=1)


async def running(*names: str) -> Harness:
    """Return a table with units whose starts were delivered, and no call of them counted."""
    made = Harness()
    for name in names or ("web.service",):
        made.receive(*changed("active/running", name, pid=100, run=b"a", restarts=0))
    await made.answer()
    made.delivered()
    made.systemd.calls.clear()
    return made


def restarts_itself(made: Harness, restarts: int, states: str = "inactive/dead") -> None:
    """Make the manager list web.service as about to start, with this NRestarts."""
    made.systemd.rows = [row("web.service", states, job="start")]
    made.systemd.properties[WEB] = {"NRestarts": restarts}


@pytest.mark.parametrize(
    "rows", [[], [row("web.service", "inactive/dead")], [row("web.service", "failed/failed")]]
)
async def test_unit_that_is_listed_as_dead_without_a_job_has_stopped(rows: list[list[Any]]) -> None:
    made = await running()
    made.systemd.rows = rows
    assert await made.play(DEAD) == ["web gone"]
    assert made.systemd.calls == ["ListUnitsByPatterns"]


@pytest.mark.parametrize(
    "states",
    ["active/running", "activating/start-pre", "activating/auto-restart", "reloading/reload"],
)
async def test_unit_that_is_listed_as_running_has_not_stopped_however_late_its_signal_is(
    states: str,
) -> None:
    made = await running()
    made.systemd.rows = [row("web.service", states)]
    assert await made.play(DEAD) == []
    await made.settle()
    assert await made.play(NEXT_RUN) == ["web active/running"]
    assert made.last["web.service"].main_pid == 101


@pytest.mark.parametrize("dead", [DEAD, QUEUED], ids=["its signal is late", "signaled"])
async def test_unit_whose_restart_is_queued_is_restarting_for_as_long_as_that_takes(
    dead: list[Item],
) -> None:
    made = await running()
    restarts_itself(made, 1)
    assert await made.play(dead) == ["web activating/auto-restart-queued"]
    assert made.last["web.service"].state is InstanceState.RESTARTING
    assert await made.listed() == (["web.service"], set())
    assert await made.play(QUEUED) == []
    assert await made.play(NEXT_RUN) == ["web active/running"]
    assert "web gone" not in made.delivered()


async def test_restart_that_is_cancelled_is_a_stop() -> None:
    made = await running()
    restarts_itself(made, 1)
    await made.play(QUEUED)
    made.systemd.rows = [row("web.service", "inactive/dead")]
    assert await made.play(QUEUED) == ["web gone"]


async def test_restart_that_was_cancelled_without_a_signal_is_not_listed() -> None:
    made = await running()
    restarts_itself(made, 1)
    await made.play(QUEUED)
    made.systemd.rows = [row("web.service", "inactive/dead")]
    assert await made.listed() == ([], set())


async def test_start_that_a_user_has_queued_is_another_run() -> None:
    made = await running()
    restarts_itself(made, 0)
    assert await made.play(DEAD) == ["web gone"]
    again = changed("active/running", pid=101, run=b"b", restarts=0)
    assert await made.play(again) == ["web active/running"]


@pytest.mark.parametrize("job", ["stop", "verify-active", "nop"])
async def test_other_jobs_do_not_start_a_unit(job: str) -> None:
    made = await running()
    made.systemd.rows = [row("web.service", "inactive/dead", job=job)]
    made.systemd.properties[WEB] = {"NRestarts": 1}
    assert await made.play(DEAD) == ["web gone"]


@pytest.mark.parametrize("listed", ["activating/auto-restart", "active/running"])
async def test_first_run_that_restarts_before_its_start_is_received_is_one_run(listed: str) -> None:
    made = Harness()
    made.systemd.rows = [row("web.service", listed)]
    first = changed("failed/failed", pid=0, run=b"a", restarts=0, started=time.monotonic())
    assert await made.play(first) == []
    assert await made.play(NEXT_RUN) == ["web active/running"]


@pytest.mark.parametrize(("restart", "calls"), [("no", 0), ("always", 1), ("on-failure", 1)])
async def test_only_units_that_may_restart_are_asked_about(
    tmp_path: Path, restart: str, calls: int
) -> None:
    file = tmp_path / "web.service"
    file.write_text(f"[Service]\nExecStart=/bin/true\nRestart={restart}\n")
    made = Harness()
    made.systemd.properties[WEB] = {"FragmentPath": str(file)}
    for run in (b"a", b"b"):
        made.receive(*changed("active/running", pid=100, run=run, restarts=0))
        await made.answer()
        made.systemd.calls.clear()
        made.receive(*changed("inactive/dead", pid=0, run=run))
        assert made.delivered()[-1] == ("web active/running" if calls else "web gone")
        await made.settle()
        assert made.systemd.calls == ["ListUnitsByPatterns"] * calls
        assert "web.service" not in made.last


async def test_unit_that_is_unloaded_has_stopped_without_a_question() -> None:
    made = await running()
    made.receive(*DEAD, unit_removed("web.service"))
    assert made.delivered() == ["web gone"]
    await made.settle()
    assert made.systemd.calls == []


async def test_signal_after_the_question_makes_its_answer_old() -> None:
    made = await running()
    made.systemd.rows = [row("web.service", "activating/auto-restart")]
    made.systemd.meanwhile = [("units", [*NEXT_RUN, *changed("inactive/dead", pid=0, run=b"b")])]
    assert await made.play(DEAD) == []
    made.systemd.rows = []
    await made.settle()
    assert made.delivered() == ["web gone"]
    assert made.systemd.calls == ["ListUnitsByPatterns"] * 2


async def test_unit_that_runs_again_before_the_answer_has_not_stopped() -> None:
    made = await running()
    made.systemd.meanwhile = [("units", NEXT_RUN)]
    assert await made.play(DEAD) == ["web active/running"]


@pytest.mark.parametrize("count", [1, 10, 300])
async def test_burst_of_stops_costs_one_question(count: int) -> None:
    names = [f"unit-{number}.service" for number in range(count)]
    made = await running(*names)
    for name in names:
        made.receive(*changed("inactive/dead", name, pid=0, run=b"a"))
    await made.settle()
    assert len(made.delivered()) == count
    assert made.systemd.calls == ["ListUnitsByPatterns"]


async def test_stops_after_a_question_are_asked_by_the_next_one() -> None:
    made = await running("web.service", "late.service")
    late = changed("inactive/dead", "late.service", pid=0, run=b"a")
    made.systemd.meanwhile = [("units", late)]
    assert await made.play(DEAD) == ["web gone"]
    async with asyncio.timeout(60):
        await made.table.deadline()
    await made.settle()
    assert made.delivered() == ["late gone"]


class Restarting:
    """A manager of version 252 that restarts a unit; each step sends signals, or sends them late.

    ``rows`` and ``restarts`` are what it answers after each step.
    """

    STEPS = (
        (changed("inactive/dead", pid=0, run=b"a", restarts=0), "activating/auto-restart", ""),
        (changed("activating/auto-restart", restarts=0), "activating/auto-restart", ""),
        (changed("activating/auto-restart", restarts=1), "activating/auto-restart", "restart"),
        (changed("inactive/dead", pid=0, run=b"a", restarts=1), "inactive/dead", "start"),
        (changed("inactive/dead", pid=101, run=b"b", restarts=1), "active/running", ""),
        (changed("active/running", pid=101, run=b"b", restarts=1), "active/running", ""),
    )

    def __init__(self, made: Harness) -> None:
        self._made = made
        self._late: list[Item] = []

    async def play(self, lag: Callable[[int], bool], asks: Callable[[int], bool]) -> None:
        """Play all steps; ``lag`` holds back the signals of a step, ``asks`` lets time pass."""
        for number, (items, states, job) in enumerate(self.STEPS):
            self._late += items
            self._made.systemd.rows = [row("web.service", states, job)]
            self._made.systemd.properties[WEB] = {"NRestarts": int(number > 1)}
            if not lag(number):
                self._made.receive(*self._late)
                self._late = []
            if asks(number):
                await self._made.settle()
        self._made.receive(*self._late)
        await self._made.settle()


@settings(deadline=None, max_examples=60)
@given(st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5)))
def test_restart_is_one_run_whenever_its_signals_come_and_the_question_is_asked(
    late: set[int], asked: set[int]
) -> None:
    async def play() -> None:
        made = await running()
        await Restarting(made).play(late.__contains__, asked.__contains__)
        assert "web gone" not in made.delivered()
        assert made.last["web.service"].invocation_id == b"b"
        made.systemd.rows = []
        assert await made.play(changed("inactive/dead", pid=0)) == ["web gone"]

    asyncio.run(play())
