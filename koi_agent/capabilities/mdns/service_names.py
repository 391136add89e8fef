"""DNS-SD service names: which are accepted, and how equal ones are numbered."""

import re
from typing import Final

from koi_agent.core.errors import BadInput
from koi_agent.core.metadata import names

_NUMBERS: Final = re.compile("(?: #[0-9]+)+$")
_FORBIDDEN: Final = frozenset(".\"'")
"""Characters that clients of mDNS show and escape in different ways."""


def accepted(name: str) -> str:
    """Return a name as it is announced; raise ``BadInput`` if a service can't have it."""
    checked = names.instance_name(name)
    if marks := "".join(sorted(_FORBIDDEN & set(checked))):
        raise BadInput(f"{names.shown(name)} can't name a service: it contains {marks}")
    return checked


def numbered(name: str, number: int) -> str:
    """Return a name with its number, as Avahi writes it: ``web``, ``web #2``."""
    return f"{name} #{number}" if number > 1 else name


def unnumbered(name: str) -> str:
    """Return a name without numbers at its end."""
    return _NUMBERS.sub("", name)
