"""Parallel HTTP clients on a socket, in a machine: python3 clients.py SOCKET NUMBER.

They ask without a pause until stdin ends, every other one on a new connection for each
request, and then say in JSON how they fared. No library: it runs on any Python.
"""

import http.client
import json
import socket
import sys
import threading
from typing import Any

PAGE = "/v1/runtime/status"
PATIENCE = 20.0
"""Seconds until an answer is overdue."""


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


def ask(connection: Connection) -> str:
    """Send a request; return what is wrong with the response."""
    try:
        connection.request("GET", PAGE)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return repr(error)
    if answer.status != http.client.OK:
        return f"{answer.status}: {body!r}"
    return "" if json.loads(body)["instance_count"] else f"no data: {body!r}"


def main() -> None:
    path, number = sys.argv[1], int(sys.argv[2])
    over = threading.Event()
    results: list[dict[str, Any]] = []

    def be_client(*, keeps: bool) -> None:
        wrong, answered = [], 0
        connection = Connection(path)
        while not over.is_set():
            if said := ask(connection):
                wrong.append(said)
            else:
                answered += 1
            if not keeps:
                connection.close()
        connection.close()
        results.append({"failed": wrong, "answered": answered})

    threads = [
        threading.Thread(target=be_client, kwargs={"keeps": bool(index % 2)})
        for index in range(number)
    ]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    failed = [wrong for result in results for wrong in result["failed"]]
    answered = sum(result["answered"] for result in results)
    sys.stdout.write(
        json.dumps({"clients": len(results), "answered": answered, "failed": failed[:20]})
    )


if __name__ == "__main__":
    main()
