"""The hook is killed while many connections are opened and closed for one question each."""

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.hook.manager import HOOK, Manager, is_root
from tests.hook.test_process import text
from tests.namespaces import wait_until

KEY = {"key": {"class": 1, "type": 1, "name": "wiki.internal"}}
QUESTION = json.dumps({"method": f"{HOOK}.ResolveRecord", "parameters": {"question": [KEY]}})
KILLS = 10
CLIENTS = 8
pytestmark = pytest.mark.skipif(not is_root(), reason="only root and systemd-resolved are answered")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Client(threading.Thread):
    """Asks without a pause, on a new connection each time, until ``end``."""

    def __init__(self, path: str, end: threading.Event) -> None:
        super().__init__()
        self.outcomes: Counter[str] = Counter()
        self._path = path
        self._end = end

    def run(self) -> None:
        while not self._end.is_set():
            self.outcomes[self._ask()] += 1

    def _ask(self) -> str:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            try:
                sock.connect(self._path)
                sock.sendall(QUESTION.encode() + b"\0")
                return "answered" if b'"rcode":0' in sock.recv(4096) else "ended"
            except ConnectionError:
                return "ended"


def await_answers(clients: list[Client]) -> None:
    """Wait until each client has some answers more."""
    for client in clients:
        before = client.outcomes.total()
        wait_until(lambda: client.outcomes.total() > before + 5, "answers")  # noqa: B023


def test_a_kill_costs_at_most_the_question_that_it_interrupts(stack: ExitStack) -> None:
    """Only between accept(2) and the next call is a connection not kept."""
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="koi-hook-")))
    manager = Manager(folder, stack)
    manager.write(text("192.0.2.1"))
    process = manager.start()
    end = threading.Event()
    clients = [Client(str(manager.path), end) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        for _ in range(KILLS):
            await_answers(clients)
            process.kill()
            process.wait()
            process = manager.start()
    finally:
        end.set()
        for client in clients:
            client.join()
    outcomes = sum((client.outcomes for client in clients), Counter[str]())
    assert outcomes["ended"] <= KILLS
    assert outcomes.keys() <= {"answered", "ended"}
    assert len(manager.kept) == 2
