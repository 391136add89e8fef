"""Tells one run of a container from the next."""

from koi_agent.backends.docker.containers import Container
from koi_agent.core.instance import InstanceState


def started_anew(before: Container, said: Container, *, has_ended: bool) -> bool:
    """Tell whether a container has been stopped and started, and nobody said so.

    Where the engine itself started it again, it was one long run to everybody else. Of one that
    was never inspected before, it is known only whether an event said that it ended.
    """
    then, now = before.inspected, said.inspected
    if now is None or (then is None and not has_ended):
        return False
    if then and then.started_at == now.started_at:
        return False
    restarts = then.restart_count if then else 0
    return before.state is not InstanceState.RESTARTING and now.restart_count <= restarts
