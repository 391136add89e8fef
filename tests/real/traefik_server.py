"""A real Traefik with a provider of routes; ``TRAEFIK`` names its program."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.conftest import require
from tests.ports import free_port

PROGRAM: Final = os.environ.get("TRAEFIK", "traefik")


class Traefik:
    """A Traefik that serves TLS on two ports, and its own state on another one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.https, self.other, self.admin = free_port(), free_port(), free_port()

    def settings(self, providers: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the static configuration; entry points have the names of the manual."""

        def entry(port: int) -> Mapping[str, Any]:
            return {"address": f"127.0.0.1:{port}"}

        return {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "entryPoints": {
                "websecure": entry(self.https),
                "websecure-8443": entry(self.other),
                "traefik": entry(self.admin),
            },
            "api": {"insecure": True, "dashboard": False},
            "providers": providers,
            "log": {"level": "DEBUG", "format": "json"},
        }

    @property
    def log(self) -> str:
        return (self.folder / "traefik.log").read_text()

    def errors(self) -> list[str]:
        """Return what Traefik found wrong, by its log."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [str(one) for one in lines if one["level"] in ("error", "fatal")]

    def routers(self) -> Mapping[str, str]:
        """Return the status of each router of the agent, by its rule."""
        with socket.create_connection(("127.0.0.1", self.admin), timeout=10) as sender:
            sender.sendall(b"GET /api/http/routers HTTP/1.0\r\nHost: localhost\r\n\r\n")
            received = b"".join(iter(lambda: sender.recv(65536), b""))
        if b" 200 " not in received.split(b"\r\n")[0]:  # its API has no route yet
            return {}
        found = json.loads(received.partition(b"\r\n\r\n")[2])
        return {one["rule"]: one["status"] for one in found if one["name"].startswith("koi-")}

    def get(self, host: str, port: int) -> str:
        """Request a page over TLS; return its body, or the status line of an error."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            secured.sendall(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            received = b"".join(iter(lambda: secured.recv(65536), b""))
        head, _, body = received.partition(b"\r\n\r\n")
        return body.decode() if b" 200 " in head.split(b"\r\n")[0] else head.decode()


@contextmanager
def traefik(folder: Path, providers: Mapping[str, Any]) -> Iterator[Traefik]:
    """Run Traefik while the block runs."""
    if not shutil.which(PROGRAM):
        require("traefik", f"{PROGRAM} is not installed")
    folder.mkdir(exist_ok=True)
    running = Traefik(folder)
    file = folder / "traefik.yml"
    file.write_text(json.dumps(running.settings(providers)))
    with (folder / "traefik.log").open("w") as log:
        process = subprocess.Popen(
            [PROGRAM, f"--configFile={file}"], stdout=log, stderr=log, cwd=folder
        )
        try:
            _await_ports(process, running)
            yield running
        finally:
            process.kill()
            process.wait(60)


def _await_ports(process: subprocess.Popen[bytes], running: Traefik) -> None:
    """Wait until all entry points are open."""
    end = time.monotonic() + 60
    for port in (running.https, running.other, running.admin):
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=10).close()
            except ConnectionRefusedError:
                assert process.poll() is None, running.log
                assert time.monotonic() < end, running.log
                time.sleep(0.05)
            else:
                break
