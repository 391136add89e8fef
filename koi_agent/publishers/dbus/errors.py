"""Why the agent does not get its name on the bus."""

from koi_agent.core.errors import KoiError


class NameTaken(KoiError):
    """Another process owns the agent's name on the bus."""


class NameRefused(KoiError):
    """The policy of the bus forbids the agent to own its name."""
