"""The reasons of Caddy that the agent may read: those that concern its own objects.

Caddy loads its whole configuration with each change. So a reason may name files and credentials of
others.
"""

import json
import re
from typing import Any, Final

_ELSEWHERE: Final = "the reason is in the log of Caddy; see journalctl -u caddy"
_ADDRESS: Final = r"[A-Za-z0-9:.\[\]/-]{1,80}"
_SYSTEM: Final = "address already in use|permission denied|cannot assign requested address"
_KNOWN: Final = re.compile(
    rf"listen(?:ing on)? (?:tcp )?{_ADDRESS}: (?:listen tcp {_ADDRESS}: )?(?:bind: )?(?:{_SYSTEM})"
    rf"|listener address repeated: {_ADDRESS}"
    r"|cannot apply more than one automation policy to host: [a-z0-9.-]{1,253}"
    r'|unknown field "stream_close_delay"'
    r"|unknown object ID|key already exists|key does not exist|array index out of bounds"
    r"|invalid traversal path"
)


def reason(body: bytes) -> str:
    """Return the reason in a response of Caddy, or where it is."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return _ELSEWHERE
    text = found.get("error") if isinstance(found, dict) else None
    known = _KNOWN.search(text) if isinstance(text, str) else None
    return known[0] if known else _ELSEWHERE
