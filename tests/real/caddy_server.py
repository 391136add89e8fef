"""A real Caddy in a scratch folder, with a configuration of its own that must stay as it is.

The environment variable ``CADDY`` names another program than Debian's.
"""

import asyncio
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from koi_agent.config.proxy import AdminAddress
from tests.conftest import require
from tests.ports import free_port

PROGRAM: Final = os.environ.get("CADDY", "caddy")
Spawn = Callable[..., subprocess.Popen[Any]]
CADDYFILE: Final = """\
{{
	admin {admin}
	storage file_system {storage}
	skip_install_trust
	auto_https disable_redirects
}}
http://127.0.0.1:{port} {{
	respond "of others"
}}
https://others.internal:{tls} {{
	tls internal
	respond "of others, with TLS"
}}
"""


class AdminConnection(http.client.HTTPConnection):
    """A connection to the admin API; on a socket its Host field is empty, as Caddy wants it."""

    def __init__(self, address: AdminAddress) -> None:
        super().__init__(address.host, address.port or None, timeout=30)
        self._path = address.path

    def connect(self) -> None:
        if not self._path:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


def on_host(*argv: str, **popen: Any) -> subprocess.Popen[Any]:
    """Start a program on this host."""
    return subprocess.Popen(argv, **popen)


class Caddy:
    """A Caddy that can be started, reloaded and killed any number of times.

    ``spawn`` starts its process, on this host or in a world.
    """

    def __init__(
        self, folder: Path, address: AdminAddress | None = None, spawn: Spawn = on_host
    ) -> None:
        self.folder = folder
        self._spawn = spawn
        self.address = address or AdminAddress(path=f"{folder}/admin.sock")
        self.storage = folder / "storage"
        self.file = folder / "Caddyfile"
        self.port, self.tls = free_port(), free_port()
        self.process: subprocess.Popen[Any] | None = None
        self.file.write_text(
            CADDYFILE.format(admin=self.admin, storage=self.storage, port=self.port, tls=self.tls)
        )

    @property
    def admin(self) -> str:
        """The address of the admin API as Caddy spells it."""
        return f"unix/{self.address.path}" if self.address.path else str(self.address)

    @property
    def environment(self) -> dict[str, str]:
        home = str(self.folder)
        return {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_DATA_HOME": home}

    def start(self, *arguments: str) -> None:
        """Start with the Caddyfile, or with other arguments of ``caddy run``."""
        chosen = arguments or ("--config", str(self.file), "--adapter", "caddyfile")
        with (self.folder / "caddy.log").open("ab") as log:
            self.process = self._spawn(
                PROGRAM, "run", *chosen, stdout=log, stderr=log, env=self.environment
            )
        self._until_it_answers()

    def _until_it_answers(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self.ask("GET", "/config/")
            except OSError:
                assert time.monotonic() < deadline, (self.folder / "caddy.log").read_text()
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """Kill the process, and wait until it is gone."""
        if self.process:
            self.process.kill()
            self.process.wait(60)
            self.process = None

    def reload(self) -> None:
        """Load the Caddyfile again, as an administrator does."""
        subprocess.run(
            [
                *(PROGRAM, "reload", "--config", str(self.file), "--adapter", "caddyfile"),
                *("--address", self.admin),
            ],
            check=True,
            capture_output=True,
            env=self.environment,
        )

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request to the admin API, and return the status and the body."""
        connection = AdminConnection(self.address)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read() or "null")
        finally:
            connection.close()

    def config(self) -> Any:
        """Return the configuration. While Caddy applies a change, it may not answer."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.ask("GET", "/config/")[1]
            except (OSError, http.client.HTTPException):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def get(self, host: str, port: int) -> str:
        """Request a page over TLS, with a certificate that Caddy's own authority has issued."""
        root = self.storage / "pki/authorities/local/root.crt"
        context = ssl.create_default_context(cafile=str(root))
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            secured.sendall(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            received = b"".join(iter(lambda: secured.recv(65536), b""))
        head, _, body = received.partition(b"\r\n\r\n")
        return body.decode() if b" 200 " in head.split(b"\r\n")[0] else head.decode()


@contextmanager
def caddy(
    folder: Path, address: AdminAddress | None = None, spawn: Spawn = on_host
) -> Iterator[Caddy]:
    """Run Caddy while the block runs."""
    if not shutil.which(PROGRAM):
        require("caddy", f"{PROGRAM} is not installed")
    folder.mkdir(exist_ok=True)
    running = Caddy(folder, address, spawn)
    try:
        running.start()
        yield running
    finally:
        running.kill()


@asynccontextmanager
async def page(text: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve a page over HTTP, or with TLS, while the block runs; yield the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
            writer.write((head + text).encode())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
