"""The bounds of requests to an engine."""

from koi_agent.core.frozen import frozen


@frozen(kw_only=True)
class RequestLimits:
    """Bounds of each request: times in seconds, sizes in bytes.

    ``response`` is for a whole response, ``array`` for a long list, ``stream`` until a stream
    begins. ``max_array`` bounds a long list, ``max_line`` a line of a stream.
    """

    response: float = 10.0
    array: float = 50.0
    stream: float = 30.0
    max_array: int = 512 * 2**20
    max_line: int = 4 * 2**20
