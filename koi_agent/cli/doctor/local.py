"""Checks of the configuration and of the HTTP socket, which need no bus."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from koi_agent.cli.doctor.findings import Case, Finding, failure, ok, warning
from koi_agent.config import Flags, load
from koi_agent.core.errors import ConfigError
from koi_agent.host.sockets import http_path

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
LONGEST_LINE = 1024
"""Bytes of the first line of a response; the agent's has less than thirty."""
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})\b[^\r\n]*")


async def configuration(case: Case) -> Sequence[Finding]:
    """Check that the configuration can be loaded."""
    try:
        loaded = load(Flags(scope=case.scope), case.environment)
    except ConfigError as error:
        advice = f"correct it, then run {case.systemctl} reload-or-restart koi-runtime"
        return [failure(str(error), advice)]
    files = ", ".join(loaded.files)
    text = f"read from {files}" if files else "no configuration file; all settings are defaults"
    return [ok(text), *(warning(one) for one in loaded.warnings)]


async def http(case: Case) -> Sequence[Finding]:
    """Check that HTTP is served; a request is sent only to a running agent, not to start one."""
    path = http_path(case.scope, case.environment)
    if not await asyncio.to_thread(path.is_socket):
        # systemd cannot start the socket of a service that is active already.
        verb = "restart koi-runtime" if case.served else "enable --now koi-runtime.socket"
        return [warning(f"{path} does not exist", f"{case.systemctl} {verb}")]
    if not case.served:
        return [ok(f"{path} exists; no request was sent, because it would start the agent")]
    return [await _request(path, case)]


async def _request(path: Path, case: Case) -> Finding:
    """Request /healthz; raise ``OSError`` if the socket cannot be connected to."""
    reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST_LINE)
    try:
        writer.write(REQUEST)
        line = await reader.readline()
    except ValueError:  # the line is longer than the limit of the stream
        line = b""
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    status = STATUS_LINE.match(line)
    if not status:
        return failure(f"{path}: the response is not HTTP", case.journal)
    if status[1] != b"200":
        text = status[0].decode("ascii", "backslashreplace")
        return failure(f"{path}: response to /healthz: '{text}'", case.journal)
    return ok(f"{path} answers")
