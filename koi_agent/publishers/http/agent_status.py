"""The state of the whole agent, as the HTTP pages show it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from koi_agent.core.checks import CheckStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """State and counters of the agent.

    ``state`` is starting, running, degraded, reloading or stopping. ``waiting`` and ``dropped``
    count events by sink: events not sent yet, and events that were discarded. ``checks`` returns
    the status of each health check; ``checked`` counts check results by outcome.
    """

    version: str
    state: str
    waiting: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    checks: Callable[[], Iterable[CheckStatus]] = tuple
    checked: Mapping[str, int] = field(default_factory=dict)
