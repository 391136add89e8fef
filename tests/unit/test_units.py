"""What a unit's states mean, and which units are followed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.backends.systemd.units import ROOT, Details, Patterns, Unit, unit_name
from koi_agent.config import SystemdConfig
from koi_agent.core.instance import Health, InstanceState
from tests.unit.desk import path

RUNNING, PAUSED, RESTARTING = (
    InstanceState.RUNNING,
    InstanceState.PAUSED,
    InstanceState.RESTARTING,
)


def unit(states: str = "active/running", **values: Any) -> Unit:
    active, _, sub = states.partition("/")
    made = Unit("web.service", path("web.service"))
    made.note({"ActiveState": active, "SubState": sub, **values})
    return made


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ("active/running", RUNNING),
        ("active/listening", RUNNING),
        ("active/mounted", RUNNING),
        ("reloading/reload", RUNNING),
        ("reloading/reload-notify", RUNNING),
        ("refreshing/refresh-extensions", RUNNING),
        ("activating/start", RUNNING),
        ("activating/start-pre", RUNNING),
        ("activating/condition", RUNNING),
        ("deactivating/stop-sigterm", RUNNING),
        ("deactivating/final-sigkill", RUNNING),
        ("activating/auto-restart", RESTARTING),
        ("activating/auto-restart-queued", RESTARTING),
        ("failed/failed-before-auto-restart", RESTARTING),
        ("inactive/dead-before-auto-restart", RESTARTING),
    ],
)
def test_unit_that_runs(states: str, state: InstanceState) -> None:
    one = unit(states)
    assert one.runs(track_exited=False)
    instance = one.instance(Details())
    assert (instance.state, instance.state_detail) == (state, states)


@pytest.mark.parametrize(
    "states",
    [
        "inactive/dead",
        "failed/failed",
        "inactive/dead-resources-pinned",
        "failed/failed-resources-pinned",
        "maintenance/maintenance",
        "active/exited",
        "a-word-of-the-future/x",
    ],
)
def test_unit_that_does_not_run(states: str) -> None:
    assert not unit(states).runs(track_exited=False)


def test_unit_that_has_exited_runs_if_that_is_asked_for() -> None:
    assert unit("active/exited").runs(track_exited=True)
    assert not unit("inactive/dead").runs(track_exited=True)


@pytest.mark.parametrize(
    ("freezer", "state"),
    [
        ("running", RUNNING),
        ("freezing", RUNNING),
        ("frozen", PAUSED),
        ("freezing-by-parent", RUNNING),
        ("frozen-by-parent", PAUSED),
        ("thawing", RUNNING),
    ],
)
def test_unit_that_is_frozen_is_paused(freezer: str, state: InstanceState) -> None:
    assert unit(FreezerState=freezer).state() is state


@pytest.mark.parametrize(
    ("states", "health"),
    [
        ("active/running", Health.HEALTHY),
        ("reloading/reload-notify", Health.HEALTHY),
        ("activating/start", Health.STARTING),
        ("activating/auto-restart", Health.STARTING),
        ("deactivating/stop-sigterm", Health.NONE),
    ],
)
def test_unit_that_tells_when_it_is_ready_is_healthy_from_then_on(
    states: str, health: Health
) -> None:
    assert unit(states).instance(Details(tells=True)).health is health
    assert unit(states).instance(Details()).health is Health.NONE


def test_unit_is_shown_with_all_that_is_known_of_it() -> None:
    one = unit(MainPID=7, InvocationID=b"\1" * 16)
    details = Details(fragment="/x", control_group="/y", awaits="podman", notes=("n",))
    instance = one.instance(details)
    assert (instance.id, instance.unit, instance.name) == ("web.service", "web.service", "web")
    assert (instance.image, instance.control_group) == ("/x", "/y")
    assert (instance.main_pid, instance.invocation_id) == (7, b"\1" * 16)
    assert (instance.awaits, instance.notes) == ("podman", ("n",))
    assert instance.created_at == 0


def test_only_services_lose_their_suffix() -> None:
    assert Unit("tick.timer", "").instance(Details()).name == "tick.timer"
    assert Unit("worker@1.service", "").instance(Details()).name == "worker@1"


def said(one: Unit) -> None:
    one.say(one.instance(Details()))


@pytest.mark.parametrize(
    ("news", "restarted"),
    [
        ({"InvocationID": b"b"}, False),
        ({"InvocationID": b"b", "NRestarts": 4}, False),
        ({"InvocationID": b"b", "NRestarts": 0}, True),
        ({"NRestarts": 4}, False),
        ({"MainPID": 9}, False),
        ({"InvocationID": b""}, False),
    ],
)
def test_restart_that_somebody_asked_for_is_another_run(
    news: dict[str, Any],
    restarted: bool,  # noqa: FBT001
) -> None:
    one = unit(InvocationID=b"a", NRestarts=3)
    said(one)
    one.note(news)
    assert one.restarted() is restarted


def test_count_of_restarts_may_come_before_the_new_run() -> None:
    one = unit(InvocationID=b"a")
    said(one)
    for news in ({"NRestarts": 1, "SubState": "auto-restart"}, {"MainPID": 2}):
        one.note(news)
        assert not one.restarted()
        said(one)
    one.note({"InvocationID": b"b"})
    assert not one.restarted()
    said(one)
    one.note({"InvocationID": b"c", "NRestarts": 0})
    assert one.restarted()


def test_count_that_was_reset_counts_anew() -> None:
    one = unit(InvocationID=b"a", NRestarts=3)
    said(one)
    one.note({"NRestarts": 0})
    said(one)
    one.note({"NRestarts": 1, "InvocationID": b"b"})
    assert not one.restarted()


def patterns(
    *units: str, exclude: tuple[str, ...] = (), accepting: tuple[str, ...] = ()
) -> Patterns:
    return Patterns(SystemdConfig(units=units, exclude_units=exclude), set(accepting))


@pytest.mark.parametrize(
    ("name", "followed"),
    [
        ("web.service", True),
        ("worker@1.service", True),
        ("web.socket", False),
        ("tick.timer", False),
        ("user@1000.service", False),
        ("user-runtime-dir@1000.service", False),
        ("systemd-journald.service", False),
        ("systemd.service", True),
        ("", False),
    ],
)
def test_services_but_systemds_own_are_followed(name: str, followed: bool) -> None:  # noqa: FBT001
    assert Patterns(SystemdConfig(), set()).match(name) is followed


def test_patterns_are_case_sensitive_globs() -> None:
    some = patterns("w?b.service", "[ab]*.timer", exclude=("*-x.*",))
    assert some.match("web.service")
    assert some.match("b.timer")
    assert not some.match("Web.service")
    assert not some.match("a-x.timer")


def test_backslash_in_a_pattern_is_itself() -> None:
    assert patterns(r"a\x2db.service").match(r"a\x2db.service")


def test_services_of_connections_are_not_followed() -> None:
    some = patterns("*.service", accepting=("ssh.socket",))
    assert not some.match("ssh@1-10.0.0.1:22.service")
    assert some.match("ssh.service")
    assert some.match("sshd@1.service")


def test_signals_of_sockets_are_read_whatever_is_followed() -> None:
    some = patterns("web.service")
    assert some.wants(path("web.service"))
    assert some.wants(path("x.socket"))
    assert not some.wants(path("x.service"))
    assert not some.wants("/org/freedesktop/systemd1/job/1")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("web_2eservice", "web.service"),
        ("worker_401_2eservice", "worker@1.service"),
        ("_31_2eservice", "1.service"),
        ("a_5cx2db_2eservice", r"a\x2db.service"),
        ("_2d_2emount", "-.mount"),
    ],
)
def test_path_of_a_unit_tells_its_name(label: str, name: str) -> None:
    assert unit_name(ROOT + label) == name


@pytest.mark.parametrize(
    "other", ["/", "/org/freedesktop/systemd1", "/org/freedesktop/systemd1/job/7"]
)
def test_other_paths_are_of_no_unit(other: str) -> None:
    assert unit_name(other) == ""


@given(st.text(st.characters(), min_size=1))
def test_any_name_is_told_by_its_path(name: str) -> None:
    assert unit_name(path(name)) == name
