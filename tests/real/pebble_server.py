"""A real ACME server, Pebble, that issues certificates for the names of a Caddy on this host.

The environment variable ``PEBBLE`` names its program.
"""

import json
import os
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.conftest import require
from tests.namespaces import wait_until
from tests.ports import free_port
from tests.unit.certificates import authority

PROGRAM: Final = os.environ.get("PEBBLE", "pebble")
# The process sees a file of the test as /etc/hosts, where the names are those of this host.
START: Final = """\
set -e
mount --make-rprivate /
mount --bind "$1" /etc/hosts
exec "$2" -config "$3"
"""


class Pebble:
    """An ACME server that checks names at two ports of this host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.http, self.tls = free_port(), free_port()
        self._port, self._management = free_port(), free_port()
        self._client, _ = authority(folder, "127.0.0.1")

    @property
    def directory(self) -> str:
        """The URL of its directory."""
        return f"https://127.0.0.1:{self._port}/dir"

    @property
    def trusted(self) -> Path:
        """The file with the certificate of its own URL."""
        return self.folder / "certificate.pem"

    @property
    def log(self) -> str:
        return (self.folder / "pebble.log").read_text()

    def settings(self) -> str:
        """Return its configuration."""
        found = {
            "listenAddress": f"127.0.0.1:{self._port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(self.trusted),
            "privateKey": str(self.folder / "key.pem"),
            "httpPort": self.http,
            "tlsPort": self.tls,
        }
        return json.dumps({"pebble": found})

    def root(self) -> str:
        """Return the root certificate of the authority; raise ``OSError``."""
        url = f"https://127.0.0.1:{self._management}/roots/0"
        with urllib.request.urlopen(url, timeout=10, context=self._client) as response:
            return str(response.read().decode())

    def is_up(self) -> bool:
        try:
            return bool(self.root())
        except OSError:
            return False

    def context(self) -> ssl.SSLContext:
        """Return the context of a client that trusts this authority only."""
        return ssl.create_default_context(cadata=self.root())


@contextmanager
def pebble(folder: Path, names: Sequence[str]) -> Iterator[Pebble]:
    """Run an ACME server while the block runs; ``names`` are names of this host for it."""
    if not shutil.which(PROGRAM):
        require("pebble", f"{PROGRAM} is not installed")
    folder.mkdir()
    running = Pebble(folder)
    (folder / "hosts").write_text(f"127.0.0.1 localhost {' '.join(names)}\n")
    (folder / "pebble.json").write_text(running.settings())
    words = ("pebble", str(folder / "hosts"), PROGRAM, str(folder / "pebble.json"))
    with (folder / "pebble.log").open("w") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "bash", "-c", START, *words],
            stdout=log,
            stderr=log,
            env={**os.environ, "PEBBLE_VA_NOSLEEP": "1"},
        )
        try:
            wait_until(running.is_up, lambda: running.log, timeout=60)
            yield running
        finally:
            process.kill()
            process.wait(60)
