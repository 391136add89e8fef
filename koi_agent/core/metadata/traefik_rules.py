"""The rules of Traefik's HTTP routers: the hosts that a rule names.

A rule is an expression in the syntax of Go: matchers with quoted arguments, ``&&``, ``||``, ``!``
and parentheses. A host below a negation is one that the router does not serve.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

_TOKEN: Final = re.compile(
    r"\s+|`(?P<raw>[^`]*)`|\"(?P<quoted>(?:[^\"\\\n]|\\[\"\\])*)\""
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<mark>&&|\|\||[!(),])"
)
_ESCAPE: Final = re.compile(r"\\(.)")
_Token = tuple[str, str]
"""``text``, ``word`` or the mark itself, and the content of a text or a word."""


def hosts(rule: str) -> Iterator[str]:
    """Yield the hosts of a rule in order; none of a rule that Traefik can't read either.

    Version 3 writes ``Host(`a`) || Host(`b`)``, version 2 also ``Host(`a`, `b`)``.
    """
    tokens = _tokens(rule)
    matcher = ""
    for kind, content in _asserted(tokens):
        if kind == "word":
            matcher = content.lower()
        elif kind == "text" and matcher == "host" and content.strip():
            yield content.strip()


def _asserted(tokens: Sequence[_Token]) -> Iterator[_Token]:
    """Yield the tokens that are below no negation, not even below two."""
    below = [False]
    negates = False
    for token in tokens:
        kind, _ = token
        if kind == "(":
            below.append(below[-1] or negates)
        elif kind == ")":
            below.pop()
        negates = kind == "!" or (negates and kind == "word")
        if not below[-1]:
            yield token


def _tokens(rule: str) -> Sequence[_Token]:
    """Return the tokens of a rule; none if there is anything else in it, or an open parenthesis."""
    tokens: list[_Token] = []
    position = 0
    while position < len(rule):
        found = _TOKEN.match(rule, position)
        if not found:
            return ()
        position = found.end()
        if found["raw"] is not None:
            tokens.append(("text", found["raw"]))
        elif found["quoted"] is not None:
            tokens.append(("text", _ESCAPE.sub(r"\1", found["quoted"])))
        elif found["word"]:
            tokens.append(("word", found["word"]))
        elif found["mark"]:
            tokens.append((found["mark"], ""))
    return tokens if _is_balanced(tokens) else ()


def _is_balanced(tokens: Sequence[_Token]) -> bool:
    depth = 0
    for kind, _ in tokens:
        depth += (kind == "(") - (kind == ")")
        if depth < 0:
            return False
    return depth == 0
