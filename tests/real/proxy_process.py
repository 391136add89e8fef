"""An agent's session with Caddy as a process that can be killed: proxy_process.py SOCKET."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from koi_agent.capabilities.proxy.providers import Caddy
from koi_agent.capabilities.proxy.records import Route
from koi_agent.config.proxy import AdminAddress
from tests.unit.dns_zones import complete
from tests.unit.proxy_routes import put, route


@dataclass
class Process:
    """A process with a session that wants some routes."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, path: str, routes: Sequence[Route]) -> Self:
        wanted = [(r.owner.id, r.host, r.port, r.upstream.target.port) for r in routes]
        argv = [sys.executable, "-m", __name__, path, json.dumps(wanted)]
        return cls(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))

    def until_open(self) -> None:
        """Wait until the session begins to gather what it sends."""
        assert self.process.stdout
        assert self.process.stdout.readline() == "open\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=60)


async def main(path: str, text: str) -> None:
    routes = [route(owner, host, port=port, to=to) for owner, host, port, to in json.loads(text)]
    provider = Caddy("system", AdminAddress(path=path))
    async with provider.session(lambda _key, _status: None) as session:
        await put(session, *routes)
        complete(session)
        sys.stdout.write("open\n")
        sys.stdout.flush()
        await session.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
