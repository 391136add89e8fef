"""A workload that two backends report is one instance: the container, not the unit."""

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
from koi_agent.core.instance import Instance, KoiMetadata, PortMapping, PortSource, Protocol
from koi_agent.core.key import Key
from koi_agent.core.ownership import Ownership
from koi_agent.core.registry import Registry
from tests.unit.things import Reader, container, gone, listing, short_forms, unit

WEB = unit("web.service", group="/system.slice/web.service")
NAMED = container("c1", claims="web.service")
INSIDE = container("c1", group="/system.slice/web.service/libpod-payload-c1")
QUADLET = unit("web.service", awaits="podman")


class Scenario:
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
        return short_forms(events)

    @property
    def ids(self) -> set[str]:
        return {instance.id for instance in self.registry.visible.values()}

    def unit(self, name: str) -> list[str]:
        return [instance.id for instance in self.registry.of_unit(name)]


@pytest.mark.parametrize("one", [NAMED, INSIDE], ids=["by name", "by control group"])
class TestOneContainer:
    def test_container_replaces_a_unit_that_was_reported_first(self, one: Instance) -> None:
        scenario = Scenario(Seen(WEB))
        events = scenario.registry.apply(Seen(one), 1)
        assert short_forms(events) == ["-web.service", "+c1"]
        assert [e.reason for e in events if isinstance(e, Stopped)] == ["claimed"]

    def test_unit_reported_later_stays_hidden(self, one: Instance) -> None:
        scenario = Scenario(Seen(one))
        assert "web.service" not in "".join(scenario.apply(Seen(WEB)))
        assert short_forms(scenario.registry.apply(Seen(replace(WEB, state_detail="x")), 1)) == []

    def test_end_of_the_hidden_unit_emits_no_event(self, one: Instance) -> None:
        scenario = Scenario(Seen(WEB), Seen(one))
        assert scenario.apply(gone(WEB)) == []

    def test_unit_is_visible_again_after_the_container_ends(self, one: Instance) -> None:
        scenario = Scenario(Seen(WEB), Seen(one))
        assert scenario.apply(gone(one)) == ["-c1", "+web.service"]

    def test_lookup_of_the_unit_returns_the_container(self, one: Instance) -> None:
        scenario = Scenario(Seen(WEB))
        assert scenario.unit("web.service") == ["web.service"]
        scenario.apply(Seen(one))
        assert scenario.unit("web.service") == ["c1"]

    def test_alias_of_the_unit_leads_to_the_container(self, one: Instance) -> None:
        scenario = Scenario(Seen(replace(WEB, aliases=("site.service",))), Seen(one))
        assert scenario.unit("site.service") == ["c1"]
        assert scenario.registry.visible[one.key].aliases == ("site.service",)
        scenario.apply(gone(one))
        assert scenario.unit("site.service") == ["web.service"]
        scenario.apply(Seen(replace(WEB, aliases=("home.service",))))
        assert scenario.unit("site.service") == []
        assert scenario.unit("home.service") == ["web.service"]
        scenario.apply(gone(WEB))
        assert scenario.unit("home.service") == []

    def test_stale_container_keeps_the_unit_hidden(self, one: Instance) -> None:
        scenario = Scenario(listing("podman", one), Seen(WEB))
        assert scenario.apply(Lost(backend="podman", reason="x")) == ["~c1"]
        assert scenario.apply(Seen(replace(WEB, state_detail="x"))) == []
        assert scenario.apply(listing("podman", one)) == ["~c1"]

    def test_unit_is_visible_if_the_container_is_missing_after_a_reconnection(
        self, one: Instance
    ) -> None:
        scenario = Scenario(listing("podman", one), Seen(WEB), Lost(backend="podman", reason="x"))
        assert scenario.apply(listing("podman")) == ["-c1", "+web.service"]

    def test_container_recreated_during_a_disconnection_keeps_the_unit_hidden(
        self, one: Instance
    ) -> None:
        scenario = Scenario(listing("podman", one), Seen(WEB), Lost(backend="podman", reason="x"))
        assert scenario.apply(listing("podman", replace(one, id="c2"))) == ["-c1", "+c2"]

    def test_unit_is_visible_again_when_the_container_ends_its_claim(self, one: Instance) -> None:
        scenario = Scenario(Seen(WEB), Seen(one))
        freed = replace(one, unit="", control_group="")
        assert scenario.apply(Seen(freed)) == ["~c1", "+web.service"]

    def test_metadata_of_the_container_overrides_that_of_the_unit(self, one: Instance) -> None:
        own = KoiMetadata(name="label", dns_name=None)
        scenario = Scenario(
            Seen(replace(one, metadata=own)),
            Seen(replace(WEB, metadata=KoiMetadata(name="key", dns_name="web.lan"))),
        )
        seen = scenario.registry.visible[Key("podman", "c1")].metadata
        assert (seen.name, seen.dns_name) == ("label", "web.lan")
        assert scenario.apply(gone(WEB)) == ["~c1"]
        assert scenario.registry.visible[Key("podman", "c1")].metadata == own


def test_unit_is_visible_again_when_the_container_claims_another_one() -> None:
    scenario = Scenario(
        Seen(unit("a.service")), Seen(unit("b.service")), Seen(container("c", claims="a.service"))
    )
    assert scenario.apply(Seen(container("c", claims="b.service"))) == [
        "-b.service",
        "~c",
        "+a.service",
    ]


@pytest.mark.parametrize("one", [NAMED, INSIDE], ids=["by name", "by control group"])
def test_report_of_a_container_affects_the_unit_only_if_the_claim_changes(one: Instance) -> None:
    ownership = Ownership()
    ownership.put(WEB)
    assert ownership.put(one) == {WEB.key}
    assert ownership.put(replace(one, state_detail="paused")) == set()
    assert ownership.put(replace(one, unit="", control_group="")) == {WEB.key}
    assert ownership.put(one) == {WEB.key}
    assert ownership.drop(one) == {WEB.key}
    assert ownership.put(one) == {WEB.key}


def test_unit_that_moves_into_the_control_group_of_a_container_is_claimed() -> None:
    scenario = Scenario(Seen(INSIDE), Seen(unit("web.service", group="/other")))
    assert scenario.ids == {"c1", "web.service"}
    assert scenario.apply(Seen(WEB)) == ["-web.service"]


def test_unit_stays_hidden_until_the_last_of_its_containers_ends() -> None:
    scenario = Scenario(Seen(WEB), Seen(INSIDE), Seen(container("c2", claims="web.service")))
    assert scenario.unit("web.service") == ["c1", "c2"]
    assert scenario.apply(gone(INSIDE)) == ["-c1"]
    assert scenario.apply(gone(container("c2"))) == ["-c2", "+web.service"]


def test_lookup_of_an_untracked_unit_returns_its_container() -> None:
    assert Scenario(Seen(NAMED)).unit("web.service") == ["c1"]


def test_lookup_of_an_empty_name_returns_nothing() -> None:
    assert Scenario(Seen(container("c1")), Seen(WEB)).unit("") == []


def test_containers_do_not_claim_slices_and_user_managers_around_them() -> None:
    manager = "/user.slice/user-1000.slice/user@1000.service"
    scenario = Scenario(
        Seen(unit("machine.slice", group="/machine.slice")),
        Seen(unit("libpod-c1.scope", group="/machine.slice/libpod-c1.scope")),
        Seen(unit("user@1000.service", group=manager)),
        Seen(container("c1", group="/machine.slice/libpod-c1.scope/container")),
        Seen(container("c2", group=f"{manager}/user.slice/libpod-c2.scope")),
    )
    assert scenario.ids == {"machine.slice", "user@1000.service", "c1", "c2"}
    assert scenario.unit("user@1000.service") == ["user@1000.service"]


def test_control_group_with_a_common_name_prefix_is_not_a_parent() -> None:
    assert Scenario(Seen(WEB), Seen(container("c", group="/system.slice/web.service2/x"))).ids == {
        "web.service",
        "c",
    }


def test_unit_of_the_control_group_is_claimed_if_the_named_unit_is_unknown() -> None:
    odd = replace(INSIDE, unit="elsewhere.service")
    scenario = Scenario(Seen(replace(WEB, metadata=KoiMetadata(name="key"))), Seen(odd))
    assert scenario.registry.visible[Key("podman", "c1")].metadata.name == "key"
    scenario.apply(Seen(unit("elsewhere.service", koi="named")))
    assert scenario.registry.visible[Key("podman", "c1")].metadata.name == "named"


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
def test_lookup_of_the_unit_around_a_container_returns_the_container(
    group: str, names: list[str], others: list[str]
) -> None:
    here = container("c1", group=group)
    scenario = Scenario(Seen(here), Seen(container("c2", group="/system.slice/docker-c2.scope")))
    assert [scenario.unit(name) for name in names] == [["c1"]] * len(names)
    assert [scenario.unit(name) for name in others] == [[]] * len(others)
    scenario.apply(Seen(replace(here, control_group="/elsewhere.scope")))
    assert [scenario.unit(name) for name in [*names, "elsewhere.scope"]] == [
        *([[]] * len(names)),
        ["c1"],
    ]


def test_lookup_of_the_slice_of_a_pod_returns_its_containers() -> None:
    ids = ["c1", "c2"]
    scenario = Scenario(*(Seen(container(id_, group=f"{POD}libpod-{id_}.scope")) for id_ in ids))
    assert scenario.unit(POD.split("/")[2]) == ids


def test_lookup_prefers_a_unit_to_a_container_in_a_users_unit_of_that_name() -> None:
    other = container("c1", group=f"{MANAGED}app.slice/web.service/libpod-payload-c1")
    scenario = Scenario(Seen(WEB), Seen(other))
    assert scenario.unit("web.service") == ["web.service"]
    assert scenario.ids == {"web.service", "c1"}


def test_claims_end_with_their_instances() -> None:
    scenario = Scenario()
    everything = [WEB, INSIDE, replace(NAMED, control_group=f"{POD}libpod-c1.scope/container")]
    for instance in everything:
        scenario.apply(Seen(instance))
    for instance in (WEB, NAMED):
        scenario.apply(gone(instance))
    assert not any(vars(scenario.registry._ownership).values())


ABSENT = Absent(backend="podman", reason="no socket")
LOST = Lost(backend="podman", reason="refused")
AWAY: dict[str, Change] = {"absent": ABSENT, "lost": LOST}


def test_unit_of_quadlet_is_hidden_before_between_and_after_its_containers() -> None:
    scenario = Scenario()
    assert scenario.apply(listing("systemd", QUADLET, unit("a.service"))) == ["+a.service"]
    assert scenario.apply(listing("podman")) == []
    assert scenario.unit("web.service") == []
    assert scenario.apply(Seen(replace(QUADLET, state_detail="x"))) == []
    assert scenario.apply(Seen(NAMED)) == ["+c1"]
    assert scenario.apply(gone(NAMED)) == ["-c1"]
    assert scenario.apply(Seen(container("c2", claims="web.service"))) == ["+c2"]
    assert scenario.unit("web.service") == ["c2"]
    assert scenario.apply(gone(QUADLET)) == []


@pytest.mark.parametrize("answer", AWAY.values(), ids=AWAY)
def test_unit_of_quadlet_is_visible_if_podman_is_away(answer: Change) -> None:
    scenario = Scenario(listing("systemd", QUADLET))
    assert scenario.apply(answer) == ["+web.service"]
    assert scenario.unit("web.service") == ["web.service"]
    assert scenario.apply(LOST) == scenario.apply(ABSENT) == []


@pytest.mark.parametrize("answer", AWAY.values(), ids=AWAY)
def test_unit_of_quadlet_is_hidden_when_podman_appears(answer: Change) -> None:
    other = unit("other.service", awaits="podman")
    scenario = Scenario(listing("systemd", QUADLET, other), answer)
    assert scenario.apply(listing("podman", NAMED)) == ["-web.service", "+c1", "-other.service"]


def test_unit_of_quadlet_is_visible_if_podman_is_not_followed() -> None:
    here = Registry({"systemd": "systemd"})
    assert short_forms(here.apply(Seen(QUADLET), 1)) == ["+web.service"]


@pytest.mark.parametrize("answer", AWAY.values(), ids=AWAY)
def test_unit_of_quadlet_stays_hidden_while_podman_is_away(answer: Change) -> None:
    scenario = Scenario(listing("systemd", QUADLET), listing("podman"))
    assert scenario.apply(answer) == []
    assert scenario.apply(Seen(replace(QUADLET, state_detail="x"))) == []
    assert scenario.apply(listing("podman")) == []


def test_end_of_a_waiting_unit_emits_no_event() -> None:
    scenario = Scenario(listing("systemd", QUADLET))
    assert scenario.apply(gone(QUADLET)) == []
    assert scenario.apply(listing("podman")) == []


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
def test_result_does_not_depend_on_the_order_of_changes(
    running: Sequence[Instance],
    contained: Sequence[Instance],
    passing: Sequence[Instance],
    reports: Sequence[str],
    data: st.DataObject,
) -> None:
    def play(order: Sequence[Instance], ends: Sequence[str]) -> Scenario:
        scenario = Scenario()
        for instance in passing:
            scenario.apply(Seen(instance))
            scenario.apply(gone(instance))
        for instance in order:
            scenario.apply(Seen(instance))
        answers: dict[str, list[Change]] = {
            "systemd": [listing("systemd", *(i for i in order if i.backend == "systemd"))],
            "podman": [report(name, order) for name in reports],
        }
        for backend in ends:
            for answer in answers[backend]:
                scenario.apply(answer)
        return scenario

    def report(name: str, order: Sequence[Instance]) -> Change:
        running_containers = [i for i in order if i.backend == "podman"]
        known: dict[str, Change] = {"listed": listing("podman", *running_containers), **AWAY}
        return known[name]

    everything = [*running, *contained]
    one = play(everything, ["systemd", "podman"])
    other = play(
        data.draw(st.permutations(everything)), data.draw(st.permutations(["systemd", "podman"]))
    )
    assert one.registry.visible == other.registry.visible
    claimed = {i.unit for i in contained} | {
        f"{i.control_group.split('/')[2]}.service" for i in contained if i.control_group
    }
    held = {i.id for i in running if i.awaits and "listed" in reports}
    assert one.ids == {i.id for i in contained} | {i.id for i in running} - claimed - held


@given(st.lists(st.tuples(st.booleans(), units | containers), max_size=20))
def test_change_emits_at_most_one_event_for_each_instance(
    steps: Sequence[tuple[bool, Instance]],
) -> None:
    scenario = Scenario()
    for comes, instance in steps:
        events = scenario.apply(Seen(instance) if comes else gone(instance))
        assert len({event[1:] for event in events}) == len(events)


@given(by_id(containers), by_id(containers), by_id(units))
def test_listing_emits_at_most_one_event_for_each_instance(
    before: Sequence[Instance], after: Sequence[Instance], running: Sequence[Instance]
) -> None:
    scenario = Scenario(listing("podman", *before), listing("systemd", *running))
    events = scenario.apply(listing("podman", *after))
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
def test_waiting_unit_is_visible_only_while_no_container_can_claim_it(steps: Sequence[str]) -> None:
    scenario, runs = Scenario(), False
    for step in steps:
        if step.startswith("unit"):
            runs = step == "unit seen"
            scenario.apply(Seen(QUADLET) if runs else gone(QUADLET))
        elif "podman" in scenario.registry.backends:
            scenario.apply(PODMANS[step])
        else:
            scenario.apply(Followed("podman", "podman"))
        podman = scenario.registry.backends.get("podman")
        free = podman is None or podman.state in (BackendState.ABSENT, BackendState.FAILED)
        assert ("web.service" in scenario.ids) is (runs and free and "c1" not in scenario.ids)


def listening(number: int, source: PortSource = PortSource.LISTENING) -> PortMapping:
    return PortMapping(
        container_port=number,
        protocol=Protocol.TCP,
        host_port=number,
        host_ip="0.0.0.0" if source is PortSource.LISTENING else "",
        source=source,
    )


SOCKET = listening(18200)
PUBLISHED = replace(listening(80, PortSource.PUBLISHED), host_port=8080)
OWN = {
    "no ports": ((), (SOCKET,)),
    "a published port": ((PUBLISHED,), (PUBLISHED, SOCKET)),
    "a port that it listens on": ((listening(9),), (listening(9), SOCKET)),
    "the port declared": ((listening(18200, PortSource.DECLARED),), (SOCKET,)),
    "another port declared": (
        (listening(7, PortSource.DECLARED),),
        (listening(7, PortSource.DECLARED), SOCKET),
    ),
    "the same port": ((SOCKET,), (SOCKET,)),
}


@pytest.mark.parametrize("one", [NAMED, INSIDE], ids=["by name", "by control group"])
@pytest.mark.parametrize(("own", "expected"), OWN.values(), ids=OWN)
class TestSockets:
    """Ports that the manager opens for a unit are ports of the container in its place."""

    def ports(self, scenario: Scenario, id_: str = "c1") -> tuple[PortMapping, ...]:
        (shown,) = [one for one in scenario.registry.visible.values() if one.id == id_]
        return shown.ports

    def test_container_takes_over_the_ports_in_any_order(
        self, one: Instance, own: tuple[PortMapping, ...], expected: tuple[PortMapping, ...]
    ) -> None:
        unit_ = replace(QUADLET, control_group=WEB.control_group)
        unit_ = replace(unit_, ports=(SOCKET, listening(5)), socket_ports=(SOCKET,))
        container_ = replace(one, ports=own)
        for order in ((unit_, container_), (container_, unit_)):
            assert self.ports(Scenario(*map(Seen, order))) == tuple(sorted(expected))

    def test_ports_follow_the_socket_and_the_unit(
        self, one: Instance, own: tuple[PortMapping, ...], expected: tuple[PortMapping, ...]
    ) -> None:
        stopped = replace(WEB, ports=())
        open_ = replace(WEB, ports=(SOCKET,), socket_ports=(SOCKET,))
        scenario = Scenario(Seen(stopped), Seen(replace(one, ports=own)))
        for _ in range(2):
            assert self.ports(scenario) == own
            scenario.apply(Seen(open_))
            assert self.ports(scenario) == tuple(sorted(expected))
            scenario.apply(Seen(stopped))
        scenario.apply(Seen(open_))
        scenario.apply(gone(open_))
        assert self.ports(scenario) == own
        scenario.apply(Seen(open_))
        scenario.apply(gone(one))
        assert self.ports(scenario, "web.service") == (SOCKET,)
