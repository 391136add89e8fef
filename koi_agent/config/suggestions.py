"""Suggestions for unknown keys and sections of a configuration file."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

LONGEST = 40
"""Characters of a word that is compared: the comparison of long words is slow."""


def for_key(section: str, name: str, known: Sequence[tuple[str, str]]) -> str:
    """Return what to write instead of a key; "" if nothing is similar.

    ``known`` are sections and names of keys.
    """
    folded = name.casefold()
    own = {key for in_section, key in known if in_section == section}
    for key in own:
        if key.casefold() == folded:
            return f"did you mean {key}=?"
    if owners := [in_section for in_section, key in known if key.casefold() == folded]:
        return f"it belongs to {' or '.join(f'[{one}]' for one in owners)}"
    key = _nearest(name, {key for _, key in known})
    if not key or key in own:
        return f"did you mean {key}=?" if key else ""
    owner = next(in_section for in_section, one in known if one == key)
    return f"did you mean {key}= in [{owner}]?"


def for_section(name: str, known: Iterable[str]) -> str:
    """Return what to write instead of a section; "" if nothing is similar."""
    section = _nearest(name, known)
    return f"did you mean [{section}]?" if section else ""


def _nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that is most similar, in upper or lower case; "" if none is."""
    if len(word) > LONGEST:
        return ""
    folded = {one.casefold(): one for one in sorted(known)}
    near = get_close_matches(word.casefold(), folded, 1)
    return folded[near[0]] if near else ""
