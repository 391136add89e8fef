"""The names of the programs that publish records, on the system bus."""

from typing import Final

AVAHI: Final = "org.freedesktop.Avahi"
RESOLVED: Final = "org.freedesktop.resolve1"
RESOLVED_MANAGER: Final = (RESOLVED, "/org/freedesktop/resolve1", f"{RESOLVED}.Manager")
