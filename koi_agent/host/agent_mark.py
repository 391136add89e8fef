"""The mark of this agent on files and on records of other programs, which outlive it."""

import hmac
import os
import re
from pathlib import Path
from typing import Final

from koi_agent.core.errors import ProviderLost

MACHINE_ID: Final = Path("/etc/machine-id")
_APPLICATION: Final = bytes.fromhex("6f0f3a0c5c7d4b6c9d0c8f2b7e51a4d3")
"""The identifier of koi-runtime (sd_id128_get_machine_app_specific(3))."""
_DIGITS: Final = 16
_IDENTIFIER: Final = re.compile("[0-9a-f]{32}")


def agent_mark(scope: str, machine_id: Path = MACHINE_ID) -> str:
    """Return hexadecimal digits that distinguish this agent from those of other users and hosts.

    ``scope`` is ``system`` or ``user``. The identifier of the machine must not be published, so it
    is the key of the digest. Raises ``OSError`` or ``ValueError`` if the machine has none.
    """
    text = machine_id.read_text("ascii").strip()
    if not _IDENTIFIER.fullmatch(text):
        raise ValueError(f"{machine_id.name} is not an identifier")
    key = bytes.fromhex(text)
    who = _APPLICATION + (f"user {os.getuid()}" if scope == "user" else scope).encode()
    return hmac.digest(key, who, "sha256").hex()[:_DIGITS]


def own_mark(scope: str) -> str:
    """Return the mark of this agent; raise ``ProviderLost`` if the host has no identifier."""
    try:
        return agent_mark(scope)
    except (OSError, ValueError) as error:
        raise ProviderLost(f"{MACHINE_ID}: {error}; use systemd-machine-id-setup(1)") from error
