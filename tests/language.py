"""Finds turns of language that do not belong into a technical text; ``python -m tests.language``.

The rules are data: banned turns, first words of docstrings, and the length of a sentence. All
functions are pure; only ``findings`` and ``main`` read files.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.language_words import BANNED_VERBS, PERSONS, TURNS, VERBS

CHECKOUT = Path(__file__).parents[1]
MOST_WORDS = 25
PYTHON = ("koi_agent/**/*.py", "bench/**/*.py", "packaging/**/*.py", "tests/**/*.py", "setup.py")
PROSE = ("*.md", "packaging/man/*.scd")
OTHERS = (
    ".ci/run",
    "MANIFEST.in",
    "Makefile",
    "pyproject.toml",
    "debian/*",
    "debian/tests/*",
    "systemd/**/*",
    "packaging/*",
    "packaging/arch/*",
    "packaging/completion/*.in",
    "packaging/examples/*",
    "packaging/python-aiodocker/debian/*",
    "packaging/rpm/*",
)
RULES = ("tests/language.py", "tests/language_words.py", "tests/unit/test_language_rules.py")
"""Files that hold the rules and their bad examples."""

TURN = re.compile("|".join(f"(?P<_{at}>{turn})" for at, turn in enumerate(TURNS)), re.IGNORECASE)
WHO = re.compile(rf"(?<!\w)(?:(?P<person>{'|'.join(PERSONS)}),? )?who\b(?!\w|\()", re.IGNORECASE)
NOBODY = re.compile(r"(?<![\w:=`\"'])nobody(?![\w:`\"'])", re.IGNORECASE)
ELLIPSIS = re.compile(r"(?<=[a-z,;]) ?(?:…|\.\.\.)(?![\w\]/])")
FENCED = re.compile(r"^[ \t]*```.*?^[ \t]*```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"``[^`]+``|`[^`\n]+(?:\n[^`\n]+)?`")
MARKED = re.compile(r"\*[^*\n]+\*(?:\(\d\))?|(?<!\w)_(?:\\.|(?<=\w)_(?=\w)|[^_\\\n])+_(?!\w)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A piece of prose: where it begins, and whether an ellipsis in it is prose."""

    line: int
    text: str
    prose: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """One broken rule in one line of one file."""

    path: str
    line: int
    what: str
    excerpt: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}: {self.excerpt}"


def turns(text: Text) -> Iterator[tuple[int, str, str]]:
    """Yield (line, what, excerpt) of each banned turn."""
    plain = CODE.sub(masked, FENCED.sub(masked, text.text))
    joined = re.sub(r"\s*\n[ \t]*#?[ \t]*", lambda found: " ".ljust(len(found[0])), plain)
    patterns = (TURN, NOBODY, ELLIPSIS) if text.prose else (TURN, NOBODY)
    for pattern in patterns:
        for found in pattern.finditer(joined):
            yield place(text, found)
    for found in WHO.finditer(joined):
        if not found["person"]:
            yield place(text, found)


def masked(code: re.Match[str]) -> str:
    """Return code as marks, in as many lines."""
    return re.sub(r"[^\n]", "_", code[0])


def place(text: Text, found: re.Match[str]) -> tuple[int, str, str]:
    """Return the line, the turn and some text around it."""
    start, end = found.span()
    line = text.line + text.text.count("\n", 0, start)
    around = text.text[max(0, start - 30) : end + 30]
    return line, f'"{" ".join(found[0].split())}"', " ".join(around.split())


def python_texts(nodes: Sequence[ast.AST]) -> Iterator[Text]:
    """Yield each docstring, and each text of the code with at least two words."""
    alone = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    parts = {
        id(value) for node in nodes if isinstance(node, ast.JoinedStr) for value in node.values
    }
    for node in nodes:
        match node:
            case ast.Constant(value=str(value)) if id(node) not in parts and " " in value:
                yield Text(line=node.lineno, text=value, prose=id(node) in alone)
            case ast.JoinedStr(values=values):
                words = "".join(formatted(value) for value in values)
                if " " in words:
                    yield Text(line=node.lineno, text=words, prose=False)
            case _:
                pass


def formatted(value: ast.expr) -> str:
    """Return a part of an f-string, with ``{}`` for a value."""
    return str(value.value) if isinstance(value, ast.Constant) else "{}"


def comments(source: str) -> Iterator[Text]:
    """Yield comments; comments in adjacent lines are one text."""
    held: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if held and token.start[0] != held[-1][0] + 1:
                yield Text(line=held[0][0], text="\n".join(text for _, text in held))
                held = []
            held.append((token.start[0], token.string))
    if held:
        yield Text(line=held[0][0], text="\n".join(text for _, text in held))


def first_words(nodes: Sequence[ast.AST]) -> Iterator[tuple[int, str, str]]:
    """Yield (line, what, excerpt) of each docstring that begins with a wrong word."""
    for node in nodes:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                free = is_value(node) or node.name.startswith("test_")
            case ast.ClassDef() | ast.Module():
                free = True
            case _:
                continue
        document = ast.get_docstring(node)
        if document:
            words = re.split(r"[\s,;:.]+", document, maxsplit=2)
            wrong = words[0] in BANNED_VERBS or " ".join(words[:2]) in BANNED_VERBS
            if wrong or (not free and words[0] not in VERBS):
                line = node.body[0].lineno
                yield line, f'first word "{words[0]}"', document.partition("\n")[0]


def is_value(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return True for a property or a fixture: a noun phrase describes it."""
    names = {ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list}
    return bool(names & {"property", "cached_property", "pytest.fixture", "pytest_asyncio.fixture"})


def paragraphs(source: str) -> Iterator[Text]:
    """Yield each paragraph, list item, heading and definition of a document, without code."""
    held: list[str] = []
    start, fenced = 1, False
    lines = source.splitlines()
    for number, line in enumerate([*lines, ""], 1):
        bare = line.strip()
        if bare.startswith("```"):
            fenced = not fenced
        alone = fenced or bare.startswith(("```", "|", "#", ";", "[")) or not bare
        item = re.match(r"\s*(?:[-*.]|\d+\.) ", line) is not None
        if held and (alone or item or indent(line) != indent(held[-1])):
            yield Text(line=start, text="\n".join(held))
            held = []
        if not alone:
            start = start if held else number
            held.append(line)


def indent(line: str) -> bool:
    """Return True for an indented line."""
    return line[:1] in {"\t", " "}


def long_sentences(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, what, excerpt) of each sentence with too many words."""
    for paragraph in paragraphs(source):
        plain = re.sub(r"\]\([^)]*\)", "]", paragraph.text)
        plain = CODE.sub("CODE", plain)
        plain = MARKED.sub("CODE", plain)
        plain = re.sub(r"CODE(?:(?:,| and| or|, and|, or)\s+CODE)+", "CODE", plain)
        for sentence in re.split(r"(?<=[.!?])[)\"]?\s+(?=[^a-z])|(?<=:)\n", plain):
            count = sum(1 for word in sentence.split() if re.search(r"\w", word))
            if count > MOST_WORDS:
                excerpt = " ".join(sentence.split())[:70]
                yield paragraph.line, f"{count} words in a sentence", excerpt


def check(path: str, source: str) -> Iterator[Finding]:
    """Yield what breaks a rule in one file; ``path`` is relative to the repository."""
    found: list[tuple[int, str, str]] = []
    if path.endswith(".py"):
        nodes = list(ast.walk(ast.parse(source)))
        found += first_words(nodes)
        if path not in RULES:
            texts = [*comments(source), *python_texts(nodes)]
            found += [one for text in texts for one in turns(text)]
    else:
        found += turns(Text(line=1, text=source, prose=path.endswith((".md", ".scd"))))
    if path.endswith((".md", ".scd")):
        found += long_sentences(source)
    for line, what, excerpt in found:
        yield Finding(path=path, line=line, what=what, excerpt=excerpt)


def files() -> list[Path]:
    """Return all files that the rules hold for."""
    globs = (*PYTHON, *PROSE, *OTHERS)
    found = {path for pattern in globs for path in CHECKOUT.glob(pattern) if path.is_file()}
    return sorted(path for path in found if path.suffix != ".json")


def findings(paths: Iterable[Path]) -> list[Finding]:
    """Return what breaks a rule in these files, in order."""
    found: list[Finding] = []
    for path in paths:
        name = path.resolve().relative_to(CHECKOUT).as_posix()
        found += check(name, path.read_text(encoding="utf-8"))
    return sorted(found)


def below(path: Path) -> list[Path]:
    """Return the checked files of a folder, or the file itself."""
    if path.is_file():
        return [path]
    return [one for one in files() if one.is_relative_to(path.resolve())]


def main(arguments: Sequence[str]) -> int:
    """Print what breaks a rule; return 1 if something does."""
    parser = argparse.ArgumentParser(prog="python -m tests.language", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="files and folders; default: all")
    parser.add_argument("--count", action="store_true", help="print a count for each file")
    options = parser.parse_args(arguments)
    chosen = [one for path in options.paths for one in below(path)] or files()
    found = findings(chosen)
    if options.count:
        counts = Counter(one.path for one in found)
        sys.stdout.writelines(f"{count:5} {name}\n" for name, count in counts.most_common())
    else:
        sys.stdout.writelines(f"{one}\n" for one in found)
    sys.stderr.write(f"{len(found)} in {len(chosen)} files\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
