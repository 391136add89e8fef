"""Requests a page of the agent's HTTP API: what is too large for one message of the bus."""

import json
import os
import socket
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

from koi_agent.cli.client import NoAnswer, advice
from koi_agent.core.text import printable
from koi_agent.host.sockets import http_path

TIMEOUT: Final = 25.0
"""Seconds that the agent may take, as for a call over D-Bus."""


def records(scope: str, page: str) -> list[dict[str, Any]]:
    """Return the objects of a page that is a JSON array; raise ``NoAnswer``."""
    path = http_path(scope, os.environ)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(str(path))
            client = HTTPConnection("localhost")
            client.sock = connection
            client.request("GET", page)
            response = client.getresponse()
            body = response.read()
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise NoAnswer(f"{path}: {printable(reason)}; {advice(scope)}") from error
    if response.status != 200:
        raise NoAnswer(f"{path}: response {response.status} to {page}; {advice(scope)}")
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise NoAnswer(f"{path}: the response to {page} is not an array; {advice(scope)}")
    return [one for one in found if isinstance(one, dict)]
