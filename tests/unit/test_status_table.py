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
from tests.unit.things import container, gone, listing, told, unit

WEB = unit("web.service")
MADE = (RecordStatus(capability="mdns", name="web.local", state=RecordState.ANNOUNCED, since=7),)


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
    made = Registry({"systemd": "systemd", "podman": "podman"})
    made.apply(listing("systemd", *instances), 1)
    made.apply(listing("podman"), 1)
    return made


def seen(made: Registry) -> Instance:
    return made.visible[WEB.key]


def test_a_result_is_an_update_and_stays_when_the_backend_speaks_again() -> None:
    made = registry(WEB)
    (event,) = made.apply(Announced(WEB.key, MADE), 2)
    assert isinstance(event, Updated)
    assert event.new.announcements == MADE
    made.apply(Seen(replace(WEB, main_pid=7)), 3)
    made.apply(listing("systemd", replace(WEB, main_pid=8)), 4)
    assert (seen(made).announcements, seen(made).main_pid) == (MADE, 8)


def test_the_same_result_again_is_no_event() -> None:
    made = registry(WEB)
    assert made.apply(checked(WEB.key, Health.HEALTHY), 2)
    assert not made.apply(checked(WEB.key, Health.HEALTHY), 3)


def test_what_a_runtime_checks_goes_before_what_we_found() -> None:
    box = container("c1")
    made = registry()
    made.apply(Seen(box), 2)
    made.apply(checked(box.key, Health.UNHEALTHY, "no answer"), 2)
    shown = made.visible[box.key]
    assert (shown.health, shown.health_detail) == (Health.UNHEALTHY, "no answer")
    made.apply(Seen(replace(box, health=Health.HEALTHY)), 3)
    shown = made.visible[box.key]
    assert (shown.health, shown.health_detail) == (Health.HEALTHY, "")


def test_what_we_found_of_a_unit_goes_before_its_word_that_it_is_ready() -> None:
    made = registry(replace(WEB, health=Health.HEALTHY))
    made.apply(checked(WEB.key, Health.UNHEALTHY, "no answer"), 2)
    assert (seen(made).health, seen(made).health_detail) == (Health.UNHEALTHY, "no answer")
    made.apply(Checked(WEB.key, None), 3)
    assert (seen(made).health, seen(made).health_detail) == (Health.HEALTHY, "")


def test_results_go_with_the_instance() -> None:
    made = registry(WEB)
    results: list[Result] = [Announced(WEB.key, MADE), checked(WEB.key, Health.HEALTHY)]
    for result in results:
        made.apply(result, 2)
    made.apply(gone(WEB), 3)
    made.apply(Seen(WEB), 4)
    assert (seen(made).announcements, seen(made).health) == ((), Health.NONE)


def test_results_on_what_is_not_there_are_late() -> None:
    made = registry()
    events: list[Event] = made.apply(Announced(WEB.key, MADE), 2)
    events += made.apply(checked(Key("docker", "unheard-of"), Health.HEALTHY), 2)
    events += made.apply(Gone(backend="systemd", id=WEB.id, reason="late"), 3)
    made.apply(Seen(WEB), 4)
    assert not events
    assert seen(made).announcements == ()


def test_a_unit_that_is_claimed_loses_its_results() -> None:
    made = registry(WEB)
    made.apply(Announced(WEB.key, MADE), 2)
    claimant = container("c1", claims=WEB.id)
    assert told(made.apply(Seen(claimant), 3)) == ["-web.service", "+c1"]
    made.apply(gone(claimant), 4)
    assert seen(made).announcements == ()
