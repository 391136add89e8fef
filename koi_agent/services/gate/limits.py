"""Bounds on the times and the memory of the gate."""

from typing import Final

from koi_agent.core.frozen import frozen

MAX_HEAD: Final = 16 * 1024
"""Maximum size of the head of a request or a response, in bytes."""
PIECE: Final = 256 * 1024
"""Bytes read or written at a time."""


@frozen(kw_only=True)
class Limits:
    """Times in seconds, sizes in bytes."""

    head: float = 5.0
    """Time from the first byte of a request's head to its last."""
    body: float = 30.0
    """Time of a request's body."""
    idle: float = 60.0
    """Time a connection may stay open without a request."""
    write: float = 30.0
    """Time the client may take to read a piece of a response."""
    response: float = 120.0
    """Time from a request to the end of its response, except for events."""
    connections: int = 48
    """Clients served at a time. The agent has at most sixteen requests and an event stream."""
    whole_responses: int = 4
    """Responses held whole at a time: each may have several megabytes."""
    accept_retry: float = 1.0
    """Time until a connection is accepted again after the kernel could not."""
    refusals: int = 10
    """Refused requests that are logged in one interval; the others are only counted."""
    refusal_interval: float = 60.0
    """Time of such an interval, from the first refusal in it."""
    watch: float = 900.0
    """Time that a connection is kept until Caddy ends it. The agent ends it earlier."""
    engine: float = 60.0
    """Time until a response from upstream begins.

    A list of thousands of containers takes a while.
    """
    engine_pause: float = 15.0
    """Time the upstream may pause within a response, except for events."""
    record: int = 16 * 2**20
    """Size of a response held whole, of one element of a list, and of an event."""
