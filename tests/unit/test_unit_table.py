"""Changes that a unit table delivers by signals, as recorded from systemd 252 and 257."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koi_agent.backends.systemd.details import CONFIRM
from koi_agent.backends.systemd.stops import COLLECT
from koi_agent.config import SystemdConfig
from koi_agent.core.instance import InstanceState
from tests.unit.unit_table_harness import Harness, Item, changed, path, unit_removed

Read = list[Item]

START = [
    changed("activating/start-pre", pid=0, run=b"a", restarts=0),
    changed("active/running", pid=100, run=b"a", restarts=0),
]
STOP = [
    changed("deactivating/stop-sigterm", pid=100, run=b"a"),
    changed("inactive/dead", pid=0, run=b"a"),
]
RESTART = [
    changed("deactivating/stop-sigterm", pid=100, run=b"a"),
    changed("inactive/dead", pid=0, run=b"a"),
    changed("inactive/dead", pid=0, run=b"b"),
    changed("active/running", pid=101, run=b"b", restarts=0),
]
AUTO_RESTART_252 = [
    changed("inactive/dead", pid=0, run=b"a", restarts=0),
    changed("activating/auto-restart", pid=0, run=b"a", restarts=0),
    changed("activating/auto-restart", pid=0, run=b"a", restarts=1),
    changed("inactive/dead", pid=101, run=b"b", restarts=1),
    changed("active/running", pid=101, run=b"b", restarts=1),
]
AUTO_RESTART_257 = [
    changed("failed/failed-before-auto-restart", pid=0, run=b"a", restarts=0),
    changed("activating/auto-restart", pid=0, run=b"a", restarts=0),
    changed("activating/auto-restart-queued", pid=0, run=b"a", restarts=1),
    changed("active/running", pid=101, run=b"b", restarts=1),
]
VERSIONS = pytest.mark.parametrize(
    "auto_restart", [AUTO_RESTART_252, AUTO_RESTART_257], ids=["252", "257"]
)
WEB = path("web.service")


async def received(*reads: Read, config: SystemdConfig | None = None) -> Harness:
    """Return a table that has received and answered some reads."""
    made = Harness(config)
    for items in reads:
        made.receive(*items)
        await made.answer()
    return made


async def running() -> Harness:
    """Return a table with a web.service whose start was delivered."""
    made = await received(*START)
    made.delivered()
    return made


async def test_start_is_delivered_once_its_files_are_read() -> None:
    made = Harness()
    for items in START:
        made.receive(*items)
    assert made.delivered() == []
    assert await made.reads() == ["web.service"]
    await made.answer()
    assert made.delivered() == ["web active/running"]


async def test_main_process_is_known_whose_signal_is_read_before_that_of_the_state() -> None:
    made = Harness()
    of_service, of_unit = changed("active/running", pid=100, run=b"a", restarts=0)
    made.receive(of_service)
    await made.answer()
    made.receive(of_unit)
    await made.answer()
    assert made.last["web.service"].main_pid == 100


async def test_stop_is_delivered_when_the_unit_stays_dead() -> None:
    made = await running()
    for items in STOP:
        made.receive(*items)
    assert made.delivered() == ["web deactivating/stop-sigterm"]
    await made.settle()
    assert made.delivered() == ["web gone"]
    assert not made.table.has_unit(WEB)


async def test_failure_is_the_reason_of_the_stop() -> None:
    made = await running()
    assert await made.play(changed("failed/failed", pid=0)) == ["web gone"]
    assert made.reasons == ["failed"]


async def test_reset_of_a_failed_unit_delivers_nothing() -> None:
    made = await running()
    assert await made.play(changed("failed/failed", pid=0)) == ["web gone"]
    assert await made.play(changed("inactive/dead", run=b"")) == []


async def test_restart_by_a_job_is_a_stop_and_a_start() -> None:
    made = await running()
    assert await made.play(*RESTART) == [
        "web deactivating/stop-sigterm",
        "web gone",
        "web active/running",
    ]
    assert made.last["web.service"].main_pid == 101


async def test_restart_within_one_read_is_a_stop_and_a_start() -> None:
    made = await running()
    made.receive(*(item for items in RESTART for item in items))
    assert made.delivered() == ["web gone", "web active/running"]


@VERSIONS
async def test_automatic_restart_continues_the_instance(auto_restart: list[Read]) -> None:
    made = await running()
    delivered = await made.play(*auto_restart)
    assert "web gone" not in delivered
    assert "web activating/auto-restart" in delivered
    assert delivered[-1] == "web active/running"
    assert made.last["web.service"].main_pid == 101


@VERSIONS
async def test_restart_after_an_automatic_one_is_a_stop_and_a_start(
    auto_restart: list[Read],
) -> None:
    made = await running()
    await made.play(*auto_restart)
    assert await made.play(changed("active/running", pid=102, run=b"c", restarts=0)) == [
        "web gone",
        "web active/running",
    ]


@VERSIONS
@settings(deadline=None, max_examples=30)
@given(cuts=st.sets(st.integers(1, 10)))
def test_automatic_restart_is_the_same_however_its_signals_are_read(
    auto_restart: list[Read], cuts: set[int]
) -> None:
    items = [item for read in auto_restart for item in read]
    ends = [*sorted(cut for cut in cuts if cut < len(items)), len(items)]

    async def play() -> tuple[list[str], bytes]:
        made = await running()
        for begin, end in zip([0, *ends], ends, strict=False):
            made.receive(*items[begin:end])
        await made.settle()
        return made.delivered(), made.last["web.service"].invocation_id

    delivered, invocation_id = asyncio.run(play())
    assert "web gone" not in delivered
    assert delivered[-1] == "web active/running"
    assert invocation_id == b"b"


async def test_unit_that_waits_for_its_restart_is_restarting() -> None:
    made = await running()
    await made.play(AUTO_RESTART_257[0])
    assert made.last["web.service"].state is InstanceState.RESTARTING


async def test_dead_unit_with_a_main_process_has_not_stopped() -> None:
    made = await running()
    assert (await made.play(*AUTO_RESTART_252[1:4]))[-1] == "web activating/auto-restart"
    assert await made.play(AUTO_RESTART_252[4]) == ["web active/running"]


async def test_unit_that_is_stopped_while_it_waits_for_its_restart_is_gone() -> None:
    made = await running()
    await made.play(*AUTO_RESTART_257[:2])
    assert await made.play(changed("inactive/dead", pid=0)) == ["web gone"]


async def test_oneshot_is_an_instance_while_it_runs() -> None:
    made = await received(changed("activating/start", pid=5, run=b"a"))
    assert made.delivered() == ["web activating/start"]
    assert await made.play(changed("inactive/dead", pid=0)) == ["web gone"]


async def test_oneshot_with_remain_after_exit_is_an_instance_while_it_runs() -> None:
    made = await received(changed("activating/start", pid=5, run=b"a"))
    made.delivered()
    assert await made.play(changed("active/exited", pid=0)) == ["web gone"]
    assert await made.play(changed("deactivating/stop", pid=9)) == ["web deactivating/stop"]
    assert await made.play(changed("inactive/dead", pid=0)) == ["web gone"]


async def test_exited_oneshot_is_an_instance_if_exited_units_are_tracked() -> None:
    config = SystemdConfig(track_exited=True)
    made = await received(changed("activating/start", pid=5), config=config)
    made.delivered()
    assert await made.play(changed("active/exited", pid=0)) == ["web active/exited"]
    assert await made.play(changed("inactive/dead", pid=0)) == ["web gone"]


async def test_reload_of_a_unit_changes_its_state_detail() -> None:
    made = await running()
    assert await made.play(changed("reloading/reload"), changed("active/running")) == [
        "web reloading/reload",
        "web active/running",
    ]


async def test_frozen_unit_is_paused_until_it_is_thawed() -> None:
    made = await running()
    for freezer, state in [
        ("freezing", InstanceState.RUNNING),
        ("frozen", InstanceState.PAUSED),
        ("thawing", InstanceState.RUNNING),
    ]:
        await made.play(changed("active/running", freezer=freezer))
        assert made.last["web.service"].state is state


async def test_frozen_unit_is_paused_if_only_the_kernel_reports_it() -> None:
    made = await running()
    made.table.freezer_state_changed(WEB, "frozen")
    made.table.freezer_state_changed(path("unknown.service"), "frozen")
    assert made.last["web.service"].state is InstanceState.PAUSED


async def test_signal_without_a_change_delivers_nothing() -> None:
    made = await running()
    assert await made.play(START[-1]) == []


async def test_run_of_five_milliseconds_is_one_start_and_one_stop() -> None:
    made = Harness()
    made.receive(*changed("active/running", pid=5, run=b"a"))
    made.receive(*changed("inactive/dead", pid=0), unit_removed("web.service"))
    await made.answer()
    await made.settle()
    assert made.delivered() == ["web active/running", "web gone"]
    assert not made.table.has_unit(WEB)
    assert await made.queries() == []


async def test_dead_unit_is_gone_only_after_its_files_are_read() -> None:
    made = Harness()
    made.receive(*changed("active/running", pid=5, run=b"a"))
    made.receive(*changed("inactive/dead", pid=0))
    await made.settle()
    assert made.delivered() == []
    await made.answer()
    await made.settle()
    assert made.delivered() == ["web active/running", "web gone"]


async def test_dead_unit_whose_files_are_being_read_has_no_deadline() -> None:
    made = Harness()
    made.receive(*START[-1])
    made.receive(*changed("inactive/dead", pid=0))
    await made.settle()
    await made.table.deadline()  # the first one was of the signal
    made.table.deadlines_passed()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(4 * COLLECT):
            await made.table.deadline()


async def test_unit_that_starts_and_dies_within_one_read_without_a_run_is_not_read() -> None:
    made = Harness()
    made.receive(*changed("active/running", pid=5), *changed("inactive/dead", pid=0))
    assert await made.queries() == []
    assert made.delivered() == []
    assert not made.table.has_unit(WEB)


async def test_short_run_within_one_read_is_delivered_once() -> None:
    made = Harness()
    dead = changed("inactive/dead", pid=0, run=b"a", started=time.monotonic())
    start, stop = await made.play(dead)
    assert start.startswith("web")
    assert stop == "web gone"
    assert await made.play(dead) == []


async def test_short_run_is_delivered_however_late_its_end_is_received() -> None:
    made = Harness()
    dead = changed("failed/failed", pid=0, run=b"a", started=time.monotonic())
    await asyncio.sleep(0.3)
    assert len(await made.play(dead)) == 2
    assert await made.play(changed("inactive/dead", pid=0, run=b"a")) == []


async def test_run_that_was_delivered_is_not_delivered_again_with_its_stop() -> None:
    made = Harness()
    made.receive(*changed("active/running", pid=5, run=b"a", started=time.monotonic()))
    await made.answer()
    await made.play(changed("inactive/dead", pid=0, run=b"a"))
    assert await made.play(changed("inactive/dead", pid=0, run=b"a")) == []


async def test_run_of_long_ago_is_not_delivered() -> None:
    made = Harness()
    made.receive(*changed("failed/failed", pid=0, run=b"a", started=time.monotonic() - 5))
    assert made.delivered() == []


async def test_run_that_was_removed_by_a_list_is_not_delivered_again() -> None:
    made = Harness()
    made.receive(*changed("active/running", pid=5, run=b"a", started=time.monotonic()))
    await made.answer()
    made.systemd.rows = []
    await made.listed()
    made.delivered()
    assert await made.play(changed("failed/failed", pid=0, run=b"a")) == []


async def test_failed_condition_is_not_a_start() -> None:
    made = Harness()
    made.receive(*changed("inactive/dead", pid=0), unit_removed("web.service"))
    assert await made.queries() == []
    assert made.delivered() == []
    assert not made.table.has_unit(WEB)


async def test_unit_that_dies_and_starts_at_once_is_another_run() -> None:
    made = await running()
    made.receive(*changed("inactive/dead", pid=0), unit_removed("web.service"))
    made.receive(*changed("active/running", pid=7, run=b"b", restarts=0))
    await made.answer()
    await made.settle()
    assert made.delivered() == ["web gone", "web active/running"]


async def test_unit_that_was_unloaded_is_read_again_when_it_has_run_for_a_while() -> None:
    made = await running()
    made.receive(*changed("inactive/dead", pid=0), unit_removed("web.service"))
    await made.settle()
    made.receive(*changed("active/running", pid=7, run=b"b"))
    assert made.delivered() == ["web gone", "web active/running"]
    assert await made.reads() == []
    await made.wait(CONFIRM)
    assert await made.reads() == ["web.service"]
