"""Sockets that systemd passes, and own sockets, some of them of dead processes."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from koi_agent.core.errors import ConfigError
from koi_agent.host.sockets import STREAMS, NoSocket, http_path, own_tcp, own_unix, passed
from tests.ports import free_port

pytestmark = pytest.mark.usefixtures("leak_check")

PASSED = """
import fcntl, json, logging, os, sys
logging.basicConfig(format="%(levelname)s %(message)s")
from koi_agent.host.sockets import STREAMS, STREAMS_AND_DATAGRAMS, passed
from koi_agent.core.errors import ConfigError
try:
    found = passed(os.environ, {"http": STREAMS, "dns": STREAMS_AND_DATAGRAMS})
except ConfigError as error:
    sys.exit(f"refused: {error}")
print(json.dumps({
    "sockets": {name: [repr(one.getsockname()) for one in some] for name, some in found.items()},
    "waits": [one.getblocking() for some in found.values() for one in some],
    "inherited": [os.get_inheritable(one.fileno()) for some in found.values() for one in some],
    "variables": [name for name in os.environ if name.startswith("LISTEN_")],
    "libsystemd": "libsystemd" in open("/proc/self/maps").read(),
    "open": [number for number in range(3, 10) if os.path.exists(f"/proc/self/fd/{number}")],
}))
"""


def start(
    *descriptors: socket.socket | int, names: str = "http", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run passed() in a process with descriptors from 3 on, as systemd passes them."""
    given = {"LISTEN_FDS": str(len(descriptors)), "LISTEN_FDNAMES": names} | variables
    words = [f"{name}={value}" for name, value in given.items() if value]
    numbers = [one if isinstance(one, int) else one.fileno() for one in descriptors]
    moves = " ".join(f"{3 + at}<&{number}" for at, number in enumerate(numbers))
    closed = " ".join(f"{number}<&-" for number in numbers if number >= 3 + len(numbers))
    pid = variables.get("LISTEN_PID", "$$")
    command = f'exec {moves} {closed}; LISTEN_PID={pid} exec env "$@"'
    return subprocess.run(
        ["bash", "-c", command, "start", *words, sys.executable, "-c", PASSED],
        pass_fds=numbers,
        check=False,
        capture_output=True,
        text=True,
        timeout=20,
    )


def taken(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "passed"))
        listening.listen()
        yield listening


def test_passed_sockets_are_named_and_neither_block_nor_are_inherited(
    listener: socket.socket,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        told = taken(start(listener, other, names="http:http"))
        addresses = [repr(listener.getsockname()), repr(other.getsockname())]
    assert told["sockets"] == {"http": addresses}
    assert told["waits"] == told["inherited"] == [False, False]
    assert told["variables"] == []


@pytest.mark.parametrize(
    "variables",
    [
        {"LISTEN_PID": "1"},
        {"LISTEN_PID": "me"},
        {"LISTEN_FDS": ""},
    ],
    ids=["foreign", "no number", "none"],
)
def test_descriptors_of_another_process_are_left_alone(
    listener: socket.socket, variables: dict[str, str]
) -> None:
    told = taken(start(listener, **variables))
    assert told["sockets"] == {}
    assert told["variables"] == []
    assert 3 in told["open"]
    assert not told["libsystemd"]


def test_descriptors_with_unknown_names_are_logged_and_closed(listener: socket.socket) -> None:
    done = start(listener, listener, listener, names="gate:http:koi-runtime.socket")
    told = taken(done)
    assert told["sockets"] == {"http": [repr(listener.getsockname())]}
    assert told["open"] == [4]
    first, second = done.stderr.splitlines()
    assert "WARNING socket unit: unknown FileDescriptorName=, descriptor 3 closed: gate" in first
    assert ": koi-runtime.socket; use http" in second
    assert "FileDescriptorName=" in second


def test_descriptor_without_a_name_is_unknown(listener: socket.socket) -> None:
    done = start(listener, names="")
    assert taken(done)["sockets"] == {}
    assert ": unknown; use http" in done.stderr


def test_descriptor_that_does_not_listen_is_refused_by_name(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX) as silent,
        (tmp_path / "file").open("w") as file,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as packets,
    ):
        silent.bind(str(tmp_path / "silent"))
        packets.bind(str(tmp_path / "packets"))
        packets.listen()
        one, other = socket.socketpair()
        with one, other:
            refused = [start(bad) for bad in (datagrams, silent, file.fileno(), packets, one)]
    for done in refused:
        assert done.returncode == 1
        assert "refused: socket unit: FileDescriptorName=http: not a" in done.stderr
        assert "Traceback" not in done.stderr
        assert "unclosed" not in done.stderr


@pytest.mark.parametrize(
    "variables", [{"LISTEN_FDS": "2"}, {"LISTEN_FDS": "many"}, {"names": "http:http"}]
)
def test_variables_that_contradict_are_refused(
    listener: socket.socket, variables: dict[str, str]
) -> None:
    done = start(listener, **variables)
    assert done.returncode == 1
    assert "refused: LISTEN_FDS" in done.stderr


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="not installed")
def test_sockets_of_systemd_socket_activate_are_passed(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    tool = ["systemd-socket-activate", "-l", str(path), "--fdname=http", "-E", "PYTHONPATH"]
    with subprocess.Popen(
        [*tool, sys.executable, "-c", PASSED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        while not listened_on(path):
            assert running.poll() is None
        out, err = running.communicate(timeout=20)
    assert json.loads(out)["sockets"] == {"http": [repr(str(path))]}, err


def test_nothing_is_passed_to_an_agent_started_by_hand() -> None:
    environment = {"OTHER": "stays"}
    assert passed(environment, {"http": STREAMS}) == {}
    assert environment == {"OTHER": "stays"}


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(str(path))
    except OSError:
        client.close()
        raise
    return client


def listened_on(path: Path) -> bool:
    try:
        connect(path).close()
    except (FileNotFoundError, ConnectionRefusedError):  # not yet bound, not yet listening
        return False
    return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "koi-runtime/http.sock"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_own_socket_has_its_mode_with_any_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with own_unix(path, mode=0o666) as listener:
            assert stat.S_IMODE(path.lstat().st_mode) == 0o666
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
            assert not listener.getblocking()
            assert not listener.get_inheritable()
            with connect(path), listener.accept()[0]:
                pass
    finally:
        os.umask(before)
    assert not path.exists()


def test_existing_directory_keeps_its_mode(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with own_unix(path, mode=0o666):
        pass
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_dead_socket_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    with own_unix(path, mode=0o666) as listener:
        assert listener.getsockname() == str(path)
        connect(path).close()
    assert not path.exists()


def test_agent_starts_after_a_crash(path: Path) -> None:
    crashing = f"""
import os, sys
from pathlib import Path
from koi_agent.host.sockets import own_unix
with own_unix(Path({str(path)!r}), mode=0o666):
    os.abort()
"""
    subprocess.run([sys.executable, "-c", crashing], check=False, timeout=20)
    assert path.is_socket()
    with own_unix(path, mode=0o666):
        connect(path).close()


def test_socket_in_use_is_left_alone_and_its_process_named(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        with (
            pytest.raises(
                NoSocket, match=rf"{path}: another process \(PID {os.getpid()}\) listens"
            ),
            own_unix(path, mode=0o666),
        ):
            pass
        connect(path).close()


def test_socket_with_a_full_backlog_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen(0)
        with (
            connect(path),
            pytest.raises(NoSocket, match=f"{path}: another process listens"),
            own_unix(path, mode=0o666),
        ):
            pass
        assert path.is_socket()


def test_socket_in_use_of_another_type_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as living:
        living.bind(str(path))
        with pytest.raises(NoSocket, match="another process"), own_unix(path, mode=0o666):
            pass
        assert path.is_socket()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link"])
def test_path_that_is_not_a_socket_is_left_alone(path: Path, kind: str) -> None:
    path.parent.mkdir()
    match kind:
        case "file":
            path.write_text("precious")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to("/dev/null" if kind == "link" else "nowhere")
    before = path.lstat()
    with (
        pytest.raises(NoSocket, match=f"{path}: can't listen: not a socket"),
        own_unix(path, mode=0o666),
    ):
        pass
    assert path.lstat() == before


def test_second_agent_is_refused_while_the_first_runs(path: Path) -> None:
    with own_unix(path, mode=0o666):
        with pytest.raises(NoSocket, match="another koi-runtime runs"), own_unix(path, mode=0o666):
            pass
        connect(path).close()
    with own_unix(path, mode=0o666):
        connect(path).close()


def test_one_of_many_agents_that_find_a_dead_socket_serves(path: Path) -> None:
    for _ in range(30):
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        served = race(path, 8)
        assert served == 1
        assert not path.exists()


def race(path: Path, racers: int) -> int:
    """Start many agents at once, check that one serves; returns how many think that they do."""
    line, finish = threading.Barrier(racers), threading.Barrier(racers)
    served: list[bool] = []

    def start_one() -> None:
        line.wait()
        try:
            with own_unix(path, mode=0o666):
                finish.wait(10)
                connect(path).close()
                served.append(True)
        except NoSocket:
            finish.wait(10)

    threads = [threading.Thread(target=start_one) for _ in range(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(served)


def test_socket_that_replaced_the_own_one_is_left_alone(path: Path) -> None:
    with own_unix(path, mode=0o666), socket.socket(socket.AF_UNIX) as other:
        path.unlink()
        other.bind(str(path))
    assert path.is_socket()


def test_own_socket_may_be_removed_by_others(path: Path) -> None:
    with own_unix(path, mode=0o666) as listener:
        path.unlink()
        listener.close()
    assert not path.exists()


def test_path_is_removed_after_an_error(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), own_unix(path, mode=0o666):
        raise ZeroDivisionError
    assert not path.exists()


def test_path_that_the_kernel_refuses_is_an_error_with_a_reason(tmp_path: Path) -> None:
    for bad, reason in (
        (tmp_path / "no/such/http.sock", "No such file or directory"),
        (tmp_path / ("x" * 120), "too long"),
        (Path("/proc/koi/http.sock"), "No such file or directory"),
        (Path("/dev/null/http.sock"), "Not a directory"),
    ):
        with (
            pytest.raises(NoSocket, match=f"{bad}: can't listen: .*{reason}"),
            own_unix(bad, mode=0o666),
        ):
            pass


def test_path_of_http_depends_on_the_scope() -> None:
    assert http_path("system", {}) == Path("/run/koi-runtime/http.sock")
    told = http_path("user", {"XDG_RUNTIME_DIR": "/run/user/5"})
    assert told == Path("/run/user/5/koi-runtime/http.sock")
    for bad in ({}, {"XDG_RUNTIME_DIR": ""}, {"XDG_RUNTIME_DIR": "here"}):
        with pytest.raises(ConfigError, match="XDG_RUNTIME_DIR"):
            http_path("user", bad)


def test_addresses_of_both_families_share_a_port() -> None:
    port = free_port()
    with own_tcp("0.0.0.0", port) as four, own_tcp("::", port) as six:
        for address, listener in (("127.0.0.1", four), ("::1", six)):
            assert not listener.getblocking()
            with socket.create_connection((address, port), timeout=2):
                connection, peer = listener.accept()
                connection.close()
                assert peer[0] == address


def test_port_can_be_used_again_at_once() -> None:
    port = free_port()
    with own_tcp("127.0.0.1", port) as listener:
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0]:
            pass
        client.close()
    with own_tcp("127.0.0.1", port):
        pass


def test_address_that_the_kernel_refuses_is_an_error_with_a_reason() -> None:
    with own_tcp("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            NoSocket, match=rf"127\.0\.0\.1:{port}: can't listen: Address already in use"
        ):
            own_tcp("127.0.0.1", port)
    with pytest.raises(
        NoSocket, match=r"\[2001:db8::1\]:80: can't listen: Cannot assign requested address"
    ):
        own_tcp("2001:db8::1", 80)


@pytest.mark.parametrize("host", ["localhost", "", "1.2.3", "[::1]", "\x1b[31m"])
def test_bad_address_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="not an IP address") as raised:
        own_tcp(host, 80)
    assert "\x1b" not in str(raised.value)
