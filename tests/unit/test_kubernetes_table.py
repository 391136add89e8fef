"""Lists and events of pods: the newer one of two counts, whichever comes first."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from koi_agent.backends.http_engine.json_fields import JSONObject
from koi_agent.backends.kubernetes.numbers import Numbers
from koi_agent.backends.kubernetes.pods import Place, Pod, parse_pod
from koi_agent.backends.kubernetes.resources import Found
from koi_agent.backends.kubernetes.table import PodTable
from koi_agent.core.events import Gone, Seen
from koi_agent.core.instance import copied
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.owner_ports import HostPorts
from tests.runtimes.fake_cluster import FakeCluster

PLACE = Place(backend="kubernetes", node="n1")


class World:
    """A table, and what it has delivered."""

    def __init__(self, numbers: Numbers | None = None) -> None:
        self.delivered: list[Seen | Gone] = []
        self.ports = HostPorts(ListenerTable(), lambda _: None)
        self.table = PodTable(
            "kubernetes",
            numbers or Numbers(),
            self.ports,
            self.delivered.append,
            lambda pod: pod.instance,
        )

    def names(self) -> dict[str, str]:
        return {one.id: one.name for one in self.table.instances()}


def pod(id_: str, version: int, name: str = "", *, owner: str = "") -> Pod:
    cluster = FakeCluster()
    uid = cluster.create()
    cluster.run(uid)
    parsed = parse_pod(cluster.pods[uid], PLACE)
    instance = copied(parsed.instance, id=id_, name=name or f"v{version}")
    object.__setattr__(instance, "key", replace(instance).key)
    return replace(parsed, instance=instance, version=version, owner=owner)


def test_event_that_is_newer_than_the_list_wins() -> None:
    world = World()
    table = world.table
    table.begin_list()
    table.apply("a", pod("a", 7))
    table.remove("b", 8)
    listed = {"a": pod("a", 3), "b": pod("b", 4), "c": pod("c", 5)}
    assert table.apply_list(listed, 6) == {"a", "b"}
    table.end_list()
    assert world.names() == {"a": "v7", "c": "v5"}


def test_list_that_is_newer_than_an_event_wins_and_is_delivered() -> None:
    world = World()
    table = world.table
    table.begin_list()
    table.apply("a", pod("a", 3))
    table.apply("gone", pod("gone", 4))
    world.delivered.clear()
    assert table.apply_list({"a": pod("a", 5)}, 6) == frozenset()
    table.end_list()
    assert world.names() == {"a": "v5"}
    names = {one.instance.name if isinstance(one, Seen) else one.id for one in world.delivered}
    assert names == {"v5", "gone"}, "an event named both: a list alone does not count for them"


def test_end_in_a_list_is_delivered_of_a_pod_whose_services_changed_in_between() -> None:
    world = World()
    world.table.apply_list({"a": pod("a", 3), "b": pod("b", 3)}, 4)
    world.table.begin_list()
    world.table.refresh({"a"})
    world.delivered.clear()
    assert world.table.apply_list({}, 6) == frozenset()
    world.table.end_list()
    assert [one.id for one in world.delivered if isinstance(one, Gone)] == ["a"]


def test_late_event_changes_nothing_and_explains_the_list() -> None:
    world = World()
    world.table.apply_list({"a": pod("a", 5)}, 6)
    world.table.apply("a", pod("a", 4))
    world.table.apply("b", pod("b", 6))
    assert world.names() == {"a": "v5"}
    first, second = world.delivered
    assert isinstance(first, Seen)
    assert first.instance.name == "v5"
    assert isinstance(second, Gone)


def test_record_that_can_not_be_read_stays_as_it_is_known() -> None:
    world = World()
    world.table.apply_list({"a": pod("a", 5), "b": pod("b", 5)}, 6)
    world.table.apply_list({"a": None}, 8)
    assert world.names() == {"a": "v5"}


def test_list_replaces_only_what_has_another_version() -> None:
    world = World()
    world.table.apply_list({"a": pod("a", 5), "b": pod("b", 5)}, 6)
    world.table.apply_list({"a": pod("a", 5, "same"), "b": pod("b", 7)}, 8)
    assert world.names() == {"a": "v5", "b": "v7"}


def test_list_parses_only_what_is_not_known_at_its_version() -> None:
    world, cluster = World(), FakeCluster()
    uids = [cluster.create(owner="rs") for _ in range(2)]
    for uid in uids:
        cluster.run(uid)
    parsed: list[str] = []

    def parse(record: JSONObject) -> Pod:
        parsed.append(record["metadata"]["uid"])
        return parse_pod(record, PLACE)

    def apply_list() -> None:
        found = Found(world.table.known, parse, lambda subject, bad: None)
        for record in cluster.pods.values():
            found.add(record)
        world.table.apply_list(found.objects, cluster.version)

    apply_list()
    cluster.annotate(uids[1], "New")
    apply_list()
    assert parsed == [*uids, uids[1]]
    assert [one.replica for one in world.table.instances()] == [1, 2]


def test_list_that_is_not_whole_removes_nothing() -> None:
    world = World()
    world.table.apply_list({"a": pod("a", 5), "b": pod("b", 5)}, 6)
    world.table.apply_list({"a": pod("a", 7)}, 8, is_whole=False)
    assert world.names() == {"a": "v7", "b": "v5"}
    world.table.apply_list({"a": pod("a", 7)}, 9)
    assert world.names() == {"a": "v7"}


def test_numbers_of_a_first_list_follow_creation() -> None:
    world = World()
    late = pod("a", 5, owner="rs")
    early = pod("b", 5, owner="rs")
    early = replace(early, instance=copied(early.instance, created_at=1))
    world.table.apply_list({"a": late, "b": early}, 6)
    assert {one.id: one.replica for one in world.table.instances()} == {"a": 2, "b": 1}


def test_number_of_a_pod_that_ended_while_the_server_was_away_is_free() -> None:
    numbers = Numbers()
    before, after = World(numbers), World(numbers)
    old = {id_: pod(id_, 5, owner="rs") for id_ in "abc"}
    before.table.apply_list(old, 6)
    after.table.apply_list({"d": pod("d", 8, owner="rs"), "b": None, "c": old["c"]}, 9)
    assert {one.id: one.replica for one in after.table.instances()} == {"d": 1, "c": 3}
    after.table.apply_list({"d": pod("d", 8, owner="rs"), "b": old["b"]}, 11)
    assert {one.id: one.replica for one in after.table.instances()} == {"d": 1, "b": 2}


def test_list_that_is_not_whole_frees_no_number() -> None:
    numbers = Numbers()
    World(numbers).table.apply_list({"a": pod("a", 5, owner="rs")}, 6)
    world = World(numbers)
    world.table.apply_list({"b": pod("b", 8, owner="rs")}, 9, is_whole=False)
    assert [one.replica for one in world.table.instances()] == [2]


OWNERS = st.sampled_from(["rs-1", "rs-2", ""])


@given(st.lists(st.tuples(st.integers(0, 9), OWNERS, st.booleans()), max_size=60))
def test_numbers_are_the_lowest_that_are_free(steps: list[tuple[int, str, bool]]) -> None:
    numbers = Numbers()
    held: dict[str, tuple[str, int]] = {}
    for id_, chosen, ends in steps:
        key = str(id_)
        if ends:
            numbers.release(key)
            held.pop(key, None)
            continue
        owner = held[key][0] if key in held else chosen
        number = numbers.number(pod(key, 1, owner=owner))
        taken = {other[1] for name, other in held.items() if other[0] == owner and name != key}
        if not owner:
            assert number == 0
            continue
        if key in held:
            assert number == held[key][1]
        else:
            assert number == min(set(range(1, 12)) - taken)
        held[key] = owner, number
