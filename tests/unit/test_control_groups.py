"""Which unit a control group belongs to, in a directory that resembles the kernel's."""

from pathlib import Path

import pytest

from koi_agent.host.cgroups import ControlGroups, unified


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").touch()
    return tmp_path


def made(root: Path, group: str) -> int:
    folder = root / group.strip("/")
    folder.mkdir(parents=True)
    return folder.stat().st_ino


def test_unit_owns_its_group_and_those_below(root: Path) -> None:
    own = made(root, "/a.slice/web.service")
    below = made(root, "/a.slice/web.service/payload/inner")
    other = made(root, "/a.slice/other.service")
    groups = ControlGroups(root)
    owners = groups.owners([own, below, other, 0, 1], {"web.service": "/a.slice/web.service"})
    assert owners == {own: "web.service", below: "web.service"}


def test_unit_inside_another_units_group_keeps_its_own(root: Path) -> None:
    made(root, "/user@0.service")
    inner = made(root, "/user@0.service/app.slice/web.service")
    payload = made(root, "/user@0.service/app.slice/web.service/payload")
    units = {
        "user@0.service": "/user@0.service",
        "web.service": "/user@0.service/app.slice/web.service",
    }
    owners = ControlGroups(root).owners([inner, payload], units)
    assert owners == {inner: "web.service", payload: "web.service"}


def test_unit_inside_another_units_group_gets_its_own_when_it_is_followed(root: Path) -> None:
    inner = made(root, "/user@0.service/web.service")
    outer = {"user@0.service": "/user@0.service"}
    groups = ControlGroups(root)
    assert groups.owners([inner], outer) == {inner: "user@0.service"}
    both = outer | {"web.service": "/user@0.service/web.service"}
    assert groups.owners([inner], both) == {inner: "web.service"}
    assert groups.owners([inner], outer) == {inner: "user@0.service"}


def test_unit_that_restarts_is_found_again(root: Path) -> None:
    units = {"web.service": "/web.service"}
    groups = ControlGroups(root)
    first = made(root, "/web.service")
    assert groups.owners([first], units) == {first: "web.service"}
    (root / "web.service").rename(root / "gone")
    second = made(root, "/web.service")
    assert groups.owners([second], units) == {second: "web.service"}


def test_group_created_later_below_a_known_one_is_found(root: Path) -> None:
    units = {"web.service": "/web.service"}
    groups = ControlGroups(root)
    first = made(root, "/web.service/payload")
    groups.owners([first], units)
    second = made(root, "/web.service/payload/inner")
    assert groups.owners([first, second], units) == {first: "web.service", second: "web.service"}


def test_group_without_a_unit_is_looked_for_once(root: Path) -> None:
    made(root, "/a.service")
    made(root, "/b.service")
    unowned = made(root, "/user.slice")
    one = {"a.service": "/a.service"}
    both = one | {"b.service": "/b.service"}
    groups = ControlGroups(root)
    assert groups.owners([unowned], one) == {}
    # The kernel moves no group. Here, a second search of a.service would find it there.
    (root / "user.slice").rename(root / "a.service/user.slice")
    for units in (one, one, both, both):
        assert groups.owners([unowned], units) == {}
    new = made(root, "/other.slice")
    assert groups.owners([unowned, new], both) == {unowned: "a.service"}


def test_group_gets_an_owner_when_its_unit_is_followed(root: Path) -> None:
    own = made(root, "/web.service")
    groups = ControlGroups(root)
    assert groups.owners([own], {}) == {}
    assert groups.owners([own], {"web.service": "/web.service"}) == {own: "web.service"}
    assert groups.owners([own], {}) == {}


@pytest.mark.parametrize("group", ["", "/", "/../a", "/missing.service", "/a\0b"])
def test_bad_group_owns_nothing(root: Path, group: str) -> None:
    unowned = made(root, "/user.slice")
    ids = [unowned, root.stat().st_ino]
    assert ControlGroups(root).owners(ids, {"web.service": group}) == {}


def test_unified_hierarchy_is_found_on_hybrid_systems(tmp_path: Path) -> None:
    assert unified(tmp_path) is None
    assert ControlGroups(tmp_path).owners([1], {"web.service": "/web.service"}) == {}
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified" / "cgroup.controllers").touch()
    assert unified(tmp_path) == tmp_path / "unified"
