"""The meaning of a unit's properties, and which units are followed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.backends.systemd.selection import Selection
from koi_agent.backends.systemd.units import (
    ROOT,
    Unit,
    UnitDetails,
    UnitFilter,
    unit_name,
    unit_prefix,
)
from koi_agent.config import SystemdConfig
from koi_agent.core.instance import Health, InstanceState
from koi_agent.host.machine_units import MachineUnits
from tests.unit.unit_table_harness import path

RUNNING, PAUSED, RESTARTING = (
    InstanceState.RUNNING,
    InstanceState.PAUSED,
    InstanceState.RESTARTING,
)


def unit(states: str = "active/running", **values: Any) -> Unit:
    active, _, sub = states.partition("/")
    made = Unit("web.service", path("web.service"))
    made.update({"ActiveState": active, "SubState": sub, **values})
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
def test_states_of_a_unit_that_runs(states: str, state: InstanceState) -> None:
    one = unit(states)
    assert one.is_running(track_exited=False)
    instance = one.instance(UnitDetails())
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
def test_states_of_a_unit_that_does_not_run(states: str) -> None:
    assert not unit(states).is_running(track_exited=False)


def test_exited_unit_runs_if_exited_units_are_tracked() -> None:
    assert unit("active/exited").is_running(track_exited=True)
    assert not unit("inactive/dead").is_running(track_exited=True)


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
def test_freezer_state_of_a_paused_unit(freezer: str, state: InstanceState) -> None:
    assert unit(FreezerState=freezer).instance_state() is state


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
def test_service_that_notifies_readiness_is_healthy_once_it_is_ready(
    states: str, health: Health
) -> None:
    assert unit(states).instance(UnitDetails(notifies_ready=True)).health is health
    assert unit(states).instance(UnitDetails()).health is Health.NONE


def test_instance_has_the_properties_of_its_unit() -> None:
    one = unit(MainPID=7, InvocationID=b"\1" * 16)
    details = UnitDetails(fragment_path="/x", control_group="/y", awaits="podman", notes=("n",))
    instance = one.instance(details)
    assert (instance.id, instance.unit, instance.name) == ("web.service", "web.service", "web")
    assert (instance.image, instance.control_group) == ("/x", "/y")
    assert (instance.main_pid, instance.invocation_id) == (7, b"\1" * 16)
    assert (instance.awaits, instance.notes) == ("podman", ("n",))
    assert instance.created_at == 0


def test_only_services_lose_their_suffix() -> None:
    assert Unit("tick.timer", "").instance(UnitDetails()).name == "tick.timer"
    assert Unit("worker@1.service", "").instance(UnitDetails()).name == "worker@1"


def report(one: Unit) -> None:
    one.reported = one.instance(UnitDetails())


@pytest.mark.parametrize(
    ("properties", "restarted"),
    [
        ({"InvocationID": b"b"}, False),
        ({"InvocationID": b"b", "NRestarts": 4}, False),
        ({"InvocationID": b"b", "NRestarts": 0}, True),
        ({"NRestarts": 4}, False),
        ({"MainPID": 9}, False),
        ({"InvocationID": b""}, False),
    ],
)
def test_restart_by_a_job_is_another_run(
    properties: dict[str, Any],
    restarted: bool,  # noqa: FBT001
) -> None:
    one = unit(InvocationID=b"a", NRestarts=3)
    report(one)
    one.update(properties)
    assert one.was_restarted() is restarted


def test_count_of_restarts_may_change_before_the_invocation_id() -> None:
    one = unit(InvocationID=b"a")
    report(one)
    for properties in ({"NRestarts": 1, "SubState": "auto-restart"}, {"MainPID": 2}):
        one.update(properties)
        assert not one.was_restarted()
        report(one)
    one.update({"InvocationID": b"b"})
    assert not one.was_restarted()
    report(one)
    one.update({"InvocationID": b"c", "NRestarts": 0})
    assert one.was_restarted()


def test_restart_after_a_reset_of_the_count_continues_the_run() -> None:
    one = unit(InvocationID=b"a", NRestarts=3)
    report(one)
    one.update({"NRestarts": 0})
    report(one)
    one.update({"NRestarts": 1, "InvocationID": b"b"})
    assert not one.was_restarted()


def unit_filter(
    *units: str, exclude: tuple[str, ...] = (), accepting: tuple[str, ...] = ()
) -> UnitFilter:
    config = SystemdConfig(units=units, exclude_units=exclude)
    return UnitFilter(Selection(config, MachineUnits()), set(accepting))


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
def test_services_except_those_of_systemd_are_followed(name: str, followed: bool) -> None:  # noqa: FBT001
    assert UnitFilter(Selection(SystemdConfig(), MachineUnits()), set()).matches(name) is followed


def test_patterns_are_case_sensitive_globs() -> None:
    some = unit_filter("w?b.service", "[ab]*.timer", exclude=("*-x.*",))
    assert some.matches("web.service")
    assert some.matches("b.timer")
    assert not some.matches("Web.service")
    assert not some.matches("a-x.timer")


def test_backslash_in_a_pattern_is_itself() -> None:
    assert unit_filter(r"a\x2db.service").matches(r"a\x2db.service")


@pytest.mark.parametrize(
    "instance",
    [
        "1-10.0.0.1:22-10.0.0.2:41000",
        "0-4711-1000",
        "3-17-4711-1000-12345_6789",
        "0-unknown",
        "0-vsock:2:22",
    ],
)
def test_services_of_connections_are_not_followed(instance: str) -> None:
    some = unit_filter("*.service", "*.socket", accepting=("ssh",))
    assert not some.matches(f"ssh@{instance}.service")
    assert some.matches("ssh.service")
    assert some.matches(f"sshd@{instance}.service")
    assert some.matches("ssh.socket")
    assert some.matches("ssh@22.socket")


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("web.socket", "web"),
        ("web@9100.socket", "web"),
        ("web@a@b.socket", "web"),
        ("my.app.socket", "my.app"),
        ("my.app@x.y.service", "my.app"),
    ],
)
def test_prefix_of_a_unit_is_its_name_without_instance_and_type(name: str, prefix: str) -> None:
    assert unit_prefix(name) == prefix


def test_signals_of_sockets_are_read_whatever_is_followed() -> None:
    some = unit_filter("web.service")
    assert some.matches_path(path("web.service"))
    assert some.matches_path(path("x.socket"))
    assert not some.matches_path(path("x.service"))
    assert not some.matches_path("/org/freedesktop/systemd1/job/1")


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
def test_name_of_a_unit_follows_from_its_path(label: str, name: str) -> None:
    assert unit_name(ROOT + label) == name


@pytest.mark.parametrize(
    "other", ["/", "/org/freedesktop/systemd1", "/org/freedesktop/systemd1/job/7"]
)
def test_other_paths_have_no_unit_name(other: str) -> None:
    assert unit_name(other) == ""


@given(st.text(st.characters(), min_size=1))
def test_every_name_follows_from_its_path(name: str) -> None:
    assert unit_name(path(name)) == name
