"""Measures DNS names on this host: ``python -m bench.dns_host`` as root, after ``make deb``.

It boots a machine of Debian forky with the package, and systemd-resolved there finds the names of
units through each outlet. The peer is a file of static records that is written by hand.
"""

import json
import sys
from pathlib import Path
from typing import Final

from bench.parts import Checkout, Run, main
from tests.machine import Machine, booted, missing
from tests.namespaces import CHECKOUT
from tests.system.package import install
from tests.system.peers import Peer
from tests.system.service import Service

CYCLES: Final = 10
PROBE: Final = Path(__file__).with_name("dns_probe.py")
RESOLVED: Final = "systemd-resolved.service"
HOOK: Final = "koi-runtime-hook.socket"
LINK: Final = "koi-runtime-dns-link.service"
KIND: Final = "[Service]\nEnvironment=KIND=ifb\n"
"""The type of a network interface that each kernel of a test machine has."""
OUTLETS: Final = {"static": "", "hook": HOOK, "server": LINK}
"""The outlets, and the unit that each needs besides the agent."""


def measure(run: Run) -> None:
    if lacks := missing():
        sys.exit(lacks)
    if not [*(CHECKOUT / "build/deb").glob("koi-runtime_*_all.deb")]:
        sys.exit("no package to install; use make deb")
    with booted("forky") as machine:
        install(machine)
        Peer(machine)  # names are of a network
        service = Service(machine)
        service.reset()
        machine.write(f"/run/systemd/system/{LINK}.d/kind.conf", KIND)
        machine.systemctl("daemon-reload")
        machine.systemctl("start", RESOLVED)
        for checkout in run.turns(1):
            if checkout.path == CHECKOUT:
                for outlet, unit in OUTLETS.items():
                    through(run, checkout, machine, service, outlet, unit)


def through(
    run: Run, checkout: Checkout, machine: Machine, service: Service, outlet: str, unit: str
) -> None:
    """Measure one outlet."""
    service.configure(f"[Capabilities]\nMDNS=off\nDNS={outlet}\n[DNS]\nListen=5354\n")
    if unit:
        machine.systemctl("start", unit)
    service.systemctl("restart")
    cycles = CYCLES // 2 if run.quick else CYCLES
    probe = ("python3", "-c", PROBE.read_text(), outlet, str(cycles))
    found = json.loads(machine.run(*probe, timeout=600).stdout)
    run.add(f"dns_host.{outlet}", checkout, found["ours"], found["floor"])
    run.add(f"dns_host.{outlet}.query", checkout, found["query"])
    if unit:
        machine.systemctl("stop", unit)


if __name__ == "__main__":
    main("dns_host", measure, __doc__)
