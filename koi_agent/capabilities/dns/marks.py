"""The marks of agents on names at a server: a TXT record beside each name has its owner."""

from typing import Final

from koi_agent.core.errors import ProviderLost
from koi_agent.host.agent_mark import MACHINE_ID, agent_mark

MARKED: Final = "koi-runtime "
"""The text of a mark begins with it; the mark of the agent follows."""


def own_mark(scope: str) -> str:
    """Return the mark of this agent; raise ``ProviderLost`` if the host has no identifier."""
    try:
        return agent_mark(scope)
    except (OSError, ValueError) as error:
        raise ProviderLost(f"{MACHINE_ID}: {error}; use systemd-machine-id-setup(1)") from error


def mark_name(name: str) -> str:
    """Return the name of the TXT record that marks a name."""
    return f"_koi.{name}"


def mark_text(mark: str) -> str:
    """Return the text of a mark: the same length for each owner."""
    return f"{MARKED}{mark}"
