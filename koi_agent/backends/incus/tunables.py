"""Times and limits of an Incus backend that no setting changes."""

from dataclasses import field

from koi_agent.backends.http_engine.limits import RequestLimits
from koi_agent.core.frozen import frozen


@frozen(kw_only=True)
class Tunables:
    """Times in seconds, and numbers of things."""

    requests: RequestLimits = field(default_factory=RequestLimits)
    inspect_workers: int = 4
    """Instances inspected at the same time."""
    inspect_retry: float = 5.0
    """Time until an instance that could not be inspected is inspected again."""
    list_delay: float = 0.2
    """Time from a doubt to the list, so that all doubts of a burst share one list."""
    address_checks: tuple[float, ...] = (0.3, 0.7, 1.5, 3.0, 6.0, 12.0, 25.0, 50.0)
    """Times after a change at which the addresses are read again: no event reports them."""
