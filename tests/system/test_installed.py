"""The result of the package and of ``systemctl enable --now koi-runtime``."""

import re

from tests.costs import resident
from tests.machine import Machine
from tests.machine.images import USER
from tests.system.service import NAME, SOCKET, SOCKET_UNIT, UNIT, Service

STATUS = re.compile(r"[1-9]\d* instances?: systemd [1-9]\d*(, machined 0)?")
EXPOSURE = re.compile(r"Overall exposure level for \S+: (\d+\.\d)")
MOST_EXPOSURE = 1.3
MOST_MEMORY = 1.5
"""The most resident memory with systemd followed and HTTP served, by that of an interpreter with
the libraries alone."""
BARE = "import aiohttp.web, dbus_next; print(open('/proc/self/status').read())"


def test_enabling_starts_it_ready_and_with_a_status(service: Service) -> None:
    machine = service.machine
    machine.systemctl("disable", "--now", UNIT, SOCKET_UNIT)
    assert not machine.path(SOCKET).exists()

    machine.systemctl("enable", "--now", "koi-runtime")

    assert service.show("ActiveState") == "active"
    assert STATUS.fullmatch(service.status)
    shown = re.search(r'Status: "(.*)"', service.systemctl("status").stdout)
    assert shown is not None
    assert STATUS.fullmatch(shown[1])
    assert machine.show(SOCKET_UNIT, "ActiveState") == "active"


def test_enabling_one_unit_enables_both_and_the_bus_name(service: Service) -> None:
    machine = service.machine
    units = (UNIT, SOCKET_UNIT, f"dbus-{NAME}.service")
    for one in (UNIT, SOCKET_UNIT):
        machine.systemctl("disable", UNIT)
        states = [machine.systemctl("is-enabled", unit, check=False).stdout for unit in units]
        assert not any("enabled" in state or "alias" in state for state in states)

        machine.systemctl("enable", one)

        for unit in units:
            assert machine.systemctl("is-enabled", unit).stdout.strip() in ("enabled", "alias")


def test_the_bus_starts_it_while_it_is_enabled_and_not_otherwise(service: Service) -> None:
    service.machine.systemctl("stop", UNIT, SOCKET_UNIT)
    service.machine.systemctl("disable", UNIT)
    refused = service.call("ListInstances")
    assert refused.returncode != 0
    assert service.show("ActiveState") == "inactive"

    service.machine.systemctl("enable", UNIT)

    answered = service.call("ListInstances")
    assert "koi-runtime.service" in answered.stdout, answered.stderr
    assert service.show("ActiveState") == "active"


def test_units_are_verified_without_a_word(machine: Machine) -> None:
    for manager, folder in (("--system", "system"), ("--user", "user")):
        files = machine.path(f"/usr/lib/systemd/{folder}").glob("koi-runtime*")
        names = [file.name for file in files if file.is_file()]  # not the folders of drop-ins
        units = [f"/usr/lib/systemd/{folder}/{name}" for name in names]
        command = ("systemd-analyze", manager, "--man=no", "verify", *units)
        done = machine.run(*command, env={"XDG_RUNTIME_DIR": "/run"})
        said = (done.stdout + done.stderr).splitlines()
        assert not [line for line in said if not is_of_later_systemd(line)]


def is_of_later_systemd(line: str) -> bool:
    """Return True for a setting of the hook: no systemd-resolved that is so old has hooks."""
    return "FileDescriptorStorePreserve" in line and "koi-runtime-hook.service" in line


def test_the_service_is_little_exposed(service: Service) -> None:
    done = service.machine.run("systemd-analyze", "--no-pager", "security", UNIT)
    exposure = EXPOSURE.search(done.stdout)
    assert exposure
    assert float(exposure[1]) <= MOST_EXPOSURE


def test_the_sandbox_is_in_force(service: Service) -> None:
    lines = service.machine.path(f"/proc/{service.pid}/status").read_text().splitlines()
    status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    uid = service.machine.run("id", "-u", "_koi-runtime").stdout.strip()
    assert set(status["Uid"]) == {uid} != {"0"}
    assert status["CapEff"] == status["CapBnd"] == ["0" * 16]
    assert status["NoNewPrivs"] == ["1"]
    assert status["Seccomp"] == ["2"]


def test_it_takes_little_more_memory_than_its_libraries(service: Service) -> None:
    service.get("/v1/runtime/instances")
    service.listed()
    agent = service.machine.path(f"/proc/{service.pid}/status").read_text()
    bare = service.machine.run("python3", "-c", BARE).stdout
    assert resident(agent) < MOST_MEMORY * resident(bare)


def test_the_code_is_compiled_for_the_python_that_runs_it(machine: Machine) -> None:
    folder = machine.path("/usr/lib/koi-runtime/koi_agent")
    tag = machine.run("python3", "-c", "import sys; print(sys.implementation.cache_tag)").stdout
    sources = {path.relative_to(folder) for path in folder.rglob("*.py")}
    compiled = {
        path.relative_to(folder).parents[1] / f"{path.name.removesuffix(f'.{tag.strip()}.pyc')}.py"
        for path in folder.rglob("*.pyc")
    }
    assert sources == compiled


def test_the_command_runs_the_installed_code_whatever_is_around_it(machine: Machine) -> None:
    machine.write("/tmp/elsewhere/koi_agent/__init__.py", "raise SystemExit('the wrong code')\n")
    command = ("env", "-C", "/tmp/elsewhere", "koi-runtime", "--version")
    done = machine.run(*command, user=USER, env={"PYTHONPATH": "/tmp/elsewhere"})
    assert done.stdout.startswith("koi-runtime ")
