"""The watch on this host's interfaces, with the real kernel."""

import asyncio
import resource

import pytest

from koi_agent.core.reach.network import UNKNOWN, HostNetwork
from koi_agent.host.network_watch import NetworkWatch
from tests.real.agents import eventually


async def test_a_kernel_that_refuses_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[HostNetwork] = []
    watch = NetworkWatch(seen.append)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))  # no socket can be opened
    async with asyncio.TaskGroup() as group:
        try:
            running = group.create_task(watch.run())
            await eventually(lambda: caplog.records, "the refusal is logged")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert watch.current is UNKNOWN
        await eventually(lambda: seen, "the interfaces are read")
        running.cancel()
    assert watch.current is seen[-1]
    assert watch.current.link("lo")
