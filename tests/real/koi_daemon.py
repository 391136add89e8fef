"""A real Koi daemon in a world. ``KOI_DAEMON`` is the path of its program.

It is found where ``cargo install koi-net`` put it; its build takes too long for each run.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.conftest import require
from tests.namespaces import wait_until
from tests.unit.fake_koi_wire import MEDIA_TYPE, Answer
from tests.world import World

PROGRAM: Final = os.environ.get("KOI_DAEMON", "")
BREADCRUMB: Final = "/run/user/0/koi.endpoint"
"""The breadcrumb, in the world."""
OPTIONS: Final = ("--daemon", "--no-runtime", "--no-udp")
CLIENT: Final = """\
import json, sys, urllib.error, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for line in sys.stdin:
    method, url, fields, body = json.loads(line)
    data = body.encode("latin-1") if body else None
    request = urllib.request.Request(url, data, fields, method=method)
    try:
        with opener.open(request, timeout=60) as response:
            found = response.status, response.headers.get("content-type", ""), response.read()
    except urllib.error.HTTPError as error:
        found = error.code, error.headers.get("content-type", ""), error.read()
    except OSError:
        found = 0, "", b""
    print(json.dumps([*found[:2], found[2].decode("latin-1")]), flush=True)
"""
"""Sends requests in the world, one a line. Each has a response; a status of 0 is a failure."""


class RealKoi:
    """A daemon that starts, is stopped and is killed any number of times, with its data kept."""

    def __init__(self, world: World, folder: Path, client: subprocess.Popen[str]) -> None:
        self._world = world
        self._client = client
        self._log = folder / "koi.log"
        self._data = folder / "koi-data"
        self._process: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> None:
        """Start with another token, and wait until it answers."""
        before = self.breadcrumb
        with self._log.open("a") as log:
            self._process = self._world.spawn(
                *(PROGRAM, *OPTIONS, *options),
                env={"KOI_DATA_DIR": str(self._data)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: self.breadcrumb not in ("", before), self._log.read_text, timeout=60)
        wait_until(self._answers, self._log.read_text, timeout=60)

    def _answers(self) -> bool:
        return self.call("GET", "/healthz").status == 200

    @property
    def breadcrumb(self) -> str:
        """The content of the breadcrumb, "" without one."""
        file = Path(f"/proc/{self._world.pid}/root{BREADCRUMB}")
        return file.read_text() if file.exists() else ""

    @property
    def endpoint(self) -> str:
        return self.breadcrumb.split("\n")[0]

    @property
    def token(self) -> str:
        return self.breadcrumb.split("\n")[1].removeprefix("dat:")

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the daemon: SIGINT stops it; SIGKILL and SIGTERM kill it."""
        if self._process:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    def restart(self) -> None:
        """Kill it, and start it again."""
        self.end()
        self.start()

    def call(self, method: str, path: str, body: object = None) -> Answer:
        """Send a request with the token."""
        fields = {"x-koi-token": self.token, "content-type": MEDIA_TYPE}
        return self.send(method, path, fields, json.dumps(body).encode() if body else b"")

    def send(self, method: str, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        """Send a request with other fields."""
        assert self._client.stdin
        assert self._client.stdout
        request = method, f"{self.endpoint}{path}", fields, body.decode("latin-1")
        self._client.stdin.write(f"{json.dumps(request)}\n")
        self._client.stdin.flush()
        status, kind, text = json.loads(self._client.stdout.readline())
        return Answer(status, text.encode("latin-1"), kind)

    def get(self, path: str) -> Any:
        return self.call("GET", path).json()


@contextmanager
def koi_daemon(world: World, folder: Path) -> Iterator[RealKoi]:
    """Yield a daemon that does not run yet; it ends with the block."""
    if not Path(PROGRAM or "/nonexistent").is_file():
        require("koi", "KOI_DAEMON is not the path of a Koi daemon")
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    client = world.spawn(sys.executable, "-c", CLIENT, **pipes)
    daemon = RealKoi(world, folder, client)
    try:
        yield daemon
    finally:
        daemon.end()
        client.communicate()
        Path(f"/proc/{world.pid}/root{BREADCRUMB}").unlink(missing_ok=True)
