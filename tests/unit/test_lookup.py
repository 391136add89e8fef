"""Which instances a word means: one rule for the command, HTTP and D-Bus."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from koi_agent.core.instance import Instance, KoiMetadata, RecordState, RecordStatus
from koi_agent.core.lookup import find, of_instance
from tests.unit.things import container, unit

WIKI = "4f3a" + "0" * 60
OTHER = "4f3b" + "0" * 60
POD = "38969e3b-90a7-45f1-9f34-cc41cec3ab03"


def named(instance: Instance, *titles: str, name: str = "", dns_name: str = "") -> Instance:
    """Return an instance with announced records and requested names."""
    records = tuple(RecordStatus(name=one, state=RecordState.ANNOUNCED) for one in titles)
    metadata = KoiMetadata(name=name or None, dns_name=dns_name or None)
    return replace(instance, announcements=records, metadata=metadata)


INSTANCES = (
    named(
        replace(container(WIKI), name="cool_visvesvaraya"),
        "wiki._http._tcp.local",
        "wiki.local",
        name="wiki",
    ),
    replace(container(OTHER), name="db", unit="postgres.service"),
    replace(unit("real-server.service"), aliases=("srv.service", "other@.service")),
    named(unit("web.service"), "My x._y site._http._tcp.local"),
    named(unit("wait.service"), dns_name="later"),
    unit("tick@a:b.service"),
    replace(unit("db.socket"), name="db.socket"),
)


def meant(word: str, instances: Sequence[Instance] = INSTANCES) -> list[str]:
    return [one.name for one in find(word, map(of_instance, instances))]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("cool_visvesvaraya", "cool_visvesvaraya"),
        ("wiki", "cool_visvesvaraya"),
        ("Wiki", "cool_visvesvaraya"),
        ("wiki.local", "cool_visvesvaraya"),
        ("WIKI.local.", "cool_visvesvaraya"),
        ("wiki._http._tcp.local", "cool_visvesvaraya"),
        (WIKI, "cool_visvesvaraya"),
        (WIKI[:12], "cool_visvesvaraya"),
        ("4f3a", "cool_visvesvaraya"),
        (f"podman:{WIKI}", "cool_visvesvaraya"),
        ("podman:4f3a", "cool_visvesvaraya"),
        ("podman:wiki", "cool_visvesvaraya"),
        ("db", "db"),
        ("postgres", "db"),
        ("postgres.service", "db"),
        ("podman:postgres.service", "db"),
        ("srv", "real-server"),
        ("srv.service", "real-server"),
        ("systemd:srv", "real-server"),
        ("real-server.service", "real-server"),
        ("My x._y site", "web"),
        ("later", "wait"),
        ("later.local", "wait"),
        ("tick@a:b", "tick@a:b"),
        ("systemd:tick@a:b.service", "tick@a:b"),
        ("db.socket", "db.socket"),
    ],
)
def test_each_kind_of_name_means_its_instance(word: str, name: str) -> None:
    assert meant(word) == [name]


@pytest.mark.parametrize(
    "word",
    [
        "",
        ":",
        "podman:",
        "systemd:wiki",
        "docker:wiki",
        "4f3c",
        "we",
        "real",
        "_http._tcp",
        "local",
    ],
)
def test_other_words_mean_no_instance(word: str) -> None:
    assert meant(word) == []


@pytest.mark.parametrize(
    ("word", "names"),
    [
        (POD, ["web-1"]),
        (POD[:4], ["web-1"]),
        (POD[:14], ["web-1"]),
        (f"podman:{POD[:8]}", ["web-1"]),
        ("https://shop.home.example:8443", ["web-1"]),
        ("Shop.home.example.", ["web-1"]),
        ("blog.internal", ["web-1"]),
        ("*.home.example", ["web-1"]),
        ("home.example", []),
        ("shop.home.example:8443", []),
        ("facade", []),
    ],
)
def test_pods_and_routes_are_found(word: str, names: Sequence[str]) -> None:
    pod = replace(container(POD), name="web-1")
    routed = named(pod, "https://shop.home.example:8443", "blog.internal")
    assert meant(word, (routed, unit("facade-cafe.service"))) == names


def test_beginning_of_two_ids_means_both() -> None:
    assert meant("4f3") == ["cool_visvesvaraya", "db"]


def test_exact_name_goes_before_what_others_announce_or_request() -> None:
    wiki = unit("wiki.service")
    assert meant("wiki", (*INSTANCES, wiki)) == ["wiki"]


def test_announced_name_goes_before_one_that_is_only_requested() -> None:
    requesting = named(replace(container("f" * 64), name="blue"), name="wiki")
    assert meant("wiki", (*INSTANCES, requesting)) == ["cool_visvesvaraya"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("w*", ["cool_visvesvaraya", "wait", "web"]),
        ("podman:*", ["cool_visvesvaraya", "db"]),
        ("systemd:*s*v*.service", ["real-server"]),
        ("sr?", []),
        ("sr?.service", ["real-server"]),
        ("[dp]b", ["db"]),
        ("*.local", ["cool_visvesvaraya", "web"]),
        ("x*", []),
    ],
)
def test_pattern_means_all_that_match(pattern: str, names: Sequence[str]) -> None:
    assert sorted(meant(pattern)) == sorted(names)
