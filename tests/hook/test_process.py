"""The hook as a process: its service manager, a strict systemd-resolved, and hostile peers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from koi_agent.capabilities.dns.hook.names import NO_NAMES, HookNames
from tests.hook.manager import HOOK, PROGRAM, Manager, Resolved, is_root
from tests.namespaces import wait_until
from tests.unit.dns_zones import DOMAINS, WEB, named

ALL = list(DOMAINS.all)
OTHER_USER = """
import os, socket, sys
os.setgroups([]), os.setgid(65534), os.setuid(65534)
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    try:
        sock.sendall(b'{"method":"org.varlink.service.GetInfo"}' + bytes(1))
        print(sock.recv(100))
    except ConnectionError:
        print(b"")
"""
needs_root = pytest.mark.skipif(not is_root(), reason="only root and systemd-resolved are answered")
pytestmark = needs_root


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def manager(stack: ExitStack) -> Manager:
    """A service manager with a file of the agent; the hook does not run yet."""
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="koi-hook-")))
    folder.chmod(0o755)  # unlike tmp_path: other users connect, too
    made = Manager(folder, stack)
    made.write(text("192.0.2.1"))
    return made


def connect(manager: Manager, stack: ExitStack) -> Resolved:
    """Connect as systemd-resolved does."""
    sock = stack.enter_context(socket.socket(socket.AF_UNIX))
    sock.connect(str(manager.path))
    return Resolved(sock)


def text(*addresses: str, name: str = "wiki.internal") -> str:
    names = HookNames(DOMAINS, 30)
    if addresses:
        one = named("a", name, *addresses, services=[WEB])
        names.put(one.owner, [one])
    return names.text()


def test_systemd_resolved_gets_domains_and_answers(manager: Manager, stack: ExitStack) -> None:
    manager.start()
    assert connect(manager, stack).follow() == ALL
    link = connect(manager, stack)
    assert link.find("Wiki.INTERNAL.", 1, 28) == ["Wiki.INTERNAL. 10 IN A 192.0.2.1"]
    assert link.find("_http._tcp.internal", 12) == [
        "_http._tcp.internal. 10 IN PTR wiki._http._tcp.internal."
    ]
    (found,) = link.find("wiki._http._tcp.internal", 33)
    assert found.endswith("SRV 0 0 8080 wiki.internal.")
    assert link.find("wiki.internal", 15) == []
    assert link.find("_tcp.internal") == []
    assert link.ask("none.internal") == {"rcode": 3}
    assert link.ask("example.org") == {}
    assert "outside the domains" in manager.log.read_text()


def test_a_change_is_seen_by_the_next_question(manager: Manager, stack: ExitStack) -> None:
    manager.start()
    filters, link = connect(manager, stack), connect(manager, stack)
    assert filters.follow() == ALL
    for number in range(1, 30):
        manager.write(text(f"192.0.2.{number}"))
        assert link.find("wiki.internal") == [f"wiki.internal. 10 IN A 192.0.2.{number}"]
    manager.write(NO_NAMES)
    assert filters.filter() == []
    assert link.ask("wiki.internal") == {}
    manager.write(text())
    assert filters.filter() == ALL
    assert link.ask("wiki.internal") == {"rcode": 3}
    manager.file.unlink()
    assert filters.filter() == []


def test_a_peer_that_does_not_read_gets_the_last_filter(manager: Manager, stack: ExitStack) -> None:
    manager.start()
    filters, link = connect(manager, stack), connect(manager, stack)
    assert filters.follow() == ALL
    long = [f"{'x' * 60}{number:03}.example" for number in range(900)]
    for last in range(12):
        head = {"version": 1, "ttl": 5, "domains": [*long, f"last{last}.example"]}
        manager.write(json.dumps(head)[:-1] + ',\n"names":{\n}}\n')
        assert link.ask(f"a.last{last}.example") == {"rcode": 3}
    while (found := filters.filter())[-1] != "last11.example":
        assert len(found) == len(long) + 1


@pytest.mark.parametrize("bad", ["{", '{"version":9}\n"names":{\n}}\n', "\0" * 4096])
def test_a_bad_file_keeps_the_domains_and_fails_their_names(
    manager: Manager, stack: ExitStack, bad: str
) -> None:
    manager.start()
    filters, link = connect(manager, stack), connect(manager, stack)
    assert filters.follow() == ALL
    manager.write(bad)
    assert link.ask("wiki.internal") == {"rcode": 2}
    assert link.ask("none.internal") == {"rcode": 2}
    assert link.ask("example.org") == {}
    wait_until(lambda: str(manager.file) in manager.receive()["STATUS"], "the status has it")
    manager.write(text("192.0.2.7"))
    assert link.find("wiki.internal") == ["wiki.internal. 10 IN A 192.0.2.7"]


def test_what_is_not_a_file_is_not_read(manager: Manager, stack: ExitStack) -> None:
    manager.start()
    link = connect(manager, stack)
    assert link.find("wiki.internal")
    other = manager.file.with_suffix(".other")
    os.mkfifo(other)
    other.rename(manager.file)
    assert link.ask("wiki.internal") == {"rcode": 2}
    other.symlink_to("/dev/zero")
    other.rename(manager.file)
    assert link.ask("wiki.internal") == {"rcode": 2}
    manager.write(text("192.0.2.1"))
    assert link.find("wiki.internal")


def test_no_question_is_lost_when_the_process_is_killed(manager: Manager, stack: ExitStack) -> None:
    filters = connect(manager, stack)
    filters.send({"method": f"{HOOK}.QueryFilter", "more": True})
    links = [connect(manager, stack) for _ in range(20)]
    process = manager.start()
    assert filters.filter() == ALL
    for link in links:
        assert link.find("wiki.internal")
    for number in range(5):
        process.send_signal(signal.SIGSTOP)
        for link in links[::2]:
            link.put(f"n{number}.internal")  # while the process hangs
        process.kill()
        process.wait()
        for link in links[1::2]:
            link.put(f"n{number}.internal")  # while there is no process
        manager.write(text("192.0.2.1", name=f"n{number}.internal"))
        process = manager.start()
        assert filters.filter() == ALL
        for link in links:
            assert link.answer()["rcode"] == 0
    manager.write(NO_NAMES)
    assert filters.filter() == []


def test_all_connections_are_kept_however_many_there_are(
    manager: Manager, stack: ExitStack
) -> None:
    process = manager.start()
    links = [connect(manager, stack) for _ in range(100)]
    for link in links:
        assert link.find("wiki.internal")
    process.kill()
    process.wait()
    for link in links:
        link.put("wiki.internal")
    manager.start()
    for link in links:
        assert link.answer()["rcode"] == 0


def test_a_question_that_was_answered_is_not_answered_again(
    manager: Manager, stack: ExitStack
) -> None:
    ours, theirs = socket.socketpair()
    stack.enter_context(ours)
    manager.leave(theirs)
    theirs.close()
    before = Resolved(ours)
    # A process that is killed between its answer and the next call leaves the question.
    before.put("none.internal")
    before.put("wiki.internal")
    manager.start()
    assert len(before.answer()["answer"]) == 1
    assert before.ask("none.internal") == {"rcode": 3}


def test_a_stop_empties_the_filter_and_ends_the_questions(
    manager: Manager, stack: ExitStack
) -> None:
    process = manager.start()
    filters, link = connect(manager, stack), connect(manager, stack)
    assert filters.follow() == ALL
    assert link.find("wiki.internal")
    process.terminate()
    assert filters.filter() == []
    with pytest.raises(EOFError):
        link.receive()
    assert process.wait(30) == 0
    manager.start()
    assert filters.filter() == ALL  # the connection has outlived the process


@pytest.mark.parametrize(
    "bad",
    [
        b"\0",
        b"GET / HTTP/1.1\r\n\r\n\0",
        b"[" * 60_000 + b"\0",
        b'{"method":5}\0',
        b'{"method":"io.systemd.Resolve.Hook.ResolveRecord","parameters":[]}\0',
        b'{"method":"io.systemd.Resolve.Hook.ResolveRecord"}\0',
        b"\xff\xfe\0",
    ],
)
def test_a_bad_message_is_a_failure_of_its_question_only(
    manager: Manager, stack: ExitStack, bad: bytes
) -> None:
    process = manager.start()
    link = connect(manager, stack)
    link.socket.sendall(bad)
    assert link.answer() == {"rcode": 2}
    assert link.find("wiki.internal")
    assert process.poll() is None


def test_other_methods_are_answered_as_varlink_asks(manager: Manager, stack: ExitStack) -> None:
    manager.start()
    link = connect(manager, stack)
    info = link.call("org.varlink.service.GetInfo")["parameters"]
    assert HOOK in info["interfaces"]
    assert link.call("org.varlink.service.GetInterfaceDescription", interface=HOOK)["parameters"]
    assert link.call("x.y.Z")["error"] == "org.varlink.service.MethodNotFound"
    assert link.call(f"{HOOK}.QueryFilter")["error"] == "org.varlink.service.ExpectedMore"
    link.send({"method": f"{HOOK}.ResolveRecord", "oneway": True})
    assert link.find("wiki.internal")


def test_messages_arrive_in_pieces_and_together(manager: Manager, stack: ExitStack) -> None:
    manager.start()
    link = connect(manager, stack)
    question = {"question": [{"key": {"class": 1, "type": 1, "name": "wiki.internal"}}]}
    whole = json.dumps({"method": f"{HOOK}.ResolveRecord", "parameters": question}).encode()
    for at in (1, 20, len(whole)):
        link.socket.sendall(whole[:at])
        time.sleep(0.05)
        link.socket.sendall(whole[at:] + b"\0")
        assert link.answer()["rcode"] == 0
    link.socket.sendall((whole + b"\0") * 500)
    assert [link.answer()["rcode"] for _ in range(500)] == [0] * 500


def test_hostile_peers_cost_only_themselves(manager: Manager, stack: ExitStack) -> None:
    process = manager.start()
    filters, link = connect(manager, stack), connect(manager, stack)
    assert filters.follow() == ALL
    huge = connect(manager, stack)
    with suppress(ConnectionError):
        huge.socket.sendall(b"x" * 300_000)
    with pytest.raises((EOFError, ConnectionError)):
        huge.receive()
    half = [connect(manager, stack) for _ in range(100)]
    for one in half:
        one.socket.sendall(b'{"method":')
    deaf = connect(manager, stack)
    deaf.socket.settimeout(1)
    with suppress(TimeoutError):
        for _ in range(100_000):  # it reads no answer
            deaf.put("wiki.internal")
        pytest.fail("the hook takes questions of a peer that reads no answer")
    assert link.find("wiki.internal")
    for one in (*half, deaf):
        one.socket.close()
    many = [connect(manager, stack) for _ in range(400)]
    assert link.find("wiki.internal")
    for one in many[:300]:
        one.socket.close()
    assert many[-1].find("wiki.internal")
    manager.write(NO_NAMES)
    assert filters.filter() == []
    assert process.poll() is None
    assert "bug" not in manager.log.read_text()


def test_other_users_are_refused(manager: Manager, stack: ExitStack) -> None:
    manager.start()
    command = [sys.executable, "-c", OTHER_USER, str(manager.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "b''"
    wait_until(lambda: "user 65534" in manager.log.read_text(), "the refusal is logged")
    assert connect(manager, stack).find("wiki.internal")


def test_the_service_manager_gets_pings_and_the_status(manager: Manager) -> None:
    manager.start()
    for _ in range(3):
        manager.variables.pop("WATCHDOG", None)
        wait_until(lambda: manager.receive().get("WATCHDOG") == "1", "a ping")
    assert manager.receive()["STATUS"] == f"domains and reverse names: {len(ALL)}"


def test_it_loads_the_standard_library_only_and_little_of_it() -> None:
    program = PROGRAM.replace("main()", "print(*sys.modules)")
    command = [sys.executable, "-IS", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = {one.partition(".")[0] for one in done.stdout.split()}
    assert "koi_agent" in modules
    assert modules - {"koi_agent"} <= {*sys.stdlib_module_names, "__main__"}
    slow = {"asyncio", "ctypes", "dataclasses", "inspect", "ssl", "subprocess"}
    assert not modules & slow


def test_without_a_socket_it_says_what_to_start() -> None:
    command = [sys.executable, "-IS", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={})
    assert done.returncode == os.EX_CONFIG
    assert "start koi-runtime-hook.socket" in done.stderr
