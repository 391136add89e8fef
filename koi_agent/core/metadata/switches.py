"""Switches that opt an instance in or out. A switch that can't be read counts as no.

An administrator who writes a switch that nothing can parse wants the instance not to be announced,
or made a mistake. Announcing it anyway could publish what should stay private.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from koi_agent.core.errors import BadInput
from koi_agent.core.metadata.values import Reader, go_boolean

ENABLE: Final = "enable"
COUNTS_AS_NO: Final = "; it counts as no"
"""End of the reason of a switch that can't be read."""
REFUSING_WORDS: Final = frozenset({"false", "no", "off", "0"})
"""Names that are a refusal rather than a name."""

_POSITIVE: Final = ("enable", "enabled")
_NEGATIVE: Final = ("disable", "disabled")
_LONGEST: Final = 12
"""Characters of the longest key that is compared: comparing a long one takes long."""
_SEPARATORS: Final = " .-_/:"
"""Characters between the words of a key, right or wrong."""
_SIMILAR: Final = 0.82
"""Share of equal letters, by difflib, from which a key is a misspelled switch."""


def split(name: str, capabilities: Iterable[str]) -> tuple[str, str]:
    """Split the name of a key, without its prefix, into capability and rest.

    The capability is one of those with a switch of their own, or "". It is found at the start,
    and after a switch: ``koi.disable.mdns`` is read as ``koi.mdns.disable``.
    """
    folded = name.lower()
    for capability in filter(None, capabilities):
        before, found, after = folded.partition(capability)
        if found and (not before or is_switch(before.strip(_SEPARATORS))):
            return capability, f"{before}{after}".strip(_SEPARATORS)
    return "", name


def opts_out(name: str, value: str, read: Reader) -> bool:
    """Return True if an unknown key is a misspelled switch whose value is not yes.

    ``name`` is the key without its prefix. ``koi.Enable=false`` and ``koi.disabled=true`` opt out.
    ``koi.Enabled=true`` has no effect: it does not opt in either. The name is empty for a key that
    is only the name of a capability: ``koi.mdns=off`` opts out, ``koi.mdns=web`` does not.
    """
    if not name:
        return value.strip().lower() in REFUSING_WORDS
    near = _nearest(name)
    if not near:
        return False
    try:
        return read(value) is not (near in _POSITIVE)
    except BadInput:
        return True


def is_switch(name: str) -> bool:
    """Return True for the name of a switch, in any case and however it is misspelled."""
    return bool(_nearest(name))


def _nearest(name: str) -> str:
    if len(name) > _LONGEST:
        return ""
    return next(iter(get_close_matches(name.lower(), (*_POSITIVE, *_NEGATIVE), 1, _SIMILAR)), "")


def go_switch(value: str) -> tuple[bool, str]:
    """Return what a switch in the syntax of Go says, and why it can't be read, or ""."""
    try:
        return go_boolean(value), ""
    except BadInput as bad:
        return False, str(bad) + COUNTS_AS_NO
