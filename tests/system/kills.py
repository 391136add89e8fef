"""The agent is killed at random moments, while what it follows starts and stops."""

import random
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from tests.namespaces import wait_until
from tests.system.engines import await_state, backend
from tests.system.service import Service

PATIENCE: Final = 120
"""Seconds for the actions of a round, and for the agent to agree after it."""
ACTION: Final = 0.4
"""Seconds that an action takes, more or less: the agent is killed in this time, or soon after."""
NO_LIMIT: Final = "[Unit]\nStartLimitIntervalSec=0\n"
"""A drop-in for a service that is killed again and again."""


def kill_during(service: Service, actions: Sequence[str], moments: random.Random) -> None:
    """Run shell commands one after the other, and kill the agent at a random moment meanwhile."""
    before = service.pid
    running = service.machine.spawn("sh", "-ec", "\n".join(actions))
    try:
        time.sleep(moments.uniform(0, ACTION * len(actions)))
        service.machine.kill(before, signal.SIGKILL)
        assert running.wait(PATIENCE) == 0, f"one of these failed: {actions}"
    finally:
        running.kill()
        running.wait()
    wait_until(lambda: service.pid not in (0, before), "the agent is started again")


def await_same(
    service: Service, name: str, published: Callable[[], object], real: Callable[[], object]
) -> None:
    """Wait until a backend agrees with its runtime, also after a list that finds no drift."""
    await_state(service, name, "synced")
    for _ in range(2):
        wait_until(
            lambda: published() == real(),
            lambda: f"{published()} is published of {real()}",
            timeout=PATIENCE,
        )
        service.resync()
    assert backend(service, name)["drift"] == 0
