"""The names of a host, with a host name and a file of hosts of its own, and networks of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import require

SCRIPT = """
import asyncio, json, sys
from koi_agent.host.addresses import network
from koi_agent.publishers.http.own_names import OwnNames

async def main():
    names = OwnNames(network)
    print(json.dumps({name: await names.has(name) for name in json.loads(sys.argv[1])}))

asyncio.run(main())
"""
SETUP = """
set -e
hostname "$1"
mount --bind "$2" /etc/hosts
mount --bind "$6" /etc/hostname
ip link set lo up
ip link add lan0 type veth peer name far0
ip address add 192.0.2.1/24 dev lan0
ip address add 2001:db8::1/64 dev lan0 nodad
ip link set far0 up
ip link set lan0 up
exec "$3" -c "$4" "$5"
"""


def named(tmp_path: Path, host_name: str, hosts: str, *names: str) -> Mapping[str, bool]:
    """Return which names are those of a host with this name and this file."""
    if os.geteuid() != 0:
        require("root", "a host name of its own needs a namespace")
    file = tmp_path / "hosts"
    file.write_text(f"127.0.0.1 localhost\n{hosts}\n")
    static = tmp_path / "hostname"
    static.write_text("Box\n")
    spaces = ["unshare", "--uts", "--mount", "--net"]
    arguments = [host_name, str(file), sys.executable, SCRIPT, json.dumps(names), str(static)]
    output = subprocess.run(
        [*spaces, "sh", "-c", SETUP, "sh", *arguments], check=True, stdout=subprocess.PIPE
    ).stdout
    found = json.loads(output)
    assert isinstance(found, dict)
    return found


OWN = [
    "vm",
    "VM",
    "vm:8099",
    "vm.local",
    "vm.local.",
    "vm.local:8099",
    "box",
    "BOX.:80",
    "vm.example.org",
    "Vm.Example.org:80",
    "192.0.2.1",
    "192.0.2.1:8099",
    "[2001:db8::1]:8099",
    "[2001:db8:0::1]",
]
FOREIGN = [
    "evil.example",
    "vm.evil.example",
    "evil.vm",
    "box.local",
    ".",
    "example.org",
    "local",
    "www.vm.local",
    "192.0.2.2",
    "127.0.0.2",
    "[2001:db8::2]",
    "vm@evil.example",
    "vm/",
    "vm:x",
    "",
    ":80",
]


@pytest.mark.parametrize(
    ("host_name", "hosts"),
    [
        ("vm", "127.0.1.1 vm.example.org vm"),
        ("vm.example.org", ""),
        ("VM", "::1 vm.example.org VM"),
    ],
)
def test_own_names_and_addresses_are_known(tmp_path: Path, host_name: str, hosts: str) -> None:
    found = named(tmp_path, host_name, hosts, *OWN, *FOREIGN)
    assert [name for name, own in found.items() if own] == OWN


def test_host_without_a_domain_has_its_short_name(tmp_path: Path) -> None:
    found = named(tmp_path, "vm", "", "vm", "vm.local", "vm.example.org", "localhost.localdomain")
    assert [name for name, own in found.items() if own] == ["vm", "vm.local"]
