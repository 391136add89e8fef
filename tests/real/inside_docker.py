"""A program in a Docker's namespaces that shows how the agent follows its containers.

Run as a program with the path of the socket, it answers each line of its input with one of JSON:
the containers by name, for "all" a list of them, or for "PID UNIT" the names of the instances of
that process.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from koi_agent.backends.docker import Docker
from koi_agent.backends.docker.kinds import DOCKER
from koi_agent.backends.docker.sockets import find_candidates
from koi_agent.core.events import Change
from koi_agent.core.instance import Instance
from koi_agent.core.registry import Registry
from koi_agent.follow.follower import Follower
from koi_agent.host.listeners import ListenerTable
from koi_agent.publishers.dbus.processes import with_process
from tests.dockerd import Dockerd
from tests.namespaces import HarnessFailed, wait_until

Shown = dict[str, Any]


class Inside:
    """The program, seen from the test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, line: str = "") -> Any:
        """Send a line and return the answer."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin
        assert stdout
        stdin.write(f"{line}\n")
        stdin.flush()
        return json.loads(stdout.readline())

    def until(self, name: str, is_right: Callable[[Shown], bool]) -> Shown:
        """Wait until a container is known and is as it should be."""
        found: dict[str, Shown] = {}

        def agrees() -> bool:
            found.update({name: {}} | self.ask())
            return bool(found[name]) and is_right(found[name])

        try:
            wait_until(agrees, "it is right", timeout=60)
        except HarnessFailed:
            raise AssertionError(f"{name}: {found[name]}") from None
        return found[name]


@contextmanager
def followed(docker: Dockerd) -> Iterator[Inside]:
    """Follow a Docker from inside."""
    argv = (sys.executable, "-m", "tests.real.inside_docker", docker.socket)
    with docker.spawn(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Inside(process)
        process.kill()


def shown(instance: Instance) -> Shown:
    return {
        "id": instance.id,
        "name": instance.name,
        "state": instance.state,
        "ports": sorted(
            f"{port.source} {port.container_port}/{port.protocol} at {port.host_port}"
            for port in instance.ports
        ),
        "pid": instance.main_pid,
        "group": instance.control_group,
        "ips": instance.ips,
        "project": instance.project,
        "replica": instance.replica,
        "notes": instance.notes,
    }


async def answer(registry: Registry) -> None:
    """Answer each line of the standard input."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        known = registry.visible.values()
        words = line.split()
        reply: object = {one.name: shown(one) for one in known}
        if words == ["all"]:
            reply = [shown(one) for one in known]
        elif words:
            found = await with_process(int(words[0]), words[1], [], known)
            reply = [one.name for one in found]
        sys.stdout.write(f"{json.dumps(reply)}\n")
        sys.stdout.flush()


async def main(socket: str) -> None:
    registry = Registry({"docker": "docker"})

    def apply(change: Change) -> None:
        registry.apply(change, time.time_ns() // 1000)

    backend = Docker(
        "docker",
        DOCKER,
        find_candidates(DOCKER, socket, "system", {}),
        ListenerTable(),
        image_labels=False,
    )
    async with asyncio.TaskGroup() as group:
        follower = Follower(backend, apply, registry.differences, interval=1e6)
        running = group.create_task(follower.run())
        await answer(registry)
        running.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
