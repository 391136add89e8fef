"""Checks that need no bus: the configuration, and the HTTP socket."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from koi_agent.cli.doctor.findings import Case, Finding, doubtful, fine, wrong
from koi_agent.config import Flags, load
from koi_agent.core.errors import ConfigError
from koi_agent.host.sockets import http_path

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
LONGEST_LINE = 1024
"""Bytes of an answer's first line; HTTP's own fits into thirty."""
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})\b[^\r\n]*")


async def configuration(case: Case) -> Sequence[Finding]:
    """See whether an agent that starts now could read its configuration."""
    try:
        loaded = load(Flags(scope=case.scope), case.environment)
    except ConfigError as error:
        advice = f"mend it, then {case.systemctl} reload-or-restart koi-runtime"
        return [wrong(str(error), advice)]
    files = ", ".join(loaded.files)
    read = fine(f"read from {files}" if files else "no file: all is as built in")
    return [read, *(doubtful(warning) for warning in loaded.warnings)]


async def http(case: Case) -> Sequence[Finding]:
    """See whether HTTP is served; only a running agent is asked, as asking would start one."""
    path = http_path(case.scope, case.environment)
    if not await asyncio.to_thread(path.is_socket):
        # The socket of a service that runs can't be opened alone.
        verb = "restart koi-runtime" if case.served else "enable --now koi-runtime.socket"
        return [doubtful(f"there is no socket {path}", f"{case.systemctl} {verb}")]
    if not case.served:
        return [fine(f"{path} is there; not asked, as that would start the agent")]
    return [await _answer(path, case)]


async def _answer(path: Path, case: Case) -> Finding:
    """Ask for /healthz; raises ``OSError`` where nobody listens."""
    reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST_LINE)
    try:
        writer.write(REQUEST)
        line = await reader.readline()
    except ValueError:  # the stream's word for a line over its limit
        line = b""
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    status = STATUS_LINE.match(line)
    if not status:
        return wrong(f"{path} does not answer as HTTP does", case.journal)
    if status[1] != b"200":
        said = status[0].decode("ascii", "backslashreplace")
        return wrong(f"{path} answers '{said}' to /healthz", case.journal)
    return fine(f"{path} answers")
