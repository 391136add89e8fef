"""Real machines of systemd-nspawn, followed by the installed service."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.machine import Machine
from tests.machine.images import USER
from tests.namespaces import wait_until
from tests.system.engines import await_state, backend, instances
from tests.system.nspawn import (
    DROP_IN,
    TEMPLATE,
    Machines,
    await_machine,
    fetched,
    known,
    nspawn,
)
from tests.system.service import Service

POLICY: Final = "/usr/share/polkit-1/actions/org.freedesktop.machine1.policy"
MACHINED: Final = "org.freedesktop.machine1"
BACKEND: Final = "machined"
INSPECT: Final = f"{MACHINED}.inspect-machines"


@pytest.fixture
def machines(machine: Machine, service: Service) -> Iterator[Machines]:
    with nspawn(machine) as machines:
        yield machines


def test_an_unused_systemd_machined_is_absent_and_is_not_started(
    machine: Machine, service: Service
) -> None:
    machine.systemctl("stop", "systemd-machined", check=False)
    service.systemctl("restart")
    await_state(service, "machined", "absent")
    service.resync()
    assert machine.show("systemd-machined", "ActiveState") == "inactive"


def test_a_machine_and_its_unit_are_one_instance_with_its_metadata(
    machines: Machines, service: Service
) -> None:
    machines.make_root()
    machines.machine.write(DROP_IN, "[X-Koi]\nEnable=yes\nName=wiki\nPort=8081\n")
    machines.machine.systemctl("daemon-reload")
    machines.machine.systemctl("start", TEMPLATE)
    await_machine(service, "web")
    wait_until(
        lambda: known(service)["web"]["ips"] == ["10.77.0.2"],
        lambda: f"it has an address: {known(service)}, {machines.call('status', 'web')}",
    )
    web = known(service)["web"]
    assert (web["unit"], web["health"], web["state"]) == (TEMPLATE, "healthy", "running")
    assert web["metadata"]["enable"] is True
    assert [(port["host_port"], port["container_port"]) for port in web["ports"]] == [(0, 8081)]
    assert TEMPLATE not in instances(service, "systemd")
    by_unit = service.call("GetInstanceByUnit", "s", TEMPLATE).stdout
    by_pid = service.call("GetInstanceByPID", "u", str(web["main_pid"])).stdout
    assert "machined_3aweb" in by_unit
    assert by_pid == by_unit
    explained = machines.machine.run("koi-runtime", "--system", "explain", "web").stdout
    assert "10.77.0.2" in explained
    machines.machine.systemctl("stop", TEMPLATE)
    wait_until(lambda: "web" not in known(service), "it is gone")


def test_twenty_machines_live_and_the_set_is_that_of_machinectl(
    machines: Machines, service: Service
) -> None:
    names = {f"koi-{number}" for number in range(20)}
    for name in sorted(names):
        machines.run(name, "--private-network", "--", "/bin/sleep", "1000")
    wait_until(lambda: known(service).keys() == names, lambda: f"all: {sorted(known(service))}")
    for name in sorted(names)[:10]:
        machines.machine.run("machinectl", "terminate", name)
    left = set(sorted(names)[10:])
    wait_until(
        lambda: known(service).keys() == machines.running() == left,
        lambda: f"{sorted(known(service))}, not {sorted(machines.running())}",
    )
    service.resync()
    assert known(service).keys() == machines.running()
    assert backend(service, BACKEND)["drift"] == 0


def test_restarts_of_systemd_machined_and_of_the_agent_lose_no_machine(
    machines: Machines, service: Service
) -> None:
    for name in ("koi-a", "koi-b"):
        machines.run(name, "--private-network", "--", "/bin/sleep", "1000")
    wait_until(lambda: known(service).keys() == {"koi-a", "koi-b"}, "both are known")
    for _ in range(3):
        machines.machine.systemctl("restart", "systemd-machined")
    machines.machine.systemctl("kill", "--signal=KILL", "systemd-machined")
    wait_until(lambda: machined_state(machines) == "failed", "systemd-machined is killed")
    machines.machine.systemctl("reset-failed", "systemd-machined")
    machines.machine.systemctl("start", "systemd-machined")
    machines.machine.systemctl("kill", "--signal=KILL", "koi-runtime")
    machines.run("koi-c", "--private-network", "--", "/bin/sleep", "1000")
    machines.machine.run("machinectl", "terminate", "koi-a")
    wait_until(lambda: names(service) == {"koi-b", "koi-c"}, lambda: f"the two: {names(service)}")
    assert backend(service, BACKEND)["drift"] == 0
    assert "Traceback" not in service.journal()


def names(service: Service) -> set[str]:
    return set(fetched(service) or ())


def machined_state(machines: Machines) -> str:
    return machines.machine.show("systemd-machined", "ActiveState")


def test_a_machine_in_a_scope_has_the_metadata_of_the_scope(
    machines: Machines, service: Service
) -> None:
    # The name of the scope is the second one since systemd 262.
    drop_ins = [
        f"/run/systemd/system/{scope}.d/koi.conf"
        for scope in (r"machine-koi\x2dnear.scope", "koi-near.scope")
    ]
    for path in drop_ins:
        machines.machine.write(path, "[X-Koi]\nEnable=yes\nName=harbour\n")
    machines.machine.systemctl("daemon-reload")
    try:
        machines.run("koi-near", "--", "/bin/sleep", "1000")
        await_name(service, "koi-near", "harbour")
        unit = known(service)["koi-near"]["unit"]
        assert unit.endswith(".scope")
        assert unit not in instances(service, "systemd")
        machines.machine.systemctl("restart", "koi-runtime")
        await_name(service, "koi-near", "harbour")
        machines.machine.run("machinectl", "terminate", "koi-near")
        wait_until(lambda: "koi-near" not in known(service), "it is gone")
    finally:
        for path in drop_ins:
            machines.machine.remove(path)


def await_name(service: Service, machine: str, name: str) -> None:
    """Wait until a machine has a name by its metadata."""
    wait_until(
        lambda: known(service).get(machine, {}).get("metadata", {}).get("name") == name,
        lambda: f"{machine} has the metadata: {known(service)}",
    )


def test_a_machine_on_the_host_network_has_the_ports_that_it_listens_on(
    machines: Machines, service: Service
) -> None:
    machines.run("koi-near", "--", "/bin/httpd", "-f", "-p", "18085")
    await_machine(service, "koi-near")
    wait_until(
        lambda: [port["host_port"] for port in known(service)["koi-near"]["ports"]] == [18085],
        lambda: f"it has the port: {known(service)}",
    )
    assert known(service)["koi-near"]["ips"] == []


def test_polkit_permits_to_the_agent_alone_to_inspect_machines(
    machines: Machines, service: Service
) -> None:
    if INSPECT not in machines.machine.path(POLICY).read_text():
        pytest.skip("this systemd-machined has no such action")
    machines.run("koi-a", "--private-network", "--", "/bin/sleep", "1000")
    call = ("busctl", "call", MACHINED, "/org/freedesktop/machine1", f"{MACHINED}.Manager")
    ask = (*call, "GetMachineOSRelease", "s", "koi-a")
    assert machines.machine.run(*ask, user="_koi-runtime", check=False).returncode == 0
    assert machines.machine.run(*ask, user=USER, check=False).returncode != 0
    addresses = (*call, "GetMachineAddresses", "s", "koi-a")
    assert machines.machine.run(*addresses, user="_koi-runtime", check=False).returncode == 0


def doctor(machines: Machines) -> str:
    return machines.machine.run("koi-runtime", "--system", "doctor", check=False).stdout


def test_doctor_finds_no_fault(machines: Machines, service: Service) -> None:
    machines.run("koi-a", "--private-network", "--", "/bin/sleep", "1000")
    await_machine(service, "koi-a")
    wait_until(
        lambda: "machined: 1 instance" in doctor(machines),
        lambda: f"the doctor finds it: {doctor(machines)}",
    )
    assert "the agent may read the addresses of all machines" in doctor(machines)
