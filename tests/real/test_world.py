"""The private world keeps its promises: the other tests here rest on them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.namespaces import CHECKOUT, HarnessFailed, wait_until
from tests.world import World

SLEEP = "[Service]\nExecStart=sleep infinity\n"
STARTER = """
import signal
from tests.world import World
with World("starter") as world:
    print(world.pid, world.home, flush=True)
    signal.pause()
"""


def state(world: World, unit: str) -> str:
    return world.systemctl("show", "-P", "ActiveState", unit).stdout.strip()


def units(world: World) -> set[str]:
    listed = world.systemctl("list-units", "--all", "--plain", "--no-legend").stdout
    return {line.split()[0] for line in listed.splitlines()}


def test_a_unit_file_is_the_same_inside_and_outside(world: World) -> None:
    path = world.unit("nap.service", SLEEP)
    world.drop_in("nap.service", "koi.conf", "[Unit]\nX-Koi-Enable=yes\n")
    world.systemctl("start", "nap.service")
    assert world.systemctl("show", "-P", "FragmentPath", "nap.service").stdout.strip() == str(path)
    assert "X-Koi-Enable=yes" in world.systemctl("cat", "nap.service").stdout


def test_the_bus_is_reached_from_outside(world: World) -> None:
    peer = ("org.freedesktop.systemd1", "/", "org.freedesktop.DBus.Peer", "Ping")
    ask = ["busctl", f"--address={world.bus_address}", "call", *peer]
    done = subprocess.run(ask, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_manager_comes_back_to_a_killed_bus_each_time(world: World) -> None:
    for _ in range(5):
        before = world.bus_pids()
        world.kill_bus()
        assert len(world.bus_pids()) == 1
        assert world.bus_pids() != before


def test_a_stopped_bus_answers_when_it_goes_on(world: World) -> None:
    world.stop_bus_process()
    ask = ("busctl", "--user", "--timeout=0.2", "status", "org.freedesktop.systemd1")
    with pytest.raises(subprocess.TimeoutExpired):
        world.run(*ask, timeout=0.5)
    world.continue_bus_process()
    world.wait_for_bus()


def test_units_live_through_reload_and_reexec(world: World) -> None:
    world.unit("nap.service", SLEEP)
    world.systemctl("start", "nap.service")
    world.reload()
    world.systemctl("daemon-reexec")
    assert state(world, "nap.service") == "active"
    world.wait_for_bus()


def test_a_unit_freezes_and_thaws(world: World) -> None:
    world.unit("nap.service", SLEEP)
    world.systemctl("start", "nap.service")
    world.systemctl("freeze", "nap.service")
    frozen = world.systemctl("show", "-P", "FreezerState", "nap.service").stdout.strip()
    world.systemctl("thaw", "nap.service")
    assert frozen == "frozen"


def test_a_program_in_the_world_is_a_child_with_its_own_signals(world: World) -> None:
    program = "import os, signal, koi_agent; print(os.getpid(), flush=True); signal.pause()"
    with world.spawn(sys.executable, "-c", program, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        inside = int(child.stdout.readline())
        known = world.run("cat", f"/proc/{inside}/comm").stdout
        child.terminate()
    assert known.startswith("python")
    assert child.returncode == -signal.SIGTERM


def test_a_failing_program_raises_with_its_output(world: World) -> None:
    with pytest.raises(HarnessFailed, match="nowhere"):
        world.run("ls", "/nowhere")


def test_reset_leaves_nothing_of_a_test(world: World) -> None:
    before = units(world)
    world.unit("nap.service", SLEEP)
    world.unit("broken.service", "[Service]\nExecStart=false\n")
    world.systemctl("start", "nap.service", "broken.service")
    world.run("systemd-run", "--user", "--unit=transient", "sleep", "infinity")
    world.systemctl("set-property", "transient.service", "MemoryMax=1G")
    world.systemctl("freeze", "nap.service")
    world.stop_bus_process()
    world.reset()
    assert units(world) <= before
    assert not list(world.units.iterdir())


def test_worlds_side_by_side_know_nothing_of_each_other(world: World) -> None:
    with World() as other:
        other.unit("nap.service", SLEEP)
        other.systemctl("start", "nap.service")
        assert "nap.service" not in units(world)


def test_nothing_is_left_when_the_starter_is_killed(world: World) -> None:
    command = [sys.executable, "-c", STARTER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as starter:
        assert starter.stdout is not None
        pid, home = starter.stdout.readline().split()
        group = Path(f"/proc/{pid}/root/sys/fs/cgroup")
        assert group.is_dir()
        assert Path(home).is_dir()
        starter.kill()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the world's end")
    wait_until(lambda: not Path(home).exists(), "the end of its home")
