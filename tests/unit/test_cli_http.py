"""The command requests a page of the agent, whatever answers on its socket."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from koi_agent.cli import http
from koi_agent.cli.client import NoAnswer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the socket of a user's agent."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "koi-runtime").mkdir()
    return tmp_path / "koi-runtime/http.sock"


@contextmanager
def answering(path: Path, response: bytes) -> Iterator[list[bytes]]:
    """Answer one request; yields a list that gets it."""
    requests: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def answer() -> None:
            with listening.accept()[0] as connection:
                requests.append(connection.recv(4096))
                connection.sendall(response)

        thread = threading.Thread(target=answer)
        thread.start()
        yield requests
        thread.join(60)


def page(body: bytes) -> bytes:
    return OK % (len(body), body)


def test_a_page_is_requested_by_the_socket(path: Path) -> None:
    with answering(path, page(b'[{"a": 1}, 2]')) as requests:
        assert http.records("user", "/v1/x?y=z") == [{"a": 1}]
    assert requests[0].startswith(b"GET /v1/x?y=z HTTP/1.1\r\nHost: localhost\r\n")


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (page(b"no"), "is not an array"),
        (page(b"{}"), "is not an array"),
        (b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n", "response 503 to /x"),
        (b"SSH-2.0\r\n", "SSH-2.0"),
        (b"", "without response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "IncompleteRead"),
    ],
)
def test_an_unusable_response_is_named(path: Path, response: bytes, reason: str) -> None:
    with answering(path, response), pytest.raises(NoAnswer, match=reason) as raised:
        http.records("user", "/x")
    assert str(path) in str(raised.value)
    assert "check systemctl --user status koi-runtime" in str(raised.value)


def test_a_missing_socket_is_named(path: Path) -> None:
    with pytest.raises(NoAnswer, match=r"http\.sock: No such file"):
        http.records("user", "/x")
    path.touch()
    with pytest.raises(NoAnswer, match="Connection refused"):
        http.records("user", "/x")
