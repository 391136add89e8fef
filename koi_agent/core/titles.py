"""The titles of announced records, and the names in them."""

import re
from typing import Final

DOMAIN: Final = ".local"
_SERVICE: Final = re.compile(r"(.+)\._[a-z0-9-]+\._(?:tcp|udp)\.local")
_ROUTE: Final = re.compile(r"https://([^/:]+)(?::[0-9]+)?")


def names_of(title: str) -> tuple[str, ...]:
    """Return the names by which a record is called: its title, and the title's first part.

    A route has the host name in its URL besides.
    """
    service, route = _SERVICE.fullmatch(title), _ROUTE.fullmatch(title)
    first = service[1] if service else title.removesuffix(DOMAIN)
    return (title, first, route[1]) if route else (title, first)


def is_route(title: str) -> bool:
    """Return True for the title of a route, a URL."""
    return bool(_ROUTE.fullmatch(title))
