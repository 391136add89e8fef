"""Results of capabilities are part of the visible instance and outlive a backend's reports."""

from dataclasses import replace

from koi_agent.core.events import (
    Announced,
    Checked,
    CheckStatus,
    Event,
    Gone,
    Result,
    Seen,
    Updated,
)
from koi_agent.core.instance import CheckKind, Health, Instance, RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from tests.unit.things import container, gone, listing, short_forms, unit

WEB = unit("web.service")
RECORDS = (RecordStatus(capability="mdns", name="web.local", state=RecordState.ANNOUNCED, since=7),)


def checked(key: Key, health: Health, message: str = "") -> Checked:
    return Checked(
        key,
        CheckStatus(
            kind=CheckKind.TCP,
            target="127.0.0.1:80",
            interval=30.0,
            timeout=5.0,
            health=health,
            message=message,
        ),
    )


def registry(*instances: Instance) -> Registry:
    tracked = Registry({"systemd": "systemd", "podman": "podman"})
    tracked.apply(listing("systemd", *instances), 1)
    tracked.apply(listing("podman"), 1)
    return tracked


def seen(tracked: Registry) -> Instance:
    return tracked.visible[WEB.key]


def test_result_is_an_update_and_outlives_reports_of_the_backend() -> None:
    tracked = registry(WEB)
    (event,) = tracked.apply(Announced(WEB.key, RECORDS), 2)
    assert isinstance(event, Updated)
    assert event.new.announcements == RECORDS
    tracked.apply(Seen(replace(WEB, main_pid=7)), 3)
    tracked.apply(listing("systemd", replace(WEB, main_pid=8)), 4)
    assert (seen(tracked).announcements, seen(tracked).main_pid) == (RECORDS, 8)


def test_unchanged_result_emits_no_event() -> None:
    tracked = registry(WEB)
    assert tracked.apply(checked(WEB.key, Health.HEALTHY), 2)
    assert not tracked.apply(checked(WEB.key, Health.HEALTHY), 3)


def test_health_of_a_runtime_overrides_a_check_by_the_agent() -> None:
    box = container("c1")
    tracked = registry()
    tracked.apply(Seen(box), 2)
    tracked.apply(checked(box.key, Health.UNHEALTHY, "no answer"), 2)
    shown = tracked.visible[box.key]
    assert (shown.health, shown.health_detail) == (Health.UNHEALTHY, "no answer")
    tracked.apply(Seen(replace(box, health=Health.HEALTHY)), 3)
    shown = tracked.visible[box.key]
    assert (shown.health, shown.health_detail) == (Health.HEALTHY, "")


def test_check_by_the_agent_overrides_the_readiness_of_a_unit() -> None:
    tracked = registry(replace(WEB, health=Health.HEALTHY))
    tracked.apply(checked(WEB.key, Health.UNHEALTHY, "no answer"), 2)
    assert (seen(tracked).health, seen(tracked).health_detail) == (Health.UNHEALTHY, "no answer")
    tracked.apply(Checked(WEB.key, None), 3)
    assert (seen(tracked).health, seen(tracked).health_detail) == (Health.HEALTHY, "")


def test_results_end_with_the_instance() -> None:
    tracked = registry(WEB)
    results: list[Result] = [Announced(WEB.key, RECORDS), checked(WEB.key, Health.HEALTHY)]
    for result in results:
        tracked.apply(result, 2)
    tracked.apply(gone(WEB), 3)
    tracked.apply(Seen(WEB), 4)
    assert (seen(tracked).announcements, seen(tracked).health) == ((), Health.NONE)


def test_results_for_an_unknown_instance_are_ignored() -> None:
    tracked = registry()
    events: list[Event] = tracked.apply(Announced(WEB.key, RECORDS), 2)
    events += tracked.apply(checked(Key("docker", "unknown"), Health.HEALTHY), 2)
    events += tracked.apply(Gone(backend="systemd", id=WEB.id, reason="late"), 3)
    tracked.apply(Seen(WEB), 4)
    assert not events
    assert seen(tracked).announcements == ()


def test_claimed_unit_loses_its_results() -> None:
    tracked = registry(WEB)
    tracked.apply(Announced(WEB.key, RECORDS), 2)
    claimant = container("c1", claims=WEB.id)
    assert short_forms(tracked.apply(Seen(claimant), 3)) == ["-web.service", "+c1"]
    tracked.apply(gone(claimant), 4)
    assert seen(tracked).announcements == ()
