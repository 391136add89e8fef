"""A peer of a machine's: another network namespace in it, joined by a pair of interfaces."""

from typing import Final

from tests.machine import COPY, Machine
from tests.namespaces import wait_until

BOX, PEER = "192.0.2.1", "192.0.2.2"
NAMESPACE: Final = "koi-peer"
SCRIPT: Final = f"""
ip netns add {NAMESPACE}
ip link add lan0 type veth peer name lan0 netns {NAMESPACE}
ip addr add {BOX}/24 dev lan0
ip link set lan0 up
ip -n {NAMESPACE} addr add {PEER}/24 dev lan0
ip -n {NAMESPACE} link set lan0 up
ip -n {NAMESPACE} link set lo up
"""
BRIDGE: Final = "br0"
JOIN: Final = f"""
ip link add {BRIDGE} type bridge
ip link add up0 type ifb
ip link set up0 master {BRIDGE} up
ip link set lan0 master {BRIDGE}
ip addr del {BOX}/24 dev lan0
ip addr add {BOX}/24 dev {BRIDGE}
ip link set {BRIDGE} up
sysctl -q -w net.bridge.bridge-nf-call-iptables=0
"""
"""Puts the peer behind a bridge. One port stands for a network card: others are on the network.

Docker, if it ran before, has left a firewall that also drops what bridges forward."""
LEAVE: Final = f"ip link del up0; ip link del {BRIDGE}"


class Peer:
    """Another host on the machine's network, which asks by multicast and by TCP."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        machine.run("sh", "-ec", SCRIPT)

    def close(self) -> None:
        self._machine.run("sh", "-c", f"ip link del lan0; ip netns del {NAMESPACE}")

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a program on the peer; returns what it wrote."""
        inside = ("ip", "netns", "exec", NAMESPACE)
        return self._machine.run(*inside, *argv, check=check).stdout

    def ask(self, name: str, kind: str, *, seconds: float = 1.0) -> list[str]:
        """Send one query to the network; return all responses that arrive in time."""
        program = ("python3", f"{COPY}/tests/system/query.py")
        return self.run(*program, PEER, name, kind, f"{seconds:g}").splitlines()

    def await_service(self, name: str, port: int) -> None:
        """Wait until a service has a port: a query or its response may be lost."""
        wait_until(
            lambda: any(one.startswith(f"{port} ") for one in self.ask(name, "SRV")),
            f"{name} is on port {port}",
        )


class BridgedPeer(Peer):
    """A peer on a bridge of the machine, on which containers and virtual machines can be."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        machine.run("sh", "-ec", JOIN)

    def close(self) -> None:
        self._machine.run("sh", "-c", LEAVE)
        super().close()
