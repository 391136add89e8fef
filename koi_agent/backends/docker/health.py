"""The health of a container, parsed from lists and inspections.

What a check printed is never kept: it may hold anything.
"""

import re
from typing import Final

from koi_agent.backends.http_engine.json_fields import JSONObject, get_objects, get_str
from koi_agent.core.instance import Health

_WORDS: Final = {
    "starting": Health.STARTING,
    "health: starting": Health.STARTING,
    "healthy": Health.HEALTHY,
    "unhealthy": Health.UNHEALTHY,
}
_STATUS: Final = re.compile(r"\((healthy|unhealthy|health: starting)\)")


def health_from_status(status: str, known: tuple[Health, str]) -> tuple[Health, str]:
    """Return health and detail from a status like ``Up 2 minutes (healthy)``.

    A status without health leaves what is ``known``: Docker's status of a paused container has
    none, and Podman's never has.
    """
    found = _STATUS.search(status)
    if not found:
        return known
    health = _WORDS[found[1]]
    return known if known[0] is health else (health, "")


def health_from_inspection(state: JSONObject) -> tuple[Health, str]:
    """Return health from ``Health`` of an inspection, with how the last check ended."""
    health = _WORDS.get(get_str(state, "Status"), Health.NONE)
    if health is not Health.UNHEALTHY:
        return health, ""
    code: object = None
    for check in get_objects(state, "Log"):
        code = check.get("ExitCode")
    return health, _describe_exit(code)


def _describe_exit(code: object) -> str:
    """Describe how a check ended; Docker's code for one that timed out is -1."""
    if type(code) is not int or code == 0 or not -1 <= code < 256:
        return "checks fail"
    return f"the last check exited with {code}" if code > 0 else "the last check timed out"
