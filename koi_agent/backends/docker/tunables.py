"""Times and limits of a Docker backend that no setting changes."""

from dataclasses import field

from koi_agent.backends.http_engine.limits import RequestLimits
from koi_agent.core.frozen import frozen


@frozen(kw_only=True)
class Tunables:
    """Times in seconds, and numbers of things."""

    requests: RequestLimits = field(default_factory=RequestLimits)
    inspect_workers: int = 8
    """Containers inspected at the same time."""
    inspect_retry: float = 5.0
    """Time until a container that could not be inspected is inspected again."""
    max_pending_events: int = 20_000
    """Event lines that may wait to be applied. If there are more, a list replaces them all."""
    list_delay: float = 0.2
    """Time from a doubt to the list, so that all doubts of a burst share one list."""
    list_lag: float = 1.0
    """How far a list may lag behind the engine's own events. Docker's does by up to 50 ms."""
    short_stream: float = 1.0
    """Age below which an event stream that ends is not opened again at once."""
    first_poll: float = 0.1
    longest_poll: float = 5.0
    """Pauses between lists of an engine without events: doubling from the first to the longest."""
    end_check: float = 0.1
    """Time from a Podman container's end to its inspection: it is restarted after a few ms."""
    restart_check: float = 10.0
    """Time after which a container that the engine announced to restart is inspected."""
    empty_check: float = 2.0
    """Time that an engine has to report the end of a container whose control group is empty."""
    stop_notice: float = 0.1
    """Time for which a container must survive its stop signal until it is published as stopping."""
    stop_check: float = 15.0
    """Time after which a container that survives its stop signal is inspected."""
