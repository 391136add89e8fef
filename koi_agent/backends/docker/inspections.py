"""What only an inspection tells of a container: how it runs, and what its engine does with it."""

import re
from dataclasses import dataclass
from typing import Final

from koi_agent.backends.docker.events import signal_number
from koi_agent.backends.http_engine.json_fields import Answer, inner, number, text

_MOST_PID: Final = 2**22  # the kernel's PID_MAX_LIMIT
_GROUP: Final = re.compile("[!-~]{1,1000}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What only an inspection tells; ``started_at`` is as the engine spells it.

    ``restart_policy`` is empty where the engine does not start it again by itself,
    ``stop_signal`` 0 where it is the usual one.
    """

    main_pid: int = 0
    control_group: str = ""
    cgroup_parent: str = ""
    started_at: str = ""
    restart_policy: str = ""
    restart_count: int = 0
    stop_signal: int = 0


def inspection(said: Answer) -> Inspected:
    """Read it from an inspection's answer."""
    config, host, state = inner(said, "Config"), inner(said, "HostConfig"), inner(said, "State")
    policy = text(inner(host, "RestartPolicy"), "Name")
    return Inspected(
        main_pid=number(state, "Pid", _MOST_PID + 1),
        control_group=_group(text(state, "CgroupPath")),
        cgroup_parent=_group(text(host, "CgroupParent")),
        started_at=text(state, "StartedAt")[:64],
        restart_policy="" if policy == "no" else policy[:40],
        restart_count=number(said, "RestartCount"),
        stop_signal=_stop_signal(config),
    )


def _group(path: str) -> str:
    """Accept a control group's path, or a slice's name; no other is ever opened."""
    return path if _GROUP.fullmatch(path) and ".." not in path.split("/") else ""


def _stop_signal(config: Answer) -> int:
    """Read a signal that Docker writes as a word and Podman as a number or a word."""
    return number(config, "StopSignal", 65) or signal_number(text(config, "StopSignal"))
