"""Finds the control group of a container that LXC runs, as Incus and LXD do.

The payload of a container is in ``lxc.payload.NAME``, below the group in which the daemon started
LXC. The container's own manager creates groups below that.
"""

import os
from typing import Final

from koi_agent.host.cgroups import ROOT, unified
from koi_agent.host.container_groups import group_of_process

_PAYLOAD: Final = "lxc.payload."


def payload_group(project: str, name: str, pid: int) -> str:
    """Return the control group of a container by its main process, "" if it is not found.

    The process may be hidden (``ProtectProc=``). Then the usual place is tried. LXC's name of a
    container outside the default project begins with the project.
    """
    if not pid:
        return ""
    wanted = f"{_PAYLOAD}{name if project == 'default' else f'{project}_{name}'}"
    parts = group_of_process(pid).split("/")
    # If the group of an earlier run is left, LXC adds a number to the name.
    ends = (end for end, part in enumerate(parts, 1) if f"{part}-".startswith(f"{wanted}-"))
    if group := "/".join(parts[: next(ends, 0)]):
        return group
    root = unified(ROOT)
    is_there = root is not None and os.path.isdir(f"{root}/{wanted}")  # noqa: PTH112 - quicker
    return f"/{wanted}" if is_there else ""
