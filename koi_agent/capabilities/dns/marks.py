"""The marks of agents on names at a server: a TXT record beside each name has its owner."""

from typing import Final

MARKED: Final = "koi-runtime "
"""The text of a mark begins with it; the mark of the agent follows."""


def mark_name(name: str) -> str:
    """Return the name of the TXT record that marks a name."""
    return f"_koi.{name}"


def mark_text(mark: str) -> str:
    """Return the text of a mark: the same length for each owner."""
    return f"{MARKED}{mark}"
