"""``koi-runtime-gate UPSTREAM``: the gate of one upstream, on the socket that systemd passes."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from koi_agent.core.errors import ConfigError
from koi_agent.host.caddy.sockets import ADMIN_SOCKET, CADDY
from koi_agent.host.engines import SOCKETS
from koi_agent.host.incus import SERVERS
from koi_agent.host.logs import LogOutput
from koi_agent.host.sockets import STREAMS, passed
from koi_agent.services.gate.profiles import profile
from koi_agent.services.gate.server import Server
from koi_agent.services.gate.upstream import Upstream

log = logging.getLogger(__name__)

UPSTREAMS: Final = {
    **{name: (path,) for name, path in SOCKETS.items()},
    **SERVERS,
    CADDY: (ADMIN_SOCKET,),
}
"""The usual sockets of each upstream."""
USAGE: Final = f"""\
usage: koi-runtime-gate UPSTREAM [SOCKET]

Let koi-runtime read the containers of an engine, or change its own objects of Caddy, and nothing
else. UPSTREAM is {", ".join(UPSTREAMS)}. SOCKET is its socket, if it is not the usual one.
The socket to serve on comes from systemd: koi-runtime-gate@UPSTREAM.socket.
"""


async def _serve(name: str, path: str) -> None:
    listening = passed(os.environ, {"gate": STREAMS}).get("gate", [])
    if len(listening) != 1:
        raise ConfigError("no socket from systemd; start koi-runtime-gate@UPSTREAM.socket instead")
    if running := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    log.info("upstream: %s", path)
    await Server(profile(name), Upstream(path)).run(listening[0])


def _usual_socket(name: str) -> str:
    """Return the usual socket of an upstream that exists, otherwise the first one, or ""."""
    paths = UPSTREAMS.get(name, ("",))
    return next((path for path in paths if os.path.lexists(path)), paths[0])


def execute(argv: Sequence[str]) -> int:
    """Serve until SIGTERM; return the exit code."""
    name, *paths = argv or [""]
    path = paths[0] if len(paths) == 1 else _usual_socket(name)
    if name not in UPSTREAMS or len(paths) > 1 or not PurePosixPath(path).is_absolute():
        sys.stderr.write(USAGE)
        return 2
    with LogOutput(logging.INFO, "auto", os.environ):
        try:
            asyncio.run(_serve(name, path))
        except asyncio.CancelledError:
            log.info("stopped")
        except ConfigError as error:
            log.error("%s", error)  # noqa: TRY400 - the administrator's, not a bug
            return os.EX_CONFIG
    return 0


def main() -> None:
    sys.exit(execute(sys.argv[1:]))


if __name__ == "__main__":
    main()
