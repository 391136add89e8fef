"""The command line of private worlds: python -m tests.world run | enter [command]."""

import argparse
import os
import sys
from pathlib import Path

from tests.world import World, demo

KOI_RUNTIME = str(Path(sys.executable).with_name("koi-runtime"))


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m tests.world", description=__doc__)
    words.add_argument("verb", choices=["run", "enter"])
    words.add_argument("command", nargs=argparse.REMAINDER, help="default: the agent; a shell")
    chosen = words.parse_args()
    if chosen.verb == "run":
        return run(chosen.command or [KOI_RUNTIME, "run"])
    return enter(chosen.command or ["bash", "--norc"])


def run(command: list[str]) -> int:
    """Run the agent on this machine's systemd, or else in a private world."""
    if demo.host_has_systemd():
        return demo.on_host(command)
    become_root()
    return demo.in_private_world(command)


def enter(command: list[str]) -> int:
    """Run a command in the world that make run has started."""
    become_root()
    try:
        world = World.running(demo.NAME)
    except ProcessLookupError:
        sys.stderr.write("No private world is running: start one by make run.\n")
        return 1
    return demo.wait(world.spawn(*command, env={"PS1": "(koi) \\w\\$ "}))


def become_root() -> None:
    """Start this command again through sudo unless we are root, as namespaces need root."""
    if os.geteuid() != 0:
        os.execvp("sudo", ["sudo", sys.executable, "-m", "tests.world", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
