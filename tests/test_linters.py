"""The house style, as tests: one command checks all."""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
SOURCES = sorted(CHECKOUT.joinpath("koi_agent").rglob("*.py"))
MOST_LINES_OF_A_FILE = 300
MOST_LINES_OF_MOST_FILES = 200
MOST_LINES_OF_A_FUNCTION = 40

LINTERS = {
    "ruff format": ["ruff", "format", "--check"],
    "ruff check": ["ruff", "check"],
    "mypy": ["mypy"],
    "import-linter": ["lint-imports"],
    "codespell": ["codespell", "koi_agent", "tests", *map(str, CHECKOUT.glob("*.md"))],
    "vulture": ["vulture"],
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", LINTERS.values(), ids=LINTERS.keys())
def test_linter_has_no_complaint(command: list[str]) -> None:
    tool = Path(sys.executable).with_name(command[0])
    done = subprocess.run(
        [tool, *command[1:]], check=False, capture_output=True, text=True, cwd=CHECKOUT
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)}:\n{done.stdout}{done.stderr}", pytrace=False)


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}
    assert not {path: n for path, n in lengths.items() if n > MOST_LINES_OF_A_FILE}
    assert statistics.median(filter(None, lengths.values())) <= MOST_LINES_OF_MOST_FILES


def test_functions_are_short() -> None:
    long = [name for name, lines in functions() if lines > MOST_LINES_OF_A_FUNCTION]
    assert not long


def functions() -> Iterator[tuple[str, int]]:
    """Yield every function of the package, with its length in lines."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                yield f"{path.relative_to(CHECKOUT)}:{node.lineno} {node.name}", lines
