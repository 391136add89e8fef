"""The health of a container, as lists and inspections tell it, in our own words.

What a check printed is never kept: it may hold anything.
"""

import re
from typing import Final

from koi_agent.backends.http_engine.json_fields import Answer, objects, text
from koi_agent.core.instance import Health

_WORDS: Final = {
    "starting": Health.STARTING,
    "health: starting": Health.STARTING,
    "healthy": Health.HEALTHY,
    "unhealthy": Health.UNHEALTHY,
}
_STATUS: Final = re.compile(r"\((healthy|unhealthy|health: starting)\)")


def listed_health(status: str, known: tuple[Health, str]) -> tuple[Health, str]:
    """Read health from a text like ``Up 2 minutes (healthy)``.

    A paused container's does not tell, nor do any of Podman's: then it is what was ``known``.
    """
    found = _STATUS.search(status)
    if not found:
        return known
    health = _WORDS[found[1]]
    return known if known[0] is health else (health, "")


def inspected_health(state: Answer) -> tuple[Health, str]:
    """Read what an inspection has under ``Health``, with how the last check ended."""
    health = _WORDS.get(text(state, "Status"), Health.NONE)
    if health is not Health.UNHEALTHY:
        return health, ""
    code: object = None
    for check in objects(state, "Log"):
        code = check.get("ExitCode")
    return health, _detail(code)


def _detail(code: object) -> str:
    """Say how a check ended; -1 is Docker's for one that did not."""
    if type(code) is not int or code == 0 or not -1 <= code < 256:
        return "checks fail"
    return (
        f"the last check exited with {code}" if code > 0 else "the last check did not end in time"
    )
