"""State and health of a pod, from its phase, its conditions and its containers."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from koi_agent.backends.http_engine.json_fields import (
    JSONObject,
    get_int,
    get_object,
    get_objects,
    get_str,
)
from koi_agent.core.instance import Health, InstanceState
from koi_agent.core.text import printable

CRASHED: Final = "CrashLoopBackOff"
"""The reason of a container that waits until it is started again."""
_ENDED: Final = ("Succeeded", "Failed")
_PENDING, _RUNNING = "Pending", "Running"
_MAX_TEXT: Final = 253


class PodState(NamedTuple):
    """State of a pod, with the words for both of its parts."""

    state: InstanceState
    detail: str
    health: Health = Health.NONE
    health_detail: str = ""


def pod_state(record: JSONObject) -> PodState:
    """Return the state of a pod; it is ``STOPPED`` if the pod has not started, or has ended."""
    status = get_object(record, "status")
    phase = get_str(status, "phase")
    main = list(get_objects(status, "containerStatuses"))
    first = list(get_objects(status, "initContainerStatuses"))
    detail = printable(get_str(status, "reason") or phase, _MAX_TEXT)
    if phase in _ENDED:
        return PodState(InstanceState.STOPPED, detail)
    if crashed := next(_waiting([*first, *main], CRASHED), None):
        return _crashed(crashed)
    if phase == _PENDING:
        return _initialising(first, detail)
    if phase != _RUNNING:
        return PodState(InstanceState.UNKNOWN, detail, Health.UNKNOWN)
    if main and not any("running" in get_object(one, "state") for one in main):
        return PodState(InstanceState.RESTARTING, "its containers have ended", Health.STARTING)
    return PodState(InstanceState.RUNNING, detail, *_health(record, main))


def _waiting(containers: Iterable[JSONObject], reason: str) -> Iterator[JSONObject]:
    for one in containers:
        if get_str(get_object(get_object(one, "state"), "waiting"), "reason") == reason:
            yield one


def _crashed(container: JSONObject) -> PodState:
    name = printable(get_str(container, "name"), 63)
    count = get_int(container, "restartCount")
    detail = f"{CRASHED}: container {name}, restarted {count} times"
    return PodState(InstanceState.RESTARTING, detail, Health.UNHEALTHY, detail)


def _initialising(containers: list[JSONObject], detail: str) -> PodState:
    """Return the state of a pod that runs its init containers or waits for an image."""
    states = [get_object(one, "state") for one in containers]
    if any("running" in one or "terminated" in one for one in states):
        return PodState(InstanceState.RUNNING, "Initializing", Health.STARTING)
    return PodState(InstanceState.STOPPED, detail)


def _health(record: JSONObject, main: list[JSONObject]) -> tuple[Health, str]:
    """Return the health of a pod that runs; without a probe, it is not checked."""
    spec = get_object(record, "spec")
    has_probe = any("readinessProbe" in one for one in get_objects(spec, "containers"))
    if not has_probe and not spec.get("readinessGates"):
        return Health.NONE, ""
    ready = next(_conditions(record, "Ready"), None)
    if ready is None:
        return Health.UNKNOWN, ""
    if get_str(ready, "status") == "True":
        return Health.HEALTHY, ""
    detail = printable(get_str(ready, "message") or get_str(ready, "reason"), _MAX_TEXT)
    is_starting = any(one.get("started") is False for one in main)
    return (Health.STARTING if is_starting else Health.UNHEALTHY), detail


def _conditions(record: JSONObject, kind: str) -> Iterator[JSONObject]:
    for condition in get_objects(get_object(record, "status"), "conditions"):
        if get_str(condition, "type") == kind:
            yield condition
