"""The hand-over of a Koi daemon's breadcrumb: what is copied, and how changes are followed."""

import os
import pwd
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from koi_agent.core.errors import BadInput
from koi_agent.services.handover import breadcrumb
from koi_agent.services.handover.__main__ import FIRST_WAIT, USAGE
from tests.namespaces import wait_until

URL = "http://127.0.0.1:5641"
TOKEN = "dat:zT9-_kq0Xw"
TEXT = f"{URL}\n{TOKEN}\n"
USER = pwd.getpwuid(os.geteuid()).pw_name
IS_ROOT = os.geteuid() == 0
NOBODY = 65534
WITHOUT_INOTIFY = (
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    *('echo 0 >/proc/sys/user/max_inotify_instances && exec "$@"', "sh"),
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A breadcrumb as a daemon leaves it."""
    file = tmp_path / "run" / "koi.endpoint"
    file.parent.mkdir()
    write(file, TEXT)
    return file


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The place of the copy."""
    file = tmp_path / "koi" / "endpoint"
    file.parent.mkdir()
    return file


def write(file: Path, text: str | bytes) -> None:
    """Write in place, as a daemon does."""
    file.touch(mode=0o600)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize(
    "text", [TEXT, f"{URL}\n{TOKEN}", f"  {URL} \r\n {TOKEN}\r\n\n", f"\n{URL}\n{TOKEN}\n"]
)
def test_a_breadcrumb_is_read_in_its_usual_form(source: Path, text: str) -> None:
    write(source, text)
    assert breadcrumb.read(source) == TEXT


@pytest.mark.parametrize("text", ["", "\n"])
def test_a_daemon_that_writes_has_no_breadcrumb_yet(source: Path, text: str) -> None:
    write(source, text)
    assert breadcrumb.read(source) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (URL, "two lines"),
        (f"{TEXT}more\n", "two lines"),
        (f"https://127.0.0.1\n{TOKEN}", "first line"),
        (f"http://user@host\n{TOKEN}", "first line"),
        (f"http://127.0.0.1:5641/$(id)\n{TOKEN}", "first line"),
        (f"{URL}\nzT9", "second line"),
        (f"{URL}\ndat:", "second line"),
        (f"{URL}\ndat:a b", "second line"),
        (f"{URL}\ndat:{'x' * 513}", "second line"),
        (f"{URL}\ndat:é", "ASCII"),
        (f"{URL}\n{TOKEN}\x00", "second line"),
        ("x" * (breadcrumb.LARGEST + 1), "longer than 4096 bytes"),
        ("x" * 10_000_000, "longer than 4096 bytes"),
    ],
)
def test_other_content_is_refused_without_its_token(source: Path, text: str, reason: str) -> None:
    write(source, text)
    with pytest.raises(BadInput, match=reason) as refused:
        breadcrumb.read(source)
    assert "zT9" not in str(refused.value)


def as_link(file: Path) -> None:
    target, link = file.with_name("target"), file.with_name("link")
    target.write_bytes(file.read_bytes())
    link.symlink_to(target)
    link.replace(file)


def as_pipe(file: Path) -> None:
    pipe = file.with_name("pipe")
    os.mkfifo(pipe, 0o600)
    pipe.replace(file)


def as_socket(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(file.with_name("socket")))
    file.with_name("socket").replace(file)


def as_large(file: Path) -> None:
    os.truncate(file, 1 << 40)


def as_writable(file: Path) -> None:
    file.chmod(0o620)


def as_others(file: Path) -> None:
    os.chown(file, NOBODY, NOBODY)


HOSTILE = [
    (as_link, "not a regular file"),
    (as_pipe, "not a regular file"),
    (as_socket, "not a regular file"),
    (as_large, "longer than 4096 bytes"),
    (as_writable, "other users can write it"),
    pytest.param(
        as_others,
        "its owner is the user 65534",
        marks=pytest.mark.skipif(not IS_ROOT, reason="only root can change an owner"),
    ),
]


@pytest.mark.parametrize(("change", "reason"), HOSTILE)
def test_files_that_others_can_have_made_are_refused(
    source: Path, change: Callable[[Path], None], reason: str
) -> None:
    change(source)
    with pytest.raises(BadInput, match=reason):
        breadcrumb.read(source)


def test_a_copy_belongs_to_its_user_alone(copy: Path, tmp_path: Path) -> None:
    user = NOBODY if IS_ROOT else os.geteuid()
    precious = tmp_path / "precious"
    precious.write_text("kept")
    copy.symlink_to(precious)
    copy.with_name(".endpoint.new").symlink_to(precious)
    for _ in range(2):
        breadcrumb.write(copy, TEXT, user)
        status = copy.lstat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o400, user)
        assert [file.name for file in copy.parent.iterdir()] == ["endpoint"]
    assert precious.read_text() == "kept"


@contextmanager
def following(source: Path, copy: Path, *before: str) -> Iterator[subprocess.Popen[str]]:
    """Run the process while the block runs; the block may end it."""
    argv = [sys.executable, "-m", "koi_agent.services.handover", str(source), str(copy), USER]
    with subprocess.Popen([*before, *argv], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def copied(copy: Path) -> str:
    try:
        return copy.read_text()
    except FileNotFoundError:
        return ""


def await_copy(copy: Path, text: str) -> None:
    wait_until(lambda: copied(copy) == text, f"the copy is {text!r}")


def test_the_copy_follows_the_breadcrumb_to_its_end(source: Path, copy: Path) -> None:
    with following(source, copy) as process:
        await_copy(copy, TEXT)
        for number in range(20):
            text = f"{URL}\ndat:token{number}\n"
            if number % 2:
                write(source, text)
            else:
                write(source.with_name("new"), text)
                source.with_name("new").replace(source)
            await_copy(copy, text)
        write(source.with_name("other"), TEXT)
        source.unlink()
        assert process.wait(60) == 0
        assert not copy.exists()
        assert process.stderr
        records = process.stderr.read()
    assert records.startswith(f"<6>{source} is handed over: {URL}\n")
    assert "token" not in records


@pytest.mark.parametrize(("change", "reason"), HOSTILE)
def test_the_copy_goes_while_the_breadcrumb_is_refused(
    source: Path, copy: Path, change: Callable[[Path], None], reason: str
) -> None:
    with following(source, copy) as process:
        await_copy(copy, TEXT)
        change(source)
        await_copy(copy, "")
        write(source.with_name("new"), TEXT)
        source.with_name("new").replace(source)
        await_copy(copy, TEXT)
        process.terminate()
        _, records = process.communicate()
    (refused,) = [line for line in records.splitlines() if line.startswith("<4>")]
    assert refused.startswith(f"<4>{source}: not handed over: ")
    assert refused.endswith(reason)


def test_the_last_of_many_quick_changes_is_copied(source: Path, copy: Path) -> None:
    with following(source, copy):
        for number in range(3000):
            write(source, f"{URL}\ndat:{number}\n")
        await_copy(copy, f"{URL}\ndat:2999\n")


def test_a_breadcrumb_that_is_gone_ends_the_process(source: Path, copy: Path) -> None:
    source.unlink()
    with following(source, copy) as process:
        assert process.wait(60) == 0


def test_a_copy_that_is_not_possible_is_an_error(source: Path, copy: Path) -> None:
    with following(source, copy / "below" / "endpoint") as process:
        _, records = process.communicate(timeout=60)
        assert process.returncode == os.EX_IOERR
    assert records == f"<3>{copy}/below/.endpoint.new: No such file or directory\n"


def test_without_inotify_the_breadcrumb_is_looked_at_again(source: Path, copy: Path) -> None:
    if subprocess.run([*WITHOUT_INOTIFY, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user may not make a user namespace")
    with following(source, copy, *WITHOUT_INOTIFY) as process:
        await_copy(copy, TEXT)
        write(source, f"{URL}\ndat:new\n")
        await_copy(copy, f"{URL}\ndat:new\n")
        process.terminate()
        _, records = process.communicate()
    assert "<4>inotify: Too many open files; a change is seen after 5 s\n" in records


def test_a_wrong_command_line_is_refused() -> None:
    argv = [sys.executable, "-m", "koi_agent.services.handover", "/run/koi.endpoint"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (os.EX_USAGE, USAGE)


def test_a_user_that_does_not_exist_is_waited_for(source: Path, copy: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "koi_agent.services.handover",
        str(source),
        str(copy),
        "no-such-user",
    ]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        line = process.stderr.readline()
        assert line == "<4>the user does not exist: no-such-user; waiting for it\n"
        time.sleep(2 * FIRST_WAIT)
        assert process.poll() is None
        source.unlink()
        assert process.wait(60) == 0
        assert process.stderr.read() == ""
    assert not copy.exists()
