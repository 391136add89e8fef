"""Times and limits of the backend that no setting changes."""

from koi_agent.core.frozen import frozen


@frozen(kw_only=True)
class Tunables:
    """Times in seconds, and numbers of things."""

    plugin: float = 20.0
    """Time for the plugin of a kubeconfig file to end."""
    response: float = 10.0
    """Time for a response of one object, and for a page of a list."""
    watch: float = 30.0
    """Time after which the server ends a watch at the latest: a silent one is noticed soon after.

    Proxies cut connections that are idle, many of them after 35 s.
    """
    watch_grace: float = 15.0
    """Time beyond ``watch`` after which a watch counts as lost."""
    settled: float = 10.0
    """Time after which a watch that is interrupted does not count as a failure."""
    listing: float = 50.0
    """Time for a whole list."""
    page: int = 100
    """Objects in a page of a list, which is decoded at once: about 10 ms."""
    list_delay: float = 0.2
    """Time from a doubt to the list, so that all doubts of a burst share one list."""
    streaming: float = 20.0
    """Time for a list at the beginning of a watch; after it, the list is read in pages."""
    retry_after: float = 1.0
    """Time until a request is sent again to a busy server, unless the server names a longer one.

    The time doubles with each attempt.
    """
    longest_retry: float = 10.0
    """Longest time until a request is sent again."""
    tries: int = 4
    """Maximum number of times that a request is sent to a busy server."""
    watch_tries: int = 10
    """Maximum number of attempts to watch a busy server, for which a list is more work."""
