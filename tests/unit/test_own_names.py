"""The names of this host that no instance gets: transient, static, and with the domain."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from koi_agent.host.own_names import OwnNames, static_name, with_short_forms
from tests.conftest import require

SCRIPT = """
import asyncio, json, socket, sys
from koi_agent.host.own_names import OwnNames

async def main():
    changed = asyncio.Event()
    names = OwnNames(changed.set)
    running = asyncio.create_task(names.run())
    await asyncio.wait_for(changed.wait(), 30)
    before = sorted(names.current)
    socket.sethostname(sys.argv[1])
    after = sorted(names.current)
    await asyncio.sleep(0)
    changed.clear()
    await asyncio.wait_for(changed.wait(), 30)
    print(json.dumps([before, after, sorted(names.current)]))
    running.cancel()

asyncio.run(main())
"""
SETUP = """
set -e
hostname "$1"
mount --bind "$2" /etc/hosts
mount --bind "$3" /etc/hostname
exec "$4" -c "$5" "$6"
"""


@pytest.mark.skipif(not Path("/etc/hostname").exists(), reason="no file to cover")
def test_names_of_the_kernel_the_file_and_the_resolver_are_own(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        require("root", "a host name of its own needs a namespace")
    hosts, static = tmp_path / "hosts", tmp_path / "hostname"
    hosts.write_text("127.0.1.1 nas.example.org vm-17\n127.0.1.2 shop.example.org vm-18\n")
    static.write_text("# the static name\nBox\n")
    arguments = ["vm-17", str(hosts), str(static), sys.executable, SCRIPT, "vm-18"]
    output = subprocess.run(
        ["unshare", "--uts", "--mount", "sh", "-c", SETUP, "sh", *arguments],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    before, after, found = json.loads(output)
    static_and_resolved = ["box", "box.local", "nas", "nas.example.org", "nas.local"]
    assert before == [*static_and_resolved, "vm-17", "vm-17.local"]
    assert {"vm-18", "vm-18.local"} <= set(after), "the new name counts at once"
    assert found == sorted(
        ["box", "box.local", "shop", "shop.example.org", "shop.local", "vm-18", "vm-18.local"]
    )


GIVES_UP = 30
"""Seconds after which the resolver gives up: its longest timeout."""
MUTE = """
import asyncio, socket
from koi_agent.host.own_names import canonical_names

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
    mute.bind(("127.0.0.1", 53))
    assert asyncio.run(canonical_names()) == frozenset()
    assert mute.recv(512)
"""
MUTE_SETUP = """
set -e
hostname vm.example.org
ip link set lo up
mount --bind "$1" /etc/hosts
mount --bind "$2" /etc/resolv.conf
exec "$3" -c "$4"
"""


@pytest.mark.skipif(not Path("/etc/resolv.conf").exists(), reason="no file to cover")
def test_the_agent_ends_before_a_mute_resolver_gives_up(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        require("root", "a resolver of its own needs a namespace")
    hosts, resolver = tmp_path / "hosts", tmp_path / "resolv.conf"
    hosts.write_text("127.0.0.1 localhost\n")
    resolver.write_text(f"nameserver 127.0.0.1\noptions timeout:{GIVES_UP} attempts:1\n")
    arguments = [str(hosts), str(resolver), sys.executable, MUTE]
    spaces = ["unshare", "--uts", "--mount", "--net"]
    command = [*spaces, "sh", "-c", MUTE_SETUP, "sh", *arguments]
    subprocess.run(command, check=True, timeout=GIVES_UP)


@pytest.mark.parametrize(
    ("text", "name"),
    [("box\n", "box"), ("# a\n\n  box.lan \nnas\n", "box.lan"), ("", ""), ("#box", "")],
)
def test_static_name_is_the_first_line_that_is_no_comment(
    tmp_path: Path, text: str, name: str
) -> None:
    file = tmp_path / "hostname"
    file.write_text(text)
    assert static_name(file) == name
    assert static_name(tmp_path / "none") == ""


def test_short_forms_are_the_first_labels() -> None:
    assert with_short_forms(["Box.Example.org.", ""]) == {"box.example.org", "box", "box.local"}


def test_names_are_known_without_a_name_of_the_kernel() -> None:
    names = OwnNames(lambda: None, lambda: "")
    names._found = with_short_forms(["box.example.org"])
    assert names.current == {"box.example.org", "box", "box.local"}
