"""A workload that two backends see is one thing, and the container wins."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.core.events import (
    Absent,
    BackendState,
    Change,
    Followed,
    Lost,
    Seen,
    Stopped,
    Unfollowed,
)
from koi_agent.core.instance import Instance, KoiMetadata
from koi_agent.core.key import Key
from koi_agent.core.registry import Registry
from tests.unit.things import Reader, container, gone, listing, told, unit

WEB = unit("web.service", group="/system.slice/web.service")
NAMED = container("c1", claims="web.service")
INSIDE = container("c1", group="/system.slice/web.service/libpod-payload-c1")
QUADLET = unit("web.service", awaits="podman")


class Seer:
    """A registry of both backends and a reader of its events."""

    def __init__(self, *changes: Change) -> None:
        self.registry = Registry({"systemd": "systemd", "podman": "podman"})
        self.reader = Reader()
        for change in changes:
            self.apply(change)

    def apply(self, change: Change) -> list[str]:
        events = self.registry.apply(change, 1)
        self.reader.read(events)
        assert self.reader.known == self.registry.visible
        return told(events)

    @property
    def ids(self) -> set[str]:
        return {instance.id for instance in self.registry.visible.values()}

    def unit(self, name: str) -> list[str]:
        return [instance.id for instance in self.registry.of_unit(name)]


@pytest.mark.parametrize("one", [NAMED, INSIDE], ids=["by name", "by control group"])
class TestOneContainer:
    def test_unit_seen_first_makes_way(self, one: Instance) -> None:
        seer = Seer(Seen(WEB))
        events = seer.registry.apply(Seen(one), 1)
        assert told(events) == ["-web.service", "+c1"]
        assert [e.reason for e in events if isinstance(e, Stopped)] == ["claimed"]

    def test_unit_seen_later_never_shows(self, one: Instance) -> None:
        seer = Seer(Seen(one))
        assert "web.service" not in "".join(seer.apply(Seen(WEB)))
        assert told(seer.registry.apply(Seen(replace(WEB, state_detail="x")), 1)) == []

    def test_unit_that_goes_first_is_no_event(self, one: Instance) -> None:
        seer = Seer(Seen(WEB), Seen(one))
        assert seer.apply(gone(WEB)) == []

    def test_unit_that_outlives_it_shows_again(self, one: Instance) -> None:
        seer = Seer(Seen(WEB), Seen(one))
        assert seer.apply(gone(one)) == ["-c1", "+web.service"]

    def test_unit_is_found_as_the_container(self, one: Instance) -> None:
        seer = Seer(Seen(WEB))
        assert seer.unit("web.service") == ["web.service"]
        seer.apply(Seen(one))
        assert seer.unit("web.service") == ["c1"]

    def test_stale_container_keeps_the_unit_hidden(self, one: Instance) -> None:
        seer = Seer(listing("podman", one), Seen(WEB))
        assert seer.apply(Lost(backend="podman", reason="x")) == ["~c1"]
        assert seer.apply(Seen(replace(WEB, state_detail="x"))) == []
        assert seer.apply(listing("podman", one)) == ["~c1"]

    def test_container_gone_while_it_was_lost_shows_the_unit_on_return(self, one: Instance) -> None:
        seer = Seer(listing("podman", one), Seen(WEB), Lost(backend="podman", reason="x"))
        assert seer.apply(listing("podman")) == ["-c1", "+web.service"]

    def test_container_made_anew_while_it_was_lost_does_not_flash_the_unit(
        self, one: Instance
    ) -> None:
        seer = Seer(listing("podman", one), Seen(WEB), Lost(backend="podman", reason="x"))
        assert seer.apply(listing("podman", replace(one, id="c2"))) == ["-c1", "+c2"]

    def test_container_that_claims_no_more_frees_the_unit(self, one: Instance) -> None:
        seer = Seer(Seen(WEB), Seen(one))
        freed = replace(one, unit="", control_group="")
        assert seer.apply(Seen(freed)) == ["~c1", "+web.service"]

    def test_what_the_container_says_of_itself_goes_first(self, one: Instance) -> None:
        said = KoiMetadata(name="label", dns_name=None)
        seer = Seer(
            Seen(replace(one, metadata=said)),
            Seen(replace(WEB, metadata=KoiMetadata(name="key", dns_name="web.lan"))),
        )
        seen = seer.registry.visible[Key("podman", "c1")].metadata
        assert (seen.name, seen.dns_name) == ("label", "web.lan")
        assert seer.apply(gone(WEB)) == ["~c1"]
        assert seer.registry.visible[Key("podman", "c1")].metadata == said


def test_container_that_claims_another_unit_frees_the_first() -> None:
    seer = Seer(
        Seen(unit("a.service")), Seen(unit("b.service")), Seen(container("c", claims="a.service"))
    )
    assert seer.apply(Seen(container("c", claims="b.service"))) == [
        "-b.service",
        "~c",
        "+a.service",
    ]


def test_unit_that_moves_into_a_group_is_claimed_there() -> None:
    seer = Seer(Seen(INSIDE), Seen(unit("web.service", group="/other")))
    assert seer.ids == {"c1", "web.service"}
    assert seer.apply(Seen(WEB)) == ["-web.service"]


def test_unit_of_several_containers_is_all_of_them_until_the_last_goes() -> None:
    seer = Seer(Seen(WEB), Seen(INSIDE), Seen(container("c2", claims="web.service")))
    assert seer.unit("web.service") == ["c1", "c2"]
    assert seer.apply(gone(INSIDE)) == ["-c1"]
    assert seer.apply(gone(container("c2"))) == ["-c2", "+web.service"]


def test_unit_that_is_not_tracked_is_found_by_name() -> None:
    assert Seer(Seen(NAMED)).unit("web.service") == ["c1"]


def test_unit_without_a_name_is_nothing() -> None:
    assert Seer(Seen(container("c1")), Seen(WEB)).unit("") == []


def test_units_that_hold_many_are_not_the_containers_in_them() -> None:
    manager = "/user.slice/user-1000.slice/user@1000.service"
    seer = Seer(
        Seen(unit("machine.slice", group="/machine.slice")),
        Seen(unit("libpod-c1.scope", group="/machine.slice/libpod-c1.scope")),
        Seen(unit("user@1000.service", group=manager)),
        Seen(container("c1", group="/machine.slice/libpod-c1.scope/container")),
        Seen(container("c2", group=f"{manager}/user.slice/libpod-c2.scope")),
    )
    assert seer.ids == {"machine.slice", "user@1000.service", "c1", "c2"}
    assert seer.unit("user@1000.service") == ["user@1000.service"]


def test_groups_that_only_begin_alike_are_not_around_each_other() -> None:
    assert Seer(Seen(WEB), Seen(container("c", group="/system.slice/web.service2/x"))).ids == {
        "web.service",
        "c",
    }


def test_unit_around_counts_where_the_named_one_is_unknown() -> None:
    odd = replace(INSIDE, unit="elsewhere.service")
    seer = Seer(Seen(replace(WEB, metadata=KoiMetadata(name="key"))), Seen(odd))
    assert seer.registry.visible[Key("podman", "c1")].metadata.name == "key"
    seer.apply(Seen(unit("elsewhere.service", koi="named")))
    assert seer.registry.visible[Key("podman", "c1")].metadata.name == "named"


MANAGED = "/user.slice/user-1000.slice/user@1000.service/"
POD = "/machine.slice/machine-libpod_pod_0a1b.slice/"


@pytest.mark.parametrize(
    ("group", "names", "others"),
    [
        ("/system.slice/docker-c1.scope", ["docker-c1.scope"], ["system.slice"]),
        ("/machine.slice/libpod-c1.scope/container", ["libpod-c1.scope"], ["container"]),
        (f"{POD}libpod-c1.scope", ["libpod-c1.scope", POD.split("/")[2]], ["machine.slice"]),
        (POD, [POD.split("/")[2]], [""]),
        (f"{MANAGED}user.slice/libpod-c1.scope", ["libpod-c1.scope"], MANAGED.split("/")),
        ("/system.slice/run-r1.scope/libpod-payload-c1", ["run-r1.scope"], ["libpod-payload-c1"]),
        ("/system.slice/dind.service/docker/c1/a.scope", ["dind.service"], ["a.scope", "docker"]),
        ("/docker/c1", [], ["docker", "c1"]),
        ("", [], [""]),
    ],
)
def test_name_of_the_unit_around_a_container_finds_it(
    group: str, names: list[str], others: list[str]
) -> None:
    here = container("c1", group=group)
    seer = Seer(Seen(here), Seen(container("c2", group="/system.slice/docker-c2.scope")))
    assert [seer.unit(name) for name in names] == [["c1"]] * len(names)
    assert [seer.unit(name) for name in others] == [[]] * len(others)
    seer.apply(Seen(replace(here, control_group="/elsewhere.scope")))
    assert [seer.unit(name) for name in [*names, "elsewhere.scope"]] == [
        *([[]] * len(names)),
        ["c1"],
    ]


def test_name_of_a_pod_finds_all_its_containers() -> None:
    ids = ["c1", "c2"]
    seer = Seer(*(Seen(container(id_, group=f"{POD}libpod-{id_}.scope")) for id_ in ids))
    assert seer.unit(POD.split("/")[2]) == ids


def test_unit_goes_before_a_container_in_another_managers_unit_of_its_name() -> None:
    other = container("c1", group=f"{MANAGED}app.slice/web.service/libpod-payload-c1")
    seer = Seer(Seen(WEB), Seen(other))
    assert seer.unit("web.service") == ["web.service"]
    assert seer.ids == {"web.service", "c1"}


def test_what_is_gone_leaves_no_claim_behind() -> None:
    seer = Seer()
    everything = [WEB, INSIDE, replace(NAMED, control_group=f"{POD}libpod-c1.scope/container")]
    for instance in everything:
        seer.apply(Seen(instance))
    for instance in (WEB, NAMED):
        seer.apply(gone(instance))
    assert not any(vars(seer.registry._ownership).values())


ABSENT = Absent(backend="podman", reason="no socket")
LOST = Lost(backend="podman", reason="refused")
AWAY: dict[str, Change] = {"absent": ABSENT, "lost": LOST}


def test_quadlets_unit_is_never_seen_before_between_and_after_its_containers() -> None:
    seer = Seer()
    assert seer.apply(listing("systemd", QUADLET, unit("a.service"))) == ["+a.service"]
    assert seer.apply(listing("podman")) == []
    assert seer.unit("web.service") == []
    assert seer.apply(Seen(replace(QUADLET, state_detail="x"))) == []
    assert seer.apply(Seen(NAMED)) == ["+c1"]
    assert seer.apply(gone(NAMED)) == ["-c1"]
    assert seer.apply(Seen(container("c2", claims="web.service"))) == ["+c2"]
    assert seer.unit("web.service") == ["c2"]
    assert seer.apply(gone(QUADLET)) == []


@pytest.mark.parametrize("answer", AWAY.values(), ids=AWAY)
def test_quadlets_unit_shows_where_podman_can_not_claim_it(answer: Change) -> None:
    seer = Seer(listing("systemd", QUADLET))
    assert seer.apply(answer) == ["+web.service"]
    assert seer.unit("web.service") == ["web.service"]
    assert seer.apply(LOST) == seer.apply(ABSENT) == []


@pytest.mark.parametrize("answer", AWAY.values(), ids=AWAY)
def test_quadlets_unit_makes_way_once_podman_is_there(answer: Change) -> None:
    other = unit("other.service", awaits="podman")
    seer = Seer(listing("systemd", QUADLET, other), answer)
    assert seer.apply(listing("podman", NAMED)) == ["-web.service", "+c1", "-other.service"]


def test_quadlets_unit_shows_where_podman_is_not_followed() -> None:
    here = Registry({"systemd": "systemd"})
    assert told(here.apply(Seen(QUADLET), 1)) == ["+web.service"]


@pytest.mark.parametrize("answer", AWAY.values(), ids=AWAY)
def test_quadlets_unit_is_held_back_while_podman_is_away(answer: Change) -> None:
    seer = Seer(listing("systemd", QUADLET), listing("podman"))
    assert seer.apply(answer) == []
    assert seer.apply(Seen(replace(QUADLET, state_detail="x"))) == []
    assert seer.apply(listing("podman")) == []


def test_unit_that_goes_while_it_is_held_back_is_no_event() -> None:
    seer = Seer(listing("systemd", QUADLET))
    assert seer.apply(gone(QUADLET)) == []
    assert seer.apply(listing("podman")) == []


units = st.builds(
    lambda name, awaits, koi: unit(f"{name}.service", group=f"/s/{name}", awaits=awaits, koi=koi),
    st.sampled_from("abc"),
    st.sampled_from(["", "podman"]),
    st.sampled_from(["", "key"]),
)
containers = st.builds(
    lambda id_, claims, group, koi: container(id_, claims=claims, group=group, koi=koi),
    st.sampled_from("xyz"),
    st.sampled_from(["", "a.service", "b.service"]),
    st.sampled_from(["", "/s/a/p", "/s/b", "/s/c/p/q"]),
    st.sampled_from(["", "label"]),
)


def by_id(some: st.SearchStrategy[Instance]) -> st.SearchStrategy[list[Instance]]:
    return st.lists(some, unique_by=lambda instance: instance.id)


@given(
    by_id(units),
    by_id(containers),
    st.lists(units | containers, max_size=6),
    st.lists(st.sampled_from(["listed", "absent", "lost"]), min_size=1, max_size=4),
    st.data(),
)
def test_any_order_of_the_same_changes_ends_in_the_same(
    running: Sequence[Instance],
    contained: Sequence[Instance],
    passing: Sequence[Instance],
    words: Sequence[str],
    data: st.DataObject,
) -> None:
    def play(order: Sequence[Instance], ends: Sequence[str]) -> Seer:
        seer = Seer()
        for instance in passing:
            seer.apply(Seen(instance))
            seer.apply(gone(instance))
        for instance in order:
            seer.apply(Seen(instance))
        answers: dict[str, list[Change]] = {
            "systemd": [listing("systemd", *(i for i in order if i.backend == "systemd"))],
            "podman": [spoken(word, order) for word in words],
        }
        for backend in ends:
            for answer in answers[backend]:
                seer.apply(answer)
        return seer

    def spoken(word: str, order: Sequence[Instance]) -> Change:
        there = [i for i in order if i.backend == "podman"]
        says: dict[str, Change] = {"listed": listing("podman", *there), **AWAY}
        return says[word]

    everything = [*running, *contained]
    one = play(everything, ["systemd", "podman"])
    other = play(
        data.draw(st.permutations(everything)), data.draw(st.permutations(["systemd", "podman"]))
    )
    assert one.registry.visible == other.registry.visible
    claimed = {i.unit for i in contained} | {
        f"{i.control_group.split('/')[2]}.service" for i in contained if i.control_group
    }
    held = {i.id for i in running if i.awaits and "listed" in words}
    assert one.ids == {i.id for i in contained} | {i.id for i in running} - claimed - held


@given(st.lists(st.tuples(st.booleans(), units | containers), max_size=20))
def test_no_change_makes_anything_flicker(steps: Sequence[tuple[bool, Instance]]) -> None:
    seer = Seer()
    for comes, instance in steps:
        events = seer.apply(Seen(instance) if comes else gone(instance))
        assert len({event[1:] for event in events}) == len(events)


@given(by_id(containers), by_id(containers), by_id(units))
def test_no_listing_makes_anything_flicker(
    before: Sequence[Instance], after: Sequence[Instance], running: Sequence[Instance]
) -> None:
    seer = Seer(listing("podman", *before), listing("systemd", *running))
    events = seer.apply(listing("podman", *after))
    assert len({event[1:] for event in events}) == len(events)


PODMANS: dict[str, Change] = {
    "listed": listing("podman"),
    "with its container": listing("podman", NAMED),
    **AWAY,
    "seen": Seen(NAMED),
    "gone": gone(NAMED),
    "unfollowed": Unfollowed("podman"),
}


@given(st.lists(st.sampled_from([*PODMANS, "unit seen", "unit gone"]), max_size=20))
def test_unit_that_waits_is_seen_just_where_nobody_can_claim_it(steps: Sequence[str]) -> None:
    seer, runs = Seer(), False
    for step in steps:
        if step.startswith("unit"):
            runs = step == "unit seen"
            seer.apply(Seen(QUADLET) if runs else gone(QUADLET))
        elif "podman" in seer.registry.backends:
            seer.apply(PODMANS[step])
        else:
            seer.apply(Followed("podman", "podman"))
        podman = seer.registry.backends.get("podman")
        free = podman is None or podman.state in (BackendState.ABSENT, BackendState.FAILED)
        assert ("web.service" in seer.ids) is (runs and free and "c1" not in seer.ids)
