"""The instance of a process, if its unit alone is not enough."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from koi_agent.core.instance import Instance
from koi_agent.publishers.dbus.processes import with_process
from tests.unit.things import container, unit

ENGINE = "docker.service"


def inside(name: str, group: str, pid: int = 0) -> Instance:
    return replace(container(name, group=group), main_pid=pid)


ONE = inside("one", "/none/one", 7)
TWO = inside("two", "/none/two", 8)


@pytest.mark.parametrize("of_unit", [[], [ONE], [unit("web.service")]])
async def test_unit_of_its_own_decides(of_unit: Sequence[Instance]) -> None:
    assert await with_process(8, "web.service", of_unit, [ONE, TWO]) == of_unit


@pytest.mark.parametrize(
    ("name", "of_unit"), [(ENGINE, [ONE, TWO]), ("-.slice", []), ("my.slice", [])]
)
async def test_main_process_of_one_of_several_leads_to_it(
    name: str, of_unit: Sequence[Instance]
) -> None:
    assert await with_process(8, name, of_unit, [unit("8.service"), ONE, TWO]) == [TWO]
    assert await with_process(2**22 + 1, name, of_unit, [ONE, TWO]) == []


async def test_unit_in_a_slice_is_not_meant_by_the_slice() -> None:
    around = replace(unit("around.service"), main_pid=8)
    assert await with_process(8, "-.slice", [], [around]) == []


async def test_process_in_a_pod_leads_to_the_pod() -> None:
    scope = f"cri-containerd-{'0a' * 32}.scope"
    assert await with_process(8, scope, [], [ONE, TWO]) == [TWO]
    assert await with_process(8, "session-1.scope", [], [ONE, TWO]) == []
