"""The hook of systemd-resolved, in machines: all names of the host keep working whatever happens.

A server that answers every question with one address shows each name that leaves the host.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import pytest

from koi_agent.host.resolver import HOOK_SINCE
from tests.machine import COPY, Machine
from tests.namespaces import CHECKOUT, wait_until
from tests.system.peers import BOX, Peer
from tests.system.service import UNITS, Service
from tests.system.test_announcing import WEB
from tests.system.test_dns import found, resolved_version
from tests.system.test_installed import EXPOSURE, MOST_EXPOSURE
from tests.system.toy_dns import ADDRESS, PORT

HOOK: Final = "koi-runtime-hook.service"
SOCKET: Final = "koi-runtime-hook.socket"
PATH: Final = "/run/systemd/resolve.hook/org.sylin.koi.Hook"
FILE: Final = "/run/koi-runtime/dns/hook.json"
QUESTIONS: Final = "/srv/questions"
DROP_IN: Final = "/run/systemd/resolved.conf.d/koi-test.conf"
RESOLVED_CONF: Final = f"[Resolve]\nDNS=127.0.0.1:{PORT}\nDomains=~.\nDNSSEC=no\nFallbackDNS=\n"
USE_STUB: Final = """
[ ! -L /etc/resolv.conf ] && [ ! -e /etc/resolv.conf ] || mv /etc/resolv.conf /srv/resolv.conf
ln -s ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
"""
RESTORE: Final = """
rm /etc/resolv.conf
[ ! -L /srv/resolv.conf ] && [ ! -e /srv/resolv.conf ] || mv /srv/resolv.conf /etc/resolv.conf
"""
DELEGATE: Final = "internal.dns-delegate"
PERIOD: Final = 0.005
"""Seconds between two questions of the load."""
MANY: Final = 15
"""Loads at once, of two clients each."""
FACTOR: Final = 10
"""The longest time of a foreign name, by that of an undisturbed machine."""
LEAST: Final = 0.1
"""Seconds below which no time is too long: the machine has other work."""


@pytest.fixture
def host(machine: Machine, service: Service) -> Iterator[Machine]:
    """A machine that asks the toy server, with a unit ``web``, and DNS=hook; the socket is shut."""
    peer = Peer(machine)
    machine.write(f"{UNITS}/web.service", WEB)
    machine.write(DROP_IN, RESOLVED_CONF)
    machine.remove(QUESTIONS)
    machine.run("sh", "-ec", USE_STUB)
    toy = machine.spawn("python3", f"{COPY}/tests/system/toy_dns.py", QUESTIONS)
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "web.service", "systemd-resolved.service")
    service.configure("[Capabilities]\nDNS=hook\n")
    service.systemctl("reload")
    wait_until(lambda: "web.service" in service.listed(), "the unit is listed")
    yield machine
    machine.systemctl("disable", "--now", SOCKET)
    machine.systemctl("stop", "web.service", "systemd-resolved.service")
    toy.kill()
    toy.wait()
    for path in (f"{UNITS}/web.service", DROP_IN, QUESTIONS):
        machine.remove(path)
    machine.run("sh", "-ec", RESTORE)
    machine.systemctl("daemon-reload")
    service.systemctl("stop")
    peer.close()


@pytest.fixture
def hooked(host: Machine) -> Machine:
    """The machine with the hook enabled, and the name known."""
    if resolved_version(host) < HOOK_SINCE:
        pytest.skip("this systemd-resolved has no hooks")
    host.systemctl("enable", "--now", SOCKET)
    await_found(host)
    forget(host)
    return host


def await_found(machine: Machine, expected: str = BOX, name: str = "web.internal") -> None:
    wait_until(
        lambda: found(machine, name) == expected,
        lambda: f"{name} is {expected!r}, not {found(machine, name)!r}",
        timeout=60,
    )


def outlets(machine: Machine) -> str:
    return machine.run("koi-runtime", "--system", "dns", "--full").stdout


def leaks(machine: Machine) -> list[str]:
    """Return the questions for names of instances that left the host."""
    lines = machine.path(QUESTIONS).read_text().splitlines()
    return [line for line in lines if line.split()[0].endswith("internal")]


def forget(machine: Machine) -> None:
    machine.write(QUESTIONS, "")


@contextmanager
def load(machine: Machine, period: float = PERIOD) -> Iterator[dict[str, Any]]:
    """Send questions for foreign names and for an instance; yield the result, set at the end."""
    result: dict[str, Any] = {}
    program = ("python3", f"{COPY}/tests/system/stub_load.py", "foreign.example", "web.internal")
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = machine.spawn(*program, str(period), **pipes)
    try:
        time.sleep(1)
        yield result
        time.sleep(1)
    finally:
        out, _ = process.communicate("end\n", timeout=120)
    result |= json.loads(out)


def longest(result: Mapping[str, Any]) -> float:
    return float(result["foreign"]["longest"][0])


def disturbed(machine: Machine, disturb: Callable[[], None]) -> Mapping[str, Any]:
    """Return the load's result during a disturbance; check that no foreign name waited for it."""
    with load(machine) as quiet:
        time.sleep(3)
    with load(machine) as result:
        disturb()
    assert set(result["foreign"]["answers"]) == {ADDRESS}
    assert longest(result) < max(LEAST, longest(quiet)) * FACTOR
    return result


def test_an_old_systemd_resolved_asks_no_hook_and_all_say_so(
    host: Machine, service: Service
) -> None:
    if resolved_version(host) >= HOOK_SINCE:
        pytest.skip("this systemd-resolved has hooks")
    host.systemctl("start", SOCKET)
    needed = f"systemd-resolved {HOOK_SINCE} or later is needed"
    wait_until(lambda: needed in outlets(host), "the command names it")
    doctor = host.run("koi-runtime", "--system", "doctor", check=False).stdout
    assert needed in doctor
    assert found(host, "foreign.example") == ADDRESS
    assert not host.path(FILE).exists()
    # It waits, and harms nothing.
    wait_until(lambda: host.show(HOOK, "ActiveState") == "active", "the hook runs")
    assert host.show(HOOK, "NRestarts") == "0"


def test_the_doctor_and_the_command_name_what_is_missing(host: Machine, service: Service) -> None:
    if resolved_version(host) < HOOK_SINCE:
        pytest.skip("this systemd-resolved has no hooks")
    mend = f"systemctl enable --now {SOCKET}"
    wait_until(lambda: mend in outlets(host), "the command names it")
    assert mend in host.run("koi-runtime", "--system", "doctor", check=False).stdout
    host.systemctl("enable", "--now", SOCKET)
    await_found(host)
    shown = json.loads(host.run("koi-runtime", "--system", "dns", "--json=short").stdout)
    assert [(one["outlet"], one["status"]) for one in shown["outlets"]] == [("hook", "announced")]
    assert (
        "finds names by the hook"
        in host.run("koi-runtime", "--system", "doctor", check=False).stdout
    )


def test_names_of_all_types_are_found(hooked: Machine) -> None:
    def query(kind: str, name: str) -> str:
        done = hooked.run("resolvectl", "query", "-t", kind, name, check=False)
        return done.stdout + done.stderr

    assert f"IN A {BOX}" in query("A", "WEB.Internal.")
    assert "IN SRV 0 0 8080 web.internal" in query("SRV", "web._http._tcp.internal")
    assert "IN TXT" in query("TXT", "web._http._tcp.internal")
    assert "IN PTR web._http._tcp.internal" in query("PTR", "_http._tcp.internal")
    assert "IN PTR _http._tcp.internal" in query("PTR", "_services._dns-sd._udp.internal")
    assert "does not have any RR" in query("MX", "web.internal")
    assert "does not have any RR" in query("A", "_tcp.internal")
    assert "not found" in query("A", "none.internal")
    service = ("resolvectl", "--service-address=no", "service", "web", "_http._tcp", "internal")
    assert "web.internal:8080" in hooked.run(*service).stdout
    assert "web.internal" in hooked.run("getent", "ahosts", "web.internal").stdout
    assert found(hooked, "foreign.example") == ADDRESS
    assert leaks(hooked) == []


def test_changes_are_seen_at_once_and_absence_is_not_kept(
    hooked: Machine, service: Service
) -> None:
    assert found(hooked, "late.internal") == ""
    hooked.write(f"{UNITS}/late.service", WEB.replace("web", "late").replace("8080", "8081"))
    hooked.systemctl("daemon-reload")
    hooked.systemctl("start", "late.service")
    try:
        await_found(hooked, BOX, "late.internal")
    finally:
        hooked.systemctl("stop", "late.service")
        hooked.remove(f"{UNITS}/late.service")
    await_found(hooked, "", "late.internal")
    assert leaks(hooked) == []


def test_the_reverse_name_of_a_container_address_is_found(
    hooked: Machine, service: Service
) -> None:
    """The file is written as the agent does: machines here have no containers on a bridge."""
    text = hooked.path(FILE).read_text()
    name = "5.2.0.192.in-addr.arpa"
    head, _, rest = text.partition("]")
    line = f'"names":{{\n"{name}":{{"12":["A3dlYghpbnRlcm5hbAA="]}},\n'
    service.systemctl("stop")
    hooked.write(f"{FILE}.new", f'{head},"{name}"]{rest}'.replace('"names":{\n', line))
    hooked.run("mv", f"{FILE}.new", FILE)
    wait_until(
        lambda: (
            "web.internal" in hooked.run("resolvectl", "query", "192.0.2.5", check=False).stdout
        ),
        "the reverse name is found",
    )
    assert hooked.run("getent", "hosts", "192.0.2.5").stdout.split()[1:] == ["web.internal"]


def test_a_killed_hook_loses_no_question(hooked: Machine) -> None:
    def kill() -> None:
        for _ in range(20):
            hooked.systemctl("kill", "--signal=KILL", HOOK)
            time.sleep(0.5)

    result = disturbed(hooked, kill)
    assert set(result["own"]["answers"]) == {BOX}
    assert leaks(hooked) == []


def test_a_kill_costs_at_most_one_of_many_questions(hooked: Machine) -> None:
    kills = 10
    with ExitStack() as stack:
        results = [stack.enter_context(load(hooked, 0)) for _ in range(MANY)]
        for _ in range(kills):
            hooked.systemctl("kill", "--signal=KILL", HOOK)
            time.sleep(0.5)
    assert sum(one["own"]["answers"][BOX] for one in results) > 100 * kills
    assert len(leaks(hooked)) <= kills
    assert {answer for one in results for answer in one["own"]["answers"]} <= {BOX, ADDRESS}


def test_a_restarted_hook_loses_no_question(hooked: Machine) -> None:
    def restart() -> None:
        for _ in range(5):
            hooked.systemctl("restart", HOOK)
        hooked.systemctl("restart", SOCKET)

    result = disturbed(hooked, restart)
    assert set(result["own"]["answers"]) == {BOX}
    assert leaks(hooked) == []


def test_a_hook_that_hangs_is_replaced_and_no_question_is_lost(hooked: Machine) -> None:
    before = hooked.show(HOOK, "MainPID")

    def hang() -> None:
        hooked.systemctl("kill", "--signal=STOP", HOOK)
        wait_until(lambda: hooked.show(HOOK, "MainPID") not in (before, "0"), "another process")

    result = disturbed(hooked, hang)
    assert set(result["own"]["answers"]) == {BOX}
    assert leaks(hooked) == []


def test_a_killed_or_restarted_agent_takes_no_name_away(hooked: Machine, service: Service) -> None:
    def disturb() -> None:
        for _ in range(2):
            before = service.pid
            hooked.systemctl("kill", "--signal=KILL", "koi-runtime.service")
            wait_until(lambda: service.pid not in (0, before), "the agent is back")  # noqa: B023
        service.systemctl("restart")

    result = disturbed(hooked, disturb)
    assert set(result["own"]["answers"]) == {BOX}
    assert leaks(hooked) == []


def test_a_reload_with_other_settings_takes_no_name_away(hooked: Machine, service: Service) -> None:
    def reload() -> None:
        for text in ("TTL=7\n", "ExtraDomains=lab.example\n"):
            service.configure(f"[Capabilities]\nDNS=hook\n[DNS]\n{text}")
            service.systemctl("reload")
        wait_until(lambda: "lab.example" in hooked.path(FILE).read_text(), "the new domain")

    result = disturbed(hooked, reload)
    assert set(result["own"]["answers"]) == {BOX}
    assert leaks(hooked) == []


def test_an_agent_that_stops_without_systemd_resolved_leaves_no_name(
    hooked: Machine, service: Service
) -> None:
    hooked.systemctl("stop", "systemd-resolved.service")
    service.systemctl("stop")
    hooked.systemctl("start", "systemd-resolved.service")
    await_found(hooked, ADDRESS)
    assert '"domains":[]' in hooked.path(FILE).read_text()


@pytest.fixture
def patient(hooked: Machine) -> Iterator[Machine]:
    """The machine with a watchdog that leaves a stopped hook alone."""
    path = f"/run/systemd/system/{HOOK}.d/koi-test.conf"
    hooked.write(path, "[Service]\nWatchdogSec=10min\n")
    hooked.systemctl("daemon-reload")
    hooked.systemctl("restart", HOOK)
    yield hooked
    hooked.remove(path)
    hooked.systemctl("daemon-reload")
    hooked.systemctl("kill", "--signal=KILL", HOOK)


def test_a_restarted_systemd_resolved_finds_all_names_again(patient: Machine) -> None:
    hooked = patient
    with load(hooked) as result:
        for _ in range(3):
            hooked.systemctl("restart", "systemd-resolved.service")
            time.sleep(0.5)
    assert set(result["foreign"]["answers"]) == {ADDRESS}
    assert set(result["own"]["answers"]) == {BOX}
    assert leaks(hooked) == []
    # The filter is known again: with the hook gone, a foreign name does not wait.
    before = hooked.show(HOOK, "MainPID")
    hooked.systemctl("kill", "--signal=STOP", HOOK)
    assert found(hooked, "after.example") == ADDRESS
    assert hooked.show(HOOK, "MainPID") == before


def test_a_stopped_hook_or_agent_leaves_the_host_as_it_was(
    hooked: Machine, service: Service
) -> None:
    def stop() -> None:
        hooked.systemctl("stop", HOOK)
        await_found(hooked, ADDRESS)
        doctor = hooked.run("koi-runtime", "--system", "doctor", check=False).stdout
        assert f"systemctl start {HOOK}" in doctor
        wait_until(lambda: f"{HOOK} is not active" in outlets(hooked), "the status names it")
        hooked.systemctl("start", HOOK)
        await_found(hooked)
        service.systemctl("stop")
        await_found(hooked, ADDRESS)
        service.systemctl("start")
        await_found(hooked)
        hooked.systemctl("disable", "--now", SOCKET)
        await_found(hooked, ADDRESS)

    disturbed(hooked, stop)
    assert not hooked.path(PATH).exists()
    assert hooked.show(HOOK, "ActiveState") == "inactive"


def test_a_hook_that_never_starts_gives_way(hooked: Machine) -> None:
    drop_in = f"{UNITS}/{HOOK}.d/broken.conf"
    hooked.write(drop_in, "[Service]\nExecStart=\nExecStart=/bin/false\n")
    hooked.systemctl("daemon-reload")
    try:
        hooked.systemctl("kill", "--signal=KILL", HOOK)
        wait_until(
            lambda: hooked.show(SOCKET, "ActiveState") == "failed", "it gives way", timeout=180
        )
        await_found(hooked, ADDRESS)
        doctor = hooked.run("koi-runtime", "--system", "doctor", check=False).stdout
        mend = next(line for line in doctor.splitlines() if "systemctl reset-failed" in line)
    finally:
        hooked.remove(drop_in)
        hooked.systemctl("daemon-reload")
    hooked.run("sh", "-c", mend[mend.index("systemctl reset-failed") :].rstrip(")"))
    await_found(hooked)


def test_an_agent_without_the_outlet_withdraws_the_names(hooked: Machine, service: Service) -> None:
    service.configure("[Capabilities]\nDNS=off\n")
    hooked.systemctl("kill", "--signal=KILL", "koi-runtime.service")
    await_found(hooked, ADDRESS)
    assert '"domains":[]' in hooked.path(FILE).read_text()


@pytest.fixture
def guarded(hooked: Machine) -> Iterator[Machine]:
    """The machine with the example of a delegate."""
    text = (CHECKOUT / f"packaging/examples/{DELEGATE}").read_text()
    hooked.write(f"/etc/systemd/dns-delegate.d/{DELEGATE}", text)
    hooked.systemctl("reload", "systemd-resolved.service")
    await_found(hooked)
    forget(hooked)
    yield hooked
    hooked.remove(f"/etc/systemd/dns-delegate.d/{DELEGATE}")
    hooked.systemctl("reload", "systemd-resolved.service")


def test_the_example_keeps_names_on_the_host_without_a_hook(guarded: Machine) -> None:
    guarded.systemctl("stop", SOCKET)
    assert found(guarded, "web.internal") == ""
    assert found(guarded, "foreign.example") == ADDRESS
    assert leaks(guarded) == []


def test_with_the_example_no_kill_lets_a_question_leave_the_host(guarded: Machine) -> None:
    with ExitStack() as stack:
        results = [stack.enter_context(load(guarded, 0)) for _ in range(MANY)]
        for _ in range(20):
            guarded.systemctl("kill", "--signal=KILL", HOOK)
            time.sleep(0.3)
    assert sum(one["own"]["answers"][BOX] for one in results) > 2000
    assert not any(ADDRESS in one["own"]["answers"] for one in results)
    assert leaks(guarded) == []


def test_the_hook_is_little_exposed(hooked: Machine) -> None:
    exposure = EXPOSURE.search(hooked.run("systemd-analyze", "--no-pager", "security", HOOK).stdout)
    assert exposure
    assert float(exposure[1]) <= MOST_EXPOSURE
    refused = hooked.run("varlinkctl", "info", f"unix:{PATH}", user="plain", check=False)
    assert refused.returncode != 0
