"""The Engine API over HTTP, for tests with many calls: a docker process for each is too slow."""

import http.client
import json
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

IMAGE: Final = "koi-busybox"
AT_ONCE: Final = 8
TAR: Final = "application/x-tar"
JSON: Final = "application/json"


class EngineFailed(Exception):
    """The daemon answered a request with an error."""


class Connection(http.client.HTTPConnection):
    """A connection over a Unix socket."""

    def __init__(self, path: Path, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the Unix socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Engine:
    """The API of one daemon; its calls may run in parallel."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def call(self, method: str, target: str, body: object = None, *, timeout: float = 60) -> Any:
        """Send a request and return the decoded response; a body of bytes is a tar archive.

        Raises EngineFailed if the daemon answers with an error, and OSError if it does not answer.
        """
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": TAR if isinstance(body, bytes) else JSON}
        with closing(Connection(self._path, timeout=timeout)) as connection:
            connection.request(method, target, None if body is None else content, headers)
            answer = connection.getresponse()
            text = answer.read()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise EngineFailed(f"{method} {target}: {answer.status} {text.decode().strip()}")
        return json.loads(text) if answer.getheader("Content-Type") == JSON else text.decode()

    def each(self, method: str, targets: Iterable[str], body: object = None) -> list[Any]:
        """Send the same request to many targets, some at a time."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda target: self.call(method, target, body), targets))

    def create(self, name: str, *, network: str = "none", **config: Any) -> str:
        """Create a container that runs until it gets SIGTERM, and return its id.

        ``config`` goes to the API unchanged: ``Labels=``, ``Cmd=``, ``HostConfig=``.
        """
        host = {"NetworkMode": network} | config.pop("HostConfig", {})
        body = {"Image": IMAGE, "HostConfig": host} | config
        identifier: str = self.call("POST", f"/containers/create?name={quote(name)}", body)["Id"]
        return identifier
