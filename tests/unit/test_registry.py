"""The registry turns reports of backends into visible instances and events."""

from dataclasses import replace

from koi_agent.core.events import (
    Absent,
    BackendDisconnected,
    BackendReconnected,
    BackendState,
    BackendUpdated,
    Change,
    Event,
    Listing,
    Lost,
    Outdated,
    Seen,
    Started,
    Stopped,
    Unfollowed,
)
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from tests.costs import best
from tests.unit.things import Reader, container, gone, listing, short_forms, unit

A, B, C = unit("a.service"), unit("b.service"), unit("c.service")
LOST = Lost(backend="systemd", reason="bus: closed")


def differing(registry: Registry, listed: Listing) -> dict[str, str]:
    return {id_: how for id_, how in registry.differences(listed) if how}


def registry(*changes: Change) -> Registry:
    built = Registry({"systemd": "systemd", "podman": "podman"})
    for now, change in enumerate(changes, 1):
        built.apply(change, now)
    return built


def ids(here: Registry) -> set[str]:
    return {instance.id for instance in here.visible.values()}


def links(events: list[Event]) -> list[Event]:
    return [e for e in events if isinstance(e, BackendDisconnected | BackendReconnected)]


def test_listing_emits_only_the_differences() -> None:
    here = registry(listing("systemd", A, B))
    events = here.apply(listing("systemd", replace(B, state_detail="x"), C), 2)
    assert short_forms(events) == ["-a.service", "~b.service", "+c.service"]
    assert [e.reason for e in events if isinstance(e, Stopped)] == ["not listed"]
    assert ids(here) == {"b.service", "c.service"}


def test_same_listing_again_emits_no_events_of_instances() -> None:
    here = registry(listing("systemd", A, B))
    assert short_forms(here.apply(listing("systemd", A, B), 2)) == []


def test_listing_does_not_override_newer_events() -> None:
    here = registry(listing("systemd", A, B))
    old = replace(B, state_detail="old")
    events = here.apply(listing("systemd", old, C, touched=[A.id, B.id, C.id]), 2)
    assert short_forms(events) == []
    assert ids(here) == {"a.service", "b.service"}


def test_unchanged_instance_emits_no_event() -> None:
    here = registry(Seen(A))
    generation = here.generation
    assert here.apply(Seen(A), 9) == []
    assert here.generation == generation


def test_end_of_an_unknown_instance_emits_no_event() -> None:
    assert registry(listing("systemd", A)).apply(gone(B), 2) == []


def test_stopped_carries_the_last_state_and_the_reason() -> None:
    here = registry(Seen(A))
    last = here.visible[A.key]
    assert here.apply(gone(A, "failed"), 2)[0] == Stopped(last, "failed")


def test_discovery_time_does_not_change_until_the_instance_is_gone() -> None:
    here = registry(Seen(A))
    again = Seen(replace(A, state_detail="x"))
    changes: list[Change] = [again, LOST, listing("systemd", A), listing("systemd", A)]
    for now, change in enumerate(changes, 2):
        here.apply(change, now)
        assert here.visible[A.key].discovered_at == 1
    here.apply(gone(A), 7)
    here.apply(Seen(A), 8)
    assert here.visible[A.key].discovered_at == 8


def test_instances_of_a_lost_backend_are_stale_until_listed() -> None:
    here = registry(listing("systemd", A, B))
    assert short_forms(here.apply(LOST, 2)) == ["~a.service", "~b.service"]
    assert all(instance.stale for instance in here.visible.values())
    assert short_forms(here.apply(listing("systemd", A), 3)) == ["-b.service", "~a.service"]
    assert not any(instance.stale for instance in here.visible.values())


def test_event_makes_a_stale_instance_fresh() -> None:
    here = registry(listing("systemd", A, B), LOST)
    here.apply(listing("systemd", touched=[A.id, B.id]), 3)
    here.apply(Seen(A), 4)
    assert [i.stale for i in here.visible.values()] == [False, True]


def test_disconnections_and_reconnections_alternate() -> None:
    here = registry(listing("systemd", A))
    assert links(here.apply(LOST, 2)) == [BackendDisconnected("systemd", "bus: closed")]
    assert links(here.apply(LOST, 3)) == []
    assert links(here.apply(listing("systemd", A), 4)) == [BackendReconnected("systemd")]
    assert links(here.apply(listing("systemd", A), 5)) == []
    assert here.backends["systemd"].reconnects == 1


def test_disconnection_is_the_first_event_and_reconnection_the_last() -> None:
    here = registry(listing("systemd", A))
    assert isinstance(here.apply(LOST, 2)[0], BackendDisconnected)
    events = here.apply(listing("systemd", B), 3)
    assert isinstance(events[-1], BackendReconnected)


def test_backend_that_never_listed_does_not_disconnect() -> None:
    here = registry()
    assert links(here.apply(LOST, 1)) == []
    assert here.backends["systemd"].state is BackendState.FAILED
    assert links(here.apply(listing("systemd"), 2)) == []
    assert here.backends["systemd"].reconnects == 0


def test_absent_backend_that_appears_does_not_reconnect() -> None:
    here = registry(Absent(backend="podman", reason="no socket"))
    assert here.backends["podman"].state is BackendState.ABSENT
    assert here.backends["podman"].last_error == "no socket"
    assert links(here.apply(listing("podman"), 2)) == []
    assert here.backends["podman"].last_error == ""


def test_backend_that_vanishes_keeps_its_instances() -> None:
    here = registry(listing("podman", container("c")))
    here.apply(Absent(backend="podman", reason="no socket"), 2)
    assert here.backends["podman"].state is BackendState.STALE
    assert ids(here) == {"c"}


def test_status_counts_the_visible_instances_of_a_backend() -> None:
    here = registry(
        listing("systemd", A, B), listing("podman", container("x", claims=A.id), container("y"))
    )
    assert {name: status.instances for name, status in here.backends.items()} == {
        "systemd": 1,
        "podman": 2,
    }


def test_old_status_of_an_event_is_the_new_status_of_the_one_before() -> None:
    here = registry()
    before = here.backends["systemd"]
    changes: list[Change] = [listing("systemd", A, B), LOST, gone(A), Seen(C)]
    for now, change in enumerate(changes, 1):
        for event in here.apply(change, now):
            if isinstance(event, BackendUpdated):
                assert event.old == before
                before = event.new
    assert before == here.backends["systemd"]


def test_drift_counts_drifted_ids_only() -> None:
    here = registry(listing("systemd", A, B), listing("systemd", C))
    assert here.backends["systemd"].drift == 0
    here.apply(listing("systemd", A, drifted=[A.id, C.id]), 3)
    assert here.backends["systemd"].drift == 2
    here.apply(LOST, 4)
    here.apply(listing("systemd", B), 5)
    assert here.backends["systemd"].drift == 2


def test_differences_name_the_kind_and_skip_touched_instances() -> None:
    here = registry(listing("systemd", A, B), LOST)
    changed = replace(A, main_pid=7)
    assert differing(here, listing("systemd", changed, C)) == {
        A.id: "changed",
        B.id: "removed",
        C.id: "added",
    }
    assert differing(here, listing("systemd", changed, C, touched=[A.id, B.id, C.id])) == {}


def test_fields_set_by_the_registry_are_not_differences() -> None:
    here = registry(listing("systemd", A), LOST)
    assert differing(here, listing("systemd", A)) == {}


def test_an_outdated_instance_is_stale_until_it_is_seen() -> None:
    here = registry(listing("systemd", A, B), Outdated("systemd", A.id))
    assert here.visible[A.key].stale
    assert not here.visible[B.key].stale
    assert short_forms(here.apply(Seen(A), 3)) == ["~a.service"]
    assert not here.visible[A.key].stale


def test_an_outdated_instance_that_is_gone_causes_no_event() -> None:
    here = registry(listing("systemd", A), gone(A))
    assert here.apply(Outdated("systemd", A.id), 3) == []


def test_a_report_that_changes_nothing_causes_no_event() -> None:
    here = registry(listing("systemd", A))
    assert here.apply(Seen(replace(A)), 3) == []
    assert here.generation == registry(listing("systemd", A)).generation


def test_generation_increases_with_each_effective_change() -> None:
    here = registry()
    seen = [here.generation]
    changes: list[Change] = [Seen(A), Seen(A), gone(A), gone(A)]
    for now, change in enumerate(changes, 1):
        here.apply(change, now)
        seen.append(here.generation)
    assert seen == [0, 1, 1, 2, 2]


def test_instances_with_the_same_id_in_two_backends_are_separate() -> None:
    here = registry(Seen(A), Seen(replace(container(A.id), id=A.id)))
    assert set(here.visible) == {Key("systemd", "a.service"), Key("podman", "a.service")}


def test_replaying_all_events_gives_the_visible_instances() -> None:
    here, reader = registry(), Reader()
    changes: list[Change] = [Seen(A), listing("systemd", B), LOST, Seen(C), gone(B)]
    for now, change in enumerate(changes, 1):
        reader.read(here.apply(change, now))
    assert reader.known == here.visible


def test_started_carries_the_visible_instance() -> None:
    here = registry()
    assert here.apply(Seen(A), 5)[0] == Started(here.visible[A.key])


def test_cost_of_an_event_does_not_depend_on_the_number_of_instances() -> None:
    def cost(tracked: int) -> float:
        here = registry(
            listing("systemd", *(unit(f"{n}.service", group=f"/s/{n}") for n in range(tracked))),
            listing("podman", *(container(str(n), claims=f"{n}.service") for n in range(tracked))),
        )
        fresh = [container(f"x{n}", claims=f"{n % 9}.service", group="/s/1/y") for n in range(500)]

        def see_and_lose() -> None:
            for one in fresh:
                here.apply(Seen(one), 3)
                here.apply(gone(one), 3)

        return best(see_and_lose)

    assert cost(10_000) < 3 * cost(10)


def test_cost_of_a_unit_lookup_does_not_depend_on_the_number_of_instances() -> None:
    def cost(tracked: int) -> float:
        scopes = [f"/system.slice/docker-{n}.scope" for n in range(tracked)]
        here = registry(
            listing("systemd", *(unit(f"{n}.service", group=f"/s/{n}") for n in range(tracked))),
            listing("podman", *(container(str(n), group=group) for n, group in enumerate(scopes))),
        )

        def look_up() -> None:
            for _ in range(500):
                assert len(here.of_unit("docker-5.scope")) == 1
                assert len(here.of_unit("5.service")) == 1
                assert here.of_unit("none.service") == []

        return best(look_up)

    assert cost(10_000) < 3 * cost(10)


def test_each_of_two_backends_of_one_kind_may_claim_a_unit() -> None:
    here = Registry({"systemd": "systemd", "podman": "podman", "build": "podman"})
    here.apply(listing("podman", container("c1")), 1)
    here.apply(listing("build", replace(container("c1"), backend="build")), 1)
    assert set(here.visible) == {Key("podman", "c1"), Key("build", "c1")}
    assert [(one.name, one.kind, one.instances) for one in here.backends.values()][1:] == [
        ("podman", "podman", 1),
        ("build", "podman", 1),
    ]
    waiting = unit("web.service", awaits="podman")
    here.apply(listing("systemd", waiting), 2)
    assert waiting.key not in here.visible
    here.apply(Absent(backend="podman", reason="gone"), 3)
    here.apply(Unfollowed("podman"), 3)
    assert waiting.key not in here.visible
    here.apply(Unfollowed("build"), 4)
    assert set(here.visible) == {waiting.key}
