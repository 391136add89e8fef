"""The gate of Caddy as a process of its own, with a configuration of the administrator."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from koi_agent.config.proxy import AdminAddress
from tests.namespaces import CHECKOUT
from tests.real.caddy_server import Caddy

# The process sees the folder of the test as /run/koi-runtime, where configuration files may be.
START: Final = """\
set -e
mount --make-rprivate /
mount -t tmpfs none /run
mkdir /run/koi-runtime
mount --bind "$1" /run/koi-runtime
exec 3<&"$2"
LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=gate exec "$3" -m koi_agent.services.gate caddy "$4"
"""


class Gate:
    """A gate; ``address`` is that of its socket."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process
        self.address = AdminAddress(path=f"{folder}/gate.sock")

    def allow(self, ports: Iterable[int]) -> None:
        """Write the configuration of the administrator."""
        text = f"[Proxy]\nCaddy=/run/caddy/admin.sock\nPorts={' '.join(map(str, ports))}\n"
        file = self.folder / "koi-runtime.conf"
        file.with_suffix(".new").write_text(text)
        file.with_suffix(".new").replace(file)

    def send(self, data: bytes) -> bytes:
        """Send bytes, and return everything that comes back."""
        with socket.socket(socket.AF_UNIX) as sender:
            sender.settimeout(60)
            sender.connect(self.address.path)
            sender.sendall(data)
            return b"".join(iter(lambda: sender.recv(65536), b""))


@contextmanager
def gate(folder: Path, proxy: Caddy, ports: Iterable[int]) -> Iterator[Gate]:
    """Run a gate before a Caddy while the block runs."""
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/gate.sock")
        listener.listen(16)
        number = str(listener.fileno())
        words = ("gate", str(folder), number, sys.executable, proxy.address.path)
        command = ("unshare", "--mount", "bash", "-c", START, *words)
        with subprocess.Popen(
            command,
            pass_fds=[listener.fileno()],
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        ) as process:
            running = Gate(folder, process)
            running.allow(ports)
            try:
                yield running
            finally:
                process.terminate()
    assert process.returncode == 0
