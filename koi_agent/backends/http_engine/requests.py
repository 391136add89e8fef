"""The requests to an engine, in the one form that its gate accepts."""


def request_head(target: str) -> bytes:
    """Return the request for a path with its query."""
    return f"GET {target} HTTP/1.1\r\nHost: engine\r\nAccept: application/json\r\n\r\n".encode()
