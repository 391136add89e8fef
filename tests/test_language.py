"""The language of code and documents, as a test: ``python -m tests.language`` lists the same."""

from collections import Counter

import pytest

from tests.language import Finding, files, findings

MOST: dict[str, int] = {
    "bench": 7,
    "koi_agent": 15,
    "koi_agent/announce": 46,
    "koi_agent/backends": 297,
    "koi_agent/bus": 70,
    "koi_agent/capabilities": 106,
    "koi_agent/cli": 157,
    "koi_agent/config": 47,
    "koi_agent/core": 234,
    "koi_agent/follow": 25,
    "koi_agent/gate": 42,
    "koi_agent/host": 166,
    "koi_agent/publishers": 120,
    "pyproject.toml": 1,
    "tests": 173,
}
"""Findings still allowed below a path; the longest path that fits counts, all others have 0.

Lower a number when you have rewritten a text. Never raise one.
"""


def test_language_is_plain() -> None:
    found = findings(files())
    counts = Counter(area(one) for one in found)
    broken = sorted(name for name, count in counts.items() if count > MOST.get(name, 0))
    listed = [str(one) for one in found if area(one) in broken]
    totals = [f"{name}: {counts[name]}, at most {MOST.get(name, 0)} allowed" for name in broken]
    if broken:
        pytest.fail("\n".join([*listed, *totals]), pytrace=False)


def area(finding: Finding) -> str:
    """Return the longest entry of the table that holds this file, or the file itself."""
    path = finding.path
    held = [name for name in MOST if path == name or path.startswith(f"{name}/")]
    return max(held, key=len, default=path)
