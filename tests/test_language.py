"""The language of code and documents, as a test: ``python -m tests.language`` lists the same."""

from collections import Counter

import pytest

from tests.language import Finding, files, findings

MOST: dict[str, int] = {
    "koi_agent/backends": 17,
    "koi_agent/bus": 59,
    "koi_agent/cli": 6,
    "koi_agent/host": 139,
    "koi_agent/publishers": 72,
    "pyproject.toml": 1,
    "tests": 191,
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
