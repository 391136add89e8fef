"""The titles of announced records, and the names in them."""

import re
from typing import Final

DOMAIN: Final = ".local"
_SERVICE: Final = re.compile(r"(.+)\._[a-z0-9-]+\._(?:tcp|udp)\.local")


def names_of(title: str) -> tuple[str, ...]:
    """Return the names by which a record is called: its title, and the title's first part."""
    service = _SERVICE.fullmatch(title)
    first = service[1] if service else title.removesuffix(DOMAIN)
    return title, first
