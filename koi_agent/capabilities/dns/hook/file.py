"""The file that the hook reads, which is written at once after a change."""

from typing import Final

from koi_agent.capabilities.dns.hook.names import NO_NAMES
from koi_agent.capabilities.dns.names_file import Format

SHARE: Final = 10
"""A pause is this many times as long as the preceding write, which blocks the agent."""
HOOK: Final = Format(
    outlet="hook",
    empty=NO_NAMES,
    pause=lambda took: SHARE * took,
    waiting="it is written next",
    withdrawal="use systemctl stop koi-runtime-hook.socket",
)
