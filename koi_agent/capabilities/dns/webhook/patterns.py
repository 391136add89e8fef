"""Regular expressions of Go (RE2 syntax), matched in bounded time.

Python's own may take forever for a short pattern, and a webhook chooses the pattern. A matcher maps
the positions in a text where a match may go on to those where it may go on afterwards.
"""

import re
import string
from collections.abc import Callable, Iterable, Set
from functools import partial, reduce
from typing import Final

from koi_agent.core.errors import BadInput

LONGEST: Final = 4096
"""Characters of a pattern."""
MOST_REPEATS: Final = 1000
"""As in Go."""
_MOST_STEPS: Final = 200_000
"""Positions that one search may visit."""
_DEEPEST: Final = 30

_WORD: Final = frozenset(string.ascii_letters + string.digits + "_")
_CLASSES: Final = {
    "d": frozenset(string.digits),
    "w": _WORD,
    "s": frozenset("\t\n\f\r "),
}
_POSIX: Final = {
    "alnum": frozenset(string.ascii_letters + string.digits),
    "alpha": frozenset(string.ascii_letters),
    "digit": frozenset(string.digits),
    "lower": frozenset(string.ascii_lowercase),
    "upper": frozenset(string.ascii_uppercase),
    "punct": frozenset(string.punctuation),
    "xdigit": frozenset(string.hexdigits),
    "word": _WORD,
}
_ESCAPED: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
_COUNTED: Final = re.compile(r"\{([0-9]{1,4})(,([0-9]{0,4}))?\}")
_OPENING: Final = re.compile(r"\?(?:P?<[A-Za-z_][A-Za-z0-9_]*>|([a-zA-Z]*)(-[a-zA-Z]+)?([:)]))")


class TooComplex(BadInput):
    """A search that would take too long."""


class _Search:
    """One search in a text; ``visit`` counts the work."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._steps = 0

    def visit(self, positions: Set[int]) -> None:
        self._steps += len(positions) + 1
        if self._steps > _MOST_STEPS:
            raise TooComplex("its regular expression takes too long")


Positions = Set[int]
Matcher = Callable[[_Search, Positions], Positions]
Test = Callable[[str], bool]


class Pattern:
    """A pattern; raises ``BadInput`` for one that can't be read."""

    def __init__(self, pattern: str) -> None:
        if len(pattern) > LONGEST:
            raise BadInput(f"its regular expression is longer than {LONGEST} characters")
        self._matcher = _Parser(pattern).whole()

    def search(self, text: str) -> bool:
        """Return True if any part of a text matches; raise ``TooComplex``."""
        return bool(self._matcher(_Search(text), frozenset(range(len(text) + 1))))


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0
        self._folds = False

    def whole(self) -> Matcher:
        matcher = self._alternatives()
        if self._at < len(self._pattern):
            raise self._bad("a parenthesis is not open")
        return matcher

    def _bad(self, why: str) -> BadInput:
        return BadInput(f"its regular expression can't be read at character {self._at}: {why}")

    def _next(self) -> str:
        if self._at >= len(self._pattern):
            raise self._bad("it ends too early")
        self._at += 1
        return self._pattern[self._at - 1]

    def _skip(self, text: str) -> bool:
        found = self._pattern.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def _alternatives(self) -> Matcher:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._bad("it is nested too deep")
        branches = [self._sequence()]
        while self._skip("|"):
            branches.append(self._sequence())
        self._depth -= 1
        return branches[0] if len(branches) == 1 else partial(_any_of, branches)

    def _sequence(self) -> Matcher:
        parts: list[Matcher] = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            parts.append(self._repeated(self._atom()))
        return partial(_in_turn, parts)

    def _repeated(self, atom: Matcher) -> Matcher:
        while self._at < len(self._pattern):
            if self._skip("*"):
                atom = partial(_repeat, atom, 0, None)
            elif self._skip("+"):
                atom = partial(_repeat, atom, 1, None)
            elif self._skip("?"):
                atom = partial(_repeat, atom, 0, 1)
            elif counted := _COUNTED.match(self._pattern, self._at):
                self._at = counted.end()
                atom = partial(_repeat, atom, *self._counts(counted))
            else:
                break
            self._skip("?")  # which match is preferred does not matter here
        return atom

    def _counts(self, counted: re.Match[str]) -> tuple[int, int | None]:
        least = int(counted[1])
        most = least if counted[2] is None else int(counted[3]) if counted[3] else None
        if max(least, most or 0) > MOST_REPEATS or (most is not None and most < least):
            raise self._bad("a repetition count is not valid")
        return least, most

    def _atom(self) -> Matcher:
        match self._next():
            case "(":
                return self._group()
            case "[":
                return partial(_one, self._class())
            case ".":
                return partial(_one, lambda char: char != "\n")
            case "^":
                return _at_start
            case "$":
                return _at_end
            case "\\":
                return self._escape()
            case "*" | "+" | "?":
                raise self._bad("nothing to repeat")
            case char:
                return partial(_one, self._literal(char))

    def _group(self) -> Matcher:
        folded = self._folds
        if opening := _OPENING.match(self._pattern, self._at):
            self._at = opening.end()
            if set(opening[1] or "") - set("imsU"):
                raise self._bad("a flag is not known")
            self._folds = (folded or "i" in (opening[1] or "")) and "i" not in (opening[2] or "")
            if opening[3] == ")":
                return partial(_in_turn, [])
        elif self._pattern.startswith("?", self._at):
            raise self._bad("a group is not known")
        matcher = self._alternatives()
        if not self._skip(")"):
            raise self._bad("a parenthesis is not closed")
        self._folds = folded
        return matcher

    def _escape(self) -> Matcher:
        match self._next():
            case "A":
                return _at_start
            case "z":
                return _at_end
            case "b":
                return partial(_at_border, is_border=True)
            case "B":
                return partial(_at_border, is_border=False)
            case "Q":
                end = self._pattern.find("\\E", self._at)
                quoted = self._pattern[self._at : end if end >= 0 else None]
                self._at += len(quoted) + (2 if end >= 0 else 0)
                return partial(_in_turn, [partial(_one, self._literal(char)) for char in quoted])
            case char:
                return partial(_one, self._escaped(char))

    def _escaped(self, char: str) -> Test:
        if char.lower() in _CLASSES:
            return partial(_is_in, _CLASSES[char.lower()], is_inverted=char.isupper())
        if char in _ESCAPED:
            return self._literal(_ESCAPED[char])
        if char.isalnum():
            raise self._bad(f"the escape \\{char} is not known")
        return self._literal(char)

    def _literal(self, char: str) -> Test:
        variants = frozenset({char.lower(), char.upper()} if self._folds else {char})
        return partial(_is_in, variants, is_inverted=False)

    def _class(self) -> Test:
        is_inverted = self._skip("^")
        tests: list[Test] = []
        while not (tests and self._skip("]")):
            tests.append(self._class_item())
        return lambda char: any(test(char) for test in tests) != is_inverted

    def _class_item(self) -> Test:
        for name, chars in _POSIX.items():
            if self._skip(f"[:{name}:]"):
                return partial(_is_in, chars, is_inverted=False)
            if self._skip(f"[:^{name}:]"):
                return partial(_is_in, chars, is_inverted=True)
        first = self._next()
        if first == "\\":
            return self._escaped(self._next())
        rest = self._pattern[self._at : self._at + 2]
        if len(rest) < 2 or rest[0] != "-" or rest[1] == "]":
            return self._literal(first)
        self._at += 2
        last = self._next() if rest[1] == "\\" else rest[1]
        if last < first:
            raise self._bad("a range is not in order")
        if self._folds:
            return lambda char: first <= char.lower() <= last or first <= char.upper() <= last
        return lambda char: first <= char <= last


def _is_in(chars: frozenset[str], char: str, *, is_inverted: bool) -> bool:
    return (char in chars) != is_inverted


def _one(test: Test, search: _Search, positions: Positions) -> Positions:
    search.visit(positions)
    text = search.text
    return {at + 1 for at in positions if at < len(text) and test(text[at])}


def _in_turn(parts: Iterable[Matcher], search: _Search, positions: Positions) -> Positions:
    return reduce(lambda found, part: part(search, found) if found else found, parts, positions)


def _any_of(branches: Iterable[Matcher], search: _Search, positions: Positions) -> Positions:
    return frozenset[int]().union(*(branch(search, positions) for branch in branches))


def _repeat(
    part: Matcher, least: int, most: int | None, search: _Search, positions: Positions
) -> Positions:
    for _ in range(least):
        search.visit(positions)
        positions = part(search, positions)
    found, new = set(positions), positions
    for _ in range(MOST_REPEATS if most is None else most - least):
        search.visit(new)
        new = part(search, new) - found
        if not new:
            break
        found |= new
    return found


def _at_start(search: _Search, positions: Positions) -> Positions:
    search.visit(positions)
    return positions & {0}


def _at_end(search: _Search, positions: Positions) -> Positions:
    search.visit(positions)
    return positions & {len(search.text)}


def _at_border(search: _Search, positions: Positions, *, is_border: bool) -> Positions:
    search.visit(positions)
    return {at for at in positions if _borders(search.text, at) == is_border}


def _borders(text: str, at: int) -> bool:
    before = at > 0 and text[at - 1] in _WORD
    after = at < len(text) and text[at] in _WORD
    return before != after
