"""The Engine API by plain HTTP, as a docker command for each call would be too slow."""

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
    """The daemon refused a request."""


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

        Raises EngineFailed if the daemon refuses, and OSError if there is no daemon.
        """
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": TAR if isinstance(body, bytes) else JSON}
        with closing(Connection(self._path, timeout=timeout)) as connection:
            connection.request(method, target, None if body is None else content, headers)
            response = connection.getresponse()
            text = response.read()
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise EngineFailed(f"{method} {target}: {response.status} {text.decode().strip()}")
        return json.loads(text) if response.getheader("Content-Type") == JSON else text.decode()

    def each(self, method: str, targets: Iterable[str], body: object = None) -> list[Any]:
        """Send a request to each target, some at a time, and return the responses."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda target: self.call(method, target, body), targets))

    def create(self, name: str, *, network: str = "none", **config: Any) -> str:
        """Create a container that runs until it is stopped, and return its id.

        ``config`` goes to the API as it is: ``Labels=``, ``Cmd=``, ``HostConfig=``.
        """
        host = {"NetworkMode": network} | config.pop("HostConfig", {})
        body = {"Image": IMAGE, "HostConfig": host} | config
        identifier: str = self.call("POST", f"/containers/create?name={quote(name)}", body)["Id"]
        return identifier
