"""Prints the files in which the agent spends its processor time: ``python -m bench.shares PART``.

PART is units, a burst of starts and stops; containers, those of a real dockerd, both as root; or
flood, containers and their events. py-spy takes samples of the agent. A sample counts for each file
of its stack, so that shares overlap.
"""

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench import units
from bench.agents import engine, in_world, on_bus, services, settings, wait_until_calm
from bench.containers import cycle, private_bus
from bench.parts import checkouts
from bench.report import print_lines
from tests.dockerd import Dockerd
from tests.world import World

RATE: Final = 500
"""Samples a second."""
LEAST: Final = 0.04
"""The least share that is printed."""
WHOLE: Final = 0.95
"""The share of files that are in nearly every stack, which are not printed."""
CYCLES: Final = 60
CONTAINERS: Final = 3_000
FLOOD: Final = "1000 10\n"
"""Events a second, and seconds."""
ATTACHED: Final = 3.0
"""Seconds until py-spy takes samples."""


def spy() -> str:
    """Return the path of py-spy, which may be beside this Python; exit without it."""
    folders = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    hint = f"py-spy is not installed; use {sys.executable} -m pip install py-spy"
    return shutil.which("py-spy", path=folders) or sys.exit(hint)


@contextmanager
def sampled(pid: int, file: Path) -> Iterator[None]:
    """Record samples of a process until the block ends."""
    command = [spy(), "record", "--rate", f"{RATE}", "--format", "raw", "--pid", f"{pid}"]
    with subprocess.Popen(
        [*command, "--output", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as recording:
        time.sleep(ATTACHED)
        yield
        recording.send_signal(signal.SIGINT)


def of_units(file: Path) -> None:
    (way,) = (way for way in units.WAYS if way.name == "burst")
    with World("shares") as world, tempfile.TemporaryDirectory() as folder:
        names = services(world, range(units.UNITS))
        world.reload()
        text = settings(backends="systemd")
        with in_world(world, checkouts(None)[0], Path(folder), text) as agent:
            asyncio.run(units.cycle(world, way, names))
            with sampled(agent.pid, file):
                for _ in range(units.ROUNDS):
                    asyncio.run(units.cycle(world, way, names))


def of_containers(file: Path) -> None:
    with ExitStack() as stack:
        bus = stack.enter_context(private_bus())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        docker = stack.enter_context(Dockerd(folder))
        text = settings(backends="docker", docker=docker.socket)
        agent = stack.enter_context(on_bus(checkouts(None)[0], folder, bus.address, text))
        wait_until_calm(agent.pid)
        with sampled(agent.pid, file):
            cycle(docker, CYCLES)


def of_flood(file: Path) -> None:
    with ExitStack() as stack:
        bus = stack.enter_context(private_bus())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fake = stack.enter_context(engine(folder / "docker.sock", CONTAINERS))
        text = settings(backends="docker", docker=folder / "docker.sock")
        agent = stack.enter_context(on_bus(checkouts(None)[0], folder, bus.address, text))
        wait_until_calm(agent.pid)
        assert fake.stdin is not None
        assert fake.stdout is not None
        with sampled(agent.pid, file):
            fake.stdin.write(FLOOD)
            fake.stdin.flush()
            fake.stdout.readline()


def shares(samples: Iterable[str]) -> Mapping[str, float]:
    """Return the share of each file of koi_agent, from lines of stacks and numbers of samples."""
    found: Counter[str] = Counter()
    total = 0
    for line in samples:
        stack, _, number = line.rpartition(" ")
        if "koi_agent/" not in stack or "select (selectors.py" in stack.rpartition(";")[2]:
            continue  # it waits
        total += int(number)
        files = {frame.rpartition("(")[2].partition(":")[0] for frame in stack.split(";")}
        for file in files:
            if "koi_agent/" in file:
                found[file[file.rindex("koi_agent/") :]] += int(number)
    return {file: number / total for file, number in found.most_common()} if total else {}


def main() -> None:
    parts = {"units": of_units, "containers": of_containers, "flood": of_flood}
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("part", choices=parts)
    part = options.parse_args().part
    spy()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "samples")
        parts[part](file)
        found = shares(file.read_text().splitlines())
    print_lines(f"{share:4.0%}  {name}" for name, share in found.items() if LEAST <= share < WHOLE)


if __name__ == "__main__":
    main()
