"""The names of the programs that publish records, on the system bus."""

from typing import Final

from koi_agent.host.resolver import RESOLVED

AVAHI: Final = "org.freedesktop.Avahi"
RESOLVED_MANAGER: Final = (RESOLVED, "/org/freedesktop/resolve1", f"{RESOLVED}.Manager")
