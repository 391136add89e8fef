"""Podman's own ways to run containers, as units and in pods, followed by the installed service."""

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.machine import Machine
from tests.namespaces import wait_until
from tests.system.engines import IMAGE, Engine, await_instance, await_state, instances
from tests.system.service import Service

QUADLETS = "/etc/containers/systemd"
SOCKET_FILE = "/etc/systemd/system/koi-own.socket"
LIMITS = "/etc/containers/containers.conf.d/20-koi-test.conf"
CONTAINER = """\
[Container]
Image={image}
Exec=sleep 1000
Network=none
StopTimeout={timeout}
[X-Koi]
Enable=yes
"""
RUNS = 20
PODMAN = pytest.mark.parametrize("engine", ["podman"], indirect=True)


@pytest.fixture
def quadlets(engine: Engine, service: Service) -> Iterator[Engine]:
    """Podman with the Quadlets koi-own, which has a socket unit, and koi-stuck."""
    if engine.machine.suite == "bookworm":
        pytest.skip("podman 4.3 has no Quadlet")
    machine = engine.machine
    files = [f"{QUADLETS}/koi-{name}.container" for name in ("own", "stuck")]
    for file, timeout in zip(files, (1, 30), strict=True):
        machine.write(file, CONTAINER.format(image=IMAGE, timeout=timeout))
    machine.write(SOCKET_FILE, "[Socket]\nListenStream=0.0.0.0:18200\n")
    machine.write(LIMITS, "[containers]\npids_limit=0\n")
    machine.systemctl("daemon-reload")
    engine.start()
    await_state(service, "podman", "synced")
    yield engine
    machine.systemctl("stop", "koi-own.socket", "koi-own", "koi-stuck", check=False)
    # Podman refuses this once for a container whose monitor was killed.
    machine.run("podman", "rm", "--all", "--force", "--time=0", check=False)
    for file in (*files, SOCKET_FILE, LIMITS):
        machine.remove(file)
    machine.systemctl("daemon-reload")


@contextlib.contextmanager
def all_cpus_busy(machine: Machine) -> Iterator[None]:
    """Keep each CPU busy with a process of normal priority."""
    with contextlib.ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            loop = stack.enter_context(machine.spawn("sh", "-c", "while :; do :; done"))
            stack.callback(loop.kill)
        yield


def started(engine: Engine, service: Service, unit: str) -> str:
    """Start a Quadlet; return the id of its container once that is shown."""
    engine.machine.systemctl("start", unit)
    (id_,) = engine.call("ps", "--quiet", "--no-trunc").split()
    await_instance(service, "podman", id_)
    return id_


@PODMAN
def test_port_of_a_socket_unit_is_that_of_the_container(quadlets: Engine, service: Service) -> None:
    quadlets.machine.systemctl("start", "koi-own.socket")
    id_ = started(quadlets, service, "koi-own")
    wait_until(
        lambda: (
            [
                (port["host_port"], port["host_ip"])
                for port in instances(service, "podman")[id_]["ports"]
            ]
            == [(18200, "0.0.0.0")]
        ),
        lambda: f"the container has the port: {instances(service, 'podman')}",
    )
    assert "koi-own.service" not in instances(service, "systemd")


@PODMAN
def test_container_whose_processes_are_killed_is_gone(quadlets: Engine, service: Service) -> None:
    with all_cpus_busy(quadlets.machine):
        for _ in range(RUNS):
            start_and_kill(quadlets, service)


def start_and_kill(engine: Engine, service: Service) -> None:
    id_ = started(engine, service, "koi-stuck")
    engine.machine.systemctl("stop", "--no-block", "koi-stuck")
    engine.machine.systemctl("kill", "--signal=KILL", "koi-stuck")
    wait_until(
        lambda: id_ not in instances(service, "podman"),
        lambda: f"it is gone, though Podman says: {engine.call('ps', '--all')}",
    )
    engine.machine.systemctl("stop", "koi-stuck", check=False)
    engine.machine.systemctl("reset-failed", "koi-stuck", check=False)
    # Podman refuses this at first for a container whose monitor was killed.
    remove = ("podman", "rm", "--all", "--force", "--time=0")
    wait_until(
        lambda: engine.machine.run(*remove, check=False).returncode == 0, "the container is removed"
    )


def await_ports(service: Service, id_: str, expected: list[tuple[int, int]]) -> None:
    """Wait until a container has these ports, of the host and its own."""

    def ports() -> list[tuple[int, int]]:
        shown = instances(service, "podman")[id_]["ports"]
        return [(one["host_port"], one["container_port"]) for one in shown]

    wait_until(lambda: ports() == expected, lambda: f"its ports are {expected}, not {ports()}")


@PODMAN
def test_members_of_a_pod_have_the_ports_that_it_publishes(
    engine: Engine, service: Service
) -> None:
    engine.machine.write(LIMITS, "[containers]\npids_limit=0\n")
    engine.start()
    infra = ("--infra-image", IMAGE, "--infra-command", "sleep 1000")
    engine.call("pod", "create", "--name=koi-pod", "--publish=18210:80", *infra)
    try:
        member = ("--pod=koi-pod", "--label=koi.announce=member", "--label=koi.port=80")
        id_ = engine.run(*member, IMAGE, "httpd", "-f", "-p", "80")
        await_ports(service, id_, [(18210, 80)])
        explained = engine.machine.run("koi-runtime", "--system", "explain", "member").stdout
        assert "'member' of type _http._tcp at this host, port 18210" in explained
    finally:
        engine.call("pod", "rm", "--force", "--time=0", "koi-pod")
        engine.machine.remove(LIMITS)
