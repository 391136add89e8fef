"""The limits of the HTTP server."""

from typing import Final

from koi_agent.core.frozen import frozen


@frozen(kw_only=True)
class Limits:
    """Limits for clients; times are seconds."""

    request_timeout: float = 10.0
    """Time to send a request."""
    idle_timeout: float = 75.0
    """Time that a connection is kept between two requests."""
    write_timeout: float = 10.0
    """Time to read enough that the next part of a response can be written."""
    last_request_timeout: float = 1.0
    """Time after a response for a next request to arrive when the server stops.

    A client that keeps its connection sends the next request on it. Some clients fail if it is
    closed. A connection that has been idle for longer does not delay the stop.
    """
    stop_timeout: float = 2.0
    """Time that a stop waits for the responses to requests that arrived before."""
    accept_pause: float = 1.0
    """Time until accept() is tried again after a resource of the system was exhausted."""
    heartbeat: float = 15.0
    """Time without an event after which a stream sends a comment."""
    head_grace: float = 1.0
    """Time that a connection without a whole request keeps its place while others wait."""
    connections: int = 64
    """Connections of one client that are served; more of its connections wait."""
    waiting: int = 192
    """Connections of one client that wait; more of its connections are closed."""
    places: int = 512
    """Connections of all clients, served or waiting."""
    kept_places: int = 64
    """Of these, connections that only root and the agent's own user can have."""
    streams: int = 16
    """Open event streams of one client."""
    all_streams: int = 64
    """Open event streams of all clients."""
    kept_streams: int = 16
    """Of these, streams that only root and the agent's own user can have."""
    kept_events: int = 1024
    """Events kept for clients that reconnect or are slow."""
    unread_bytes: int = 64 * 1024
    """Bytes of requests not handled yet: one head and a few more requests."""


DEFAULTS: Final = Limits()
