"""The container of a process, if several share its unit.

A unit leads to its instance. But an engine may put its containers into one unit, as into
docker.service, or directly into a slice. Then the control group of the process decides.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from typing import Final

from koi_agent.core.instance import Instance
from koi_agent.host.container_groups import group_of_process, has_process

_POD_SCOPE: Final = re.compile(r"(?:cri-containerd|crio|docker)-[0-9a-f]{64}\.scope")
"""The scope of a container in a pod: the pod is the instance, and its slice is above."""


async def with_process(
    pid: int, unit: str, of_unit: Sequence[Instance], instances: Iterable[Instance]
) -> Sequence[Instance]:
    """Return the instances of a process; ``of_unit`` are those of its ``unit``.

    Control groups are compared only for a unit that several containers share, a slice, or the scope
    of a container in a pod.
    """
    if len(of_unit) < 2 and (of_unit or not _contains_others(unit)):
        return of_unit
    containers = of_unit or [one for one in instances if not one.traits.is_unit]
    if main := [one for one in containers if one.main_pid == pid]:
        return main
    if group := group_of_process(pid):
        return _innermost([one for one in containers if _contains(one.control_group, group)])
    return await asyncio.to_thread(_search, pid, containers)


def _contains_others(unit: str) -> bool:
    """Return True if a unit without an instance may be part of one, or contain some."""
    return unit.endswith(".slice") or bool(_POD_SCOPE.fullmatch(unit))


def _search(pid: int, containers: Iterable[Instance]) -> Sequence[Instance]:
    """Search for a process that ``/proc`` hides from the agent."""
    return _innermost([one for one in containers if has_process(one.control_group, pid)])


def _contains(group: str, inner: str) -> bool:
    return bool(group.strip("/")) and f"{inner}/".startswith(f"{group.rstrip('/')}/")


def _innermost(found: Sequence[Instance]) -> Sequence[Instance]:
    """Return those in the innermost group, because a container may run in another one."""
    depth = max((len(one.control_group) for one in found), default=0)
    return [one for one in found if len(one.control_group) == depth]
