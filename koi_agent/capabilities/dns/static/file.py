"""The file of static records, which systemd-resolved checks for changes."""

from typing import Final

from koi_agent.capabilities.dns.names_file import Format
from koi_agent.capabilities.dns.static.items import NO_NAMES

PERIOD: Final = 2.0
"""Seconds between two writes. systemd-resolved checks the file as often."""
STATIC: Final = Format(
    outlet="static",
    empty=NO_NAMES,
    pause=lambda _took: PERIOD,
    waiting=f"it is written within {PERIOD:g} s",
    withdrawal="write [] into the file",
)
