"""Sessions for client libraries of an engine, with a bound on what is held of a response."""

from typing import Final

from koi_agent.backends.http_engine.streams import MAX_BODY
from koi_agent.host.http_client import LibrarySession, library_session

URL: Final = "http://engine"
"""The host of all requests. Over a Unix socket, its name has no meaning."""


def session(path: str) -> LibrarySession:
    """Return a session with the engine on the socket at a path, for requests of ``URL``."""
    return library_session(path, MAX_BODY)
