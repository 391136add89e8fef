"""Virtual machines of systemd-machined: of a real systemd-vmspawn, and registered as by libvirt."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.machine import Machine
from tests.namespaces import wait_until
from tests.system.engines import backend, instances
from tests.system.nspawn import Machines, await_machine, known, nspawn
from tests.system.service import Service

MACHINED: Final = "org.freedesktop.machine1"
MANAGER: Final = (MACHINED, "/org/freedesktop/machine1", f"{MACHINED}.Manager")
PROGRAMS: Final = (
    "/usr/bin/systemd-vmspawn",
    "/usr/bin/qemu-system-x86_64",
    "/usr/bin/ssh-keygen",
    "/usr/share/qemu/firmware/60-edk2-x86_64.json",
)
"""The files that systemd-vmspawn needs."""
FOLDER: Final = "/srv/virtual"
VMSPAWN: Final = (
    *("systemd-vmspawn", "--quiet", "--register=yes", f"--image={FOLDER}/empty.raw"),
    *("--kvm=no", "--vsock=no", "--tpm=no", "--console=headless", "--ram=128M"),
)
"""An empty disk is enough: the firmware waits for something to boot."""
LIBVIRT: Final = "qemu-7-wiki"
"""The name that libvirt registers: driver, number of the start, and name."""
SCOPE: Final = "machine-qemu\\x2d7\\x2dwiki.scope"
DROP_IN: Final = f"/etc/systemd/system/{SCOPE}.d"
UUID: Final = ("16", *map(str, range(1, 17)))


@pytest.fixture
def machines(machine: Machine, service: Service) -> Iterator[Machines]:
    with nspawn(machine) as machines:
        yield machines
    for path in (DROP_IN, FOLDER):
        machine.remove(path)
    machine.systemctl("daemon-reload")


def comm(machine: Machine, pid: int) -> str:
    return machine.run("cat", f"/proc/{pid}/comm").stdout.strip()


def explained(machine: Machine, name: str) -> str:
    return machine.run("koi-runtime", "--system", "explain", name).stdout


def test_a_virtual_machine_of_vmspawn_and_its_scope_are_one_instance(
    machines: Machines, service: Service
) -> None:
    machine = machines.machine
    if absent := [one for one in PROGRAMS if not machine.path(one).exists()]:
        pytest.skip(f"not in this machine: {', '.join(absent)}")
    machine.run("sh", "-c", f"mkdir -p {FOLDER}; truncate -s 64M {FOLDER}/empty.raw")
    run = ("systemd-run", "--quiet", "--collect", "--unit=koi-runs-vm", *VMSPAWN)
    machine.run(*run, "--machine=koi-vm")
    shown = await_machine(service, "koi-vm")
    assert (shown["unit"], shown["state"], shown["health"]) == (
        "machine-koi\\x2dvm.scope",
        "running",
        "healthy",
    )
    assert shown["control_group"] == "/machine.slice/machine-koi\\x2dvm.scope"
    assert comm(machine, shown["main_pid"]).startswith("qemu-system")
    assert "it is a vm of systemd-vmspawn, registered with" in explained(machine, "koi-vm")
    assert shown["unit"] not in instances(service, "systemd")
    assert known(service).keys() == machines.running() == {"koi-vm"}
    machine.run("machinectl", "terminate", "koi-vm")
    wait_until(lambda: not known(service), lambda: f"it is gone: {known(service)}")
    assert backend(service, "machined")["drift"] == 0


def register(machine: Machine) -> int:
    """Register a process as libvirt does, with an interface of the host; return its PID."""
    pid = machine.run("sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!").stdout.strip()
    machine.run("ip", "link", "add", "vnet7", "type", "veth", "peer", "name", "guest7")
    index = machine.path("/sys/class/net/vnet7/ifindex").read_text().strip()
    create = ("busctl", "call", *MANAGER, "CreateMachineWithNetwork", "sayssusaia(sv)")
    machine.run(*create, LIBVIRT, *UUID, "libvirt-qemu", "vm", pid, "", "1", index, "0")
    return int(pid)


def test_a_virtual_machine_of_libvirt_has_the_metadata_of_its_scope(
    machines: Machines, service: Service
) -> None:
    machine = machines.machine
    machine.write(f"{DROP_IN}/koi.conf", "[X-Koi]\nEnable=yes\nName=wiki\nPort=8080\n")
    machine.systemctl("daemon-reload")
    pid = register(machine)
    try:
        shown = await_machine(service, LIBVIRT)
        wait_until(
            lambda: known(service)[LIBVIRT]["metadata"].get("enable") is True,
            lambda: f"it has the metadata: {known(service)}",
        )
        assert (shown["unit"], shown["main_pid"]) == (SCOPE, pid)
        assert shown["control_group"] == f"/machine.slice/{SCOPE}"
        assert "it is a vm of libvirt-qemu, registered with" in explained(machine, LIBVIRT)
        wait_until(
            lambda: "does not know the addresses of virtual" in explained(machine, LIBVIRT),
            lambda: f"it says that no address is known: {explained(machine, LIBVIRT)}",
        )
        assert (shown["ips"], shown["problems"]) == ([], [])
        assert SCOPE not in instances(service, "systemd")
        by_pid = service.call("GetInstanceByPID", "u", str(pid)).stdout
        assert "machined_3aqemu_2d7_2dwiki" in by_pid
        assert by_pid == service.call("GetInstanceByUnit", "s", SCOPE).stdout
    finally:
        machine.run("kill", str(pid))
        machine.run("ip", "link", "del", "vnet7")
    wait_until(lambda: not known(service), lambda: f"it is gone: {known(service)}")
    assert backend(service, "machined")["drift"] == 0
