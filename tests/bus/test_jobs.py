"""The jobs of the service manager show whether it stops or restarts a service."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from koi_agent.bus.interfaces import Method, interface
from koi_agent.bus.jobs import is_restarted
from tests.bus.tables import playing
from tests.world.bus import PrivateBus

SYSTEMD = "org.freedesktop.systemd1"
UNIT = "koi-runtime-hook.service"


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ((), False),
        (((UNIT, "stop"),), False),
        (((UNIT, "restart"), ("other.service", "stop")), True),
        (((UNIT, "try-restart"),), True),
        (((UNIT, "stop"), ("other.service", "restart")), False),
    ],
)
async def test_a_job_shows_whether_the_service_comes_back(
    bus: PrivateBus, jobs: Sequence[tuple[str, str]], *, expected: bool
) -> None:
    def listed(_call: object) -> Sequence[Any]:
        return ([[at, *job, "running", f"/job/{at}", "/unit"] for at, job in enumerate(jobs, 1)],)

    returns = (("jobs", "a(usssoo)"),)
    manager = interface(
        f"{SYSTEMD}.Manager", Method(name="ListJobs", handle=listed, returns=returns)
    )
    async with playing(bus.address, SYSTEMD, {"/org/freedesktop/systemd1": manager}):
        assert await asyncio.to_thread(partial(is_restarted, UNIT, bus.address)) is expected


def test_without_an_answer_it_is_a_stop(bus: PrivateBus) -> None:
    assert not is_restarted(UNIT, bus.address)
    assert not is_restarted(UNIT, "unix:path=/nonexistent/bus")
