"""What is said of units as their signals come, as recorded from systemd 252 and 257."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koi_agent.bus.signals import Changed, Signal
from koi_agent.config import SystemdConfig
from koi_agent.core.instance import InstanceState
from tests.unit.desk import Desk, changed, path, unit_removed

Step = list[Signal | Changed]

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
BOTH = pytest.mark.parametrize(
    "auto_restart", [AUTO_RESTART_252, AUTO_RESTART_257], ids=["252", "257"]
)


def desk(*steps: Step, config: SystemdConfig | None = None) -> Desk:
    """Make a desk that was brought these, one read each, and has answers to all."""
    made = Desk(config)
    for step in steps:
        made.read(*step)
        made.answer()
    return made


def running() -> Desk:
    """Make a desk at which web.service runs, and that has been told."""
    made = desk(*START)
    made.told()
    return made


def play(made: Desk, *steps: Step) -> list[str]:
    for step in steps:
        made.read(*step)
        made.answer()
    made.settle()
    return made.told()


def test_start_is_told_once_its_files_are_known() -> None:
    made = Desk()
    for step in START:
        made.read(*step)
    assert made.said == []
    assert [unit.name for unit in made.wanted] == ["web.service"]
    made.answer()
    assert made.told() == ["web active/running"]


def test_stop_is_told_when_it_has_stayed_dead() -> None:
    made = running()
    for step in STOP:
        made.read(*step)
    assert made.told() == ["web deactivating/stop-sigterm"]
    assert made.tracker.settle()
    assert made.said == []
    assert made.settle() is None
    assert made.told() == ["web gone"]
    assert made.tracker.units == {}


def test_failure_is_told_as_such() -> None:
    made = running()
    assert play(made, changed("failed/failed", pid=0)) == ["web gone"]
    assert made.reasons == ["failed"]


def test_unit_that_was_reset_after_its_failure_is_no_news() -> None:
    made = running()
    assert play(made, changed("failed/failed", pid=0)) == ["web gone"]
    assert play(made, changed("inactive/dead", run=b"")) == []


def test_restart_that_somebody_asked_for_is_an_end_and_a_start() -> None:
    made = running()
    assert play(made, *RESTART) == [
        "web deactivating/stop-sigterm",
        "web gone",
        "web active/running",
    ]
    assert made.last["web.service"].main_pid == 101


def test_restart_within_one_read_is_an_end_and_a_start() -> None:
    made = running()
    made.read(*(item for step in RESTART for item in step))
    assert made.told() == ["web gone", "web active/running"]


@BOTH
def test_automatic_restart_goes_on_as_the_same_instance(auto_restart: list[Step]) -> None:
    made = running()
    said = play(made, *auto_restart)
    assert "web gone" not in said
    assert "web activating/auto-restart" in said
    assert said[-1] == "web active/running"
    assert made.last["web.service"].main_pid == 101


@BOTH
def test_restart_after_an_automatic_one_is_an_end_and_a_start(auto_restart: list[Step]) -> None:
    made = running()
    play(made, *auto_restart)
    assert play(made, changed("active/running", pid=102, run=b"c", restarts=0)) == [
        "web gone",
        "web active/running",
    ]


@BOTH
@settings(deadline=None, max_examples=30)
@given(cuts=st.sets(st.integers(1, 10)))
def test_automatic_restart_is_the_same_however_its_signals_are_cut_into_reads(
    auto_restart: list[Step], cuts: set[int]
) -> None:
    made = running()
    items = [item for step in auto_restart for item in step]
    ends = [*sorted(cut for cut in cuts if cut < len(items)), len(items)]
    for begin, end in zip([0, *ends], ends, strict=False):
        made.read(*items[begin:end])
    made.settle()
    said = made.told()
    assert "web gone" not in said
    assert said[-1] == "web active/running"
    assert made.last["web.service"].invocation_id == b"b"


def test_unit_that_waits_for_its_restart_is_restarting() -> None:
    made = running()
    play(made, AUTO_RESTART_257[0])
    assert made.last["web.service"].state is InstanceState.RESTARTING


def test_dead_unit_with_a_main_process_is_about_to_run() -> None:
    made = running()
    assert play(made, *AUTO_RESTART_252[1:4])[-1] == "web activating/auto-restart"
    assert play(made, AUTO_RESTART_252[4]) == ["web active/running"]


def test_unit_that_is_stopped_while_it_waits_for_its_restart_is_gone() -> None:
    made = running()
    play(made, *AUTO_RESTART_257[:2])
    assert play(made, changed("inactive/dead", pid=0)) == ["web gone"]


def test_oneshot_counts_while_it_runs() -> None:
    made = desk(changed("activating/start", pid=5, run=b"a"))
    assert made.told() == ["web activating/start"]
    assert play(made, changed("inactive/dead", pid=0)) == ["web gone"]


def test_oneshot_that_remains_counts_while_it_runs() -> None:
    made = desk(changed("activating/start", pid=5, run=b"a"))
    made.told()
    assert play(made, changed("active/exited", pid=0)) == ["web gone"]
    assert play(made, changed("deactivating/stop", pid=9)) == ["web deactivating/stop"]
    assert play(made, changed("inactive/dead", pid=0)) == ["web gone"]


def test_oneshot_that_remains_goes_on_if_that_is_asked_for() -> None:
    made = desk(changed("activating/start", pid=5), config=SystemdConfig(track_exited=True))
    made.told()
    assert play(made, changed("active/exited", pid=0)) == ["web active/exited"]
    assert play(made, changed("inactive/dead", pid=0)) == ["web gone"]


def test_reload_of_a_unit_is_a_change_of_words() -> None:
    made = running()
    assert play(made, changed("reloading/reload"), changed("active/running")) == [
        "web reloading/reload",
        "web active/running",
    ]


def test_unit_that_is_frozen_and_thawed_is_paused_meanwhile() -> None:
    made = running()
    for freezer, state in [
        ("freezing", InstanceState.RUNNING),
        ("frozen", InstanceState.PAUSED),
        ("thawing", InstanceState.RUNNING),
    ]:
        play(made, changed("active/running", freezer=freezer))
        assert made.last["web.service"].state is state


def test_unit_that_is_frozen_is_paused_where_only_the_kernel_says_so() -> None:
    made = running()
    made.tracker.freezes(path("web.service"), "frozen")
    made.tracker.freezes(path("unknown.service"), "frozen")
    assert made.last["web.service"].state is InstanceState.PAUSED


def test_signal_that_says_nothing_new_is_no_news() -> None:
    assert play(running(), START[-1]) == []


def test_units_life_of_five_milliseconds_is_one_start_and_one_end() -> None:
    made = Desk()
    made.read(*changed("active/running", pid=5, run=b"a"))
    made.read(*changed("inactive/dead", pid=0), unit_removed("web.service"))
    made.answer()
    made.settle()
    assert made.told() == ["web active/running", "web gone"]
    assert (made.tracker.units, made.tracker.asking) == ({}, set())


def test_dead_unit_waits_for_its_answer_before_it_is_gone() -> None:
    made = Desk()
    made.read(*changed("active/running", pid=5, run=b"a"))
    made.read(*changed("inactive/dead", pid=0))
    made.settle()
    made.answer()
    made.settle()
    assert made.told() == ["web active/running", "web gone"]


def test_unit_that_dies_within_one_read_was_never_there() -> None:
    made = Desk()
    made.read(*changed("active/running", pid=5), *changed("inactive/dead", pid=0))
    assert (made.wanted, made.said, made.tracker.units) == ([], [], {})


def test_short_life_within_one_read_is_told_once() -> None:
    made = Desk()
    dead = changed("inactive/dead", pid=0, run=b"a", began=time.monotonic())
    made.read(*dead)
    start, end = made.told()
    assert start.startswith("web")
    assert end == "web gone"
    made.read(*dead)
    assert made.told() == []


def test_life_that_was_told_is_not_told_again_with_its_end() -> None:
    made = Desk()
    made.read(*changed("active/running", pid=5, run=b"a", began=time.monotonic()))
    made.answer()
    play(made, changed("inactive/dead", pid=0, run=b"a"))
    assert play(made, changed("inactive/dead", pid=0, run=b"a")) == []


def test_life_of_long_ago_is_no_news() -> None:
    made = Desk()
    made.read(*changed("failed/failed", pid=0, run=b"a", began=time.monotonic() - 5))
    assert made.told() == []


def test_condition_that_failed_is_no_start() -> None:
    made = Desk()
    made.read(*changed("inactive/dead", pid=0), unit_removed("web.service"))
    assert (made.wanted, made.said, made.tracker.units) == ([], [], {})


def test_unit_that_dies_and_starts_at_once_is_another_run() -> None:
    made = running()
    made.read(*changed("inactive/dead", pid=0), unit_removed("web.service"))
    made.read(*changed("active/running", pid=7, run=b"b", restarts=0))
    made.answer()
    made.settle()
    assert made.told() == ["web gone", "web active/running"]
