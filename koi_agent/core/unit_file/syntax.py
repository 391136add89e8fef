"""systemd's file syntax, for unit files and our own: sections, assignments, quoted words.

The rules are those of systemd.syntax(7). Where the page does not say, they are those of systemd's
parser (``config_parse`` and ``extract_first_word``): the same file gives the same values.
"""

import re
from collections.abc import Iterator

from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen

_WHITESPACE = " \t\n\r"
_BLANK = _WHITESPACE.encode()
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# systemd's read_line() ends a line at each of these, and a NUL belongs to the line end before it.
_LINE_END = re.compile(rb"(?:\r\n|\n\r|\r|\n)\0?|\0")
_UNSAFE = re.compile(r"[\x01-\x1f\x7f\"'\\]")


@frozen()
class Entry:
    """One assignment; ``line`` is the number of its first line."""

    section: str
    key: str
    value: str
    line: int


@frozen()
class Ignored:
    """One line that has no effect; ``section`` is empty before the first header."""

    section: str
    text: str
    line: int
    reason: str


@frozen()
class Document:
    """The contents of a file, in order. An empty value resets earlier assignments of its key."""

    sections: frozenset[str]
    entries: tuple[Entry, ...]
    ignored: tuple[Ignored, ...]


def parse(data: bytes) -> Document:
    """Parse a whole file. Raises ``BadInput`` for an error at which systemd stops reading."""
    sections: set[str] = set()
    entries: list[Entry] = []
    ignored: list[Ignored] = []
    section: str | None = None
    for number, line in _logical_lines(data):
        text = _decoded(number, line)
        if not text:
            continue
        if text.startswith("["):
            section = _header(number, text)
            sections.add(section)
            continue
        match _assignment(section, number, text):
            case Entry() as entry:
                entries.append(entry)
            case Ignored() as without_effect:
                ignored.append(without_effect)
    return Document(frozenset(sections), tuple(entries), tuple(ignored))


def _logical_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each logical line with the number of its first line; skip comments.

    A comment between continued lines is skipped, and a backslash does not continue a comment. The
    backslash at the end of a line becomes a space and the next line keeps its indentation. One
    byte order mark is skipped, at the first line that has one.
    """
    marked = False
    first = 0
    held: list[bytes] = []
    for number, piece in enumerate(_LINE_END.split(data), 1):
        line = piece
        if line.lstrip(_BLANK).startswith((b"#", b";")):
            continue
        if not marked and line.startswith(_BYTE_ORDER_MARK):
            marked = True
            line = line.removeprefix(_BYTE_ORDER_MARK)
        first = first or number
        if _continues(line):
            held.append(line[:-1] + b" ")
            continue
        yield first, b"".join((*held, line))
        first = 0
        held.clear()
    if held:
        yield first, b"".join(held)


def _continues(line: bytes) -> bool:
    return (len(line) - len(line.rstrip(b"\\"))) % 2 == 1


def _decoded(number: int, line: bytes) -> str:
    try:
        return line.strip(_BLANK).decode()
    except UnicodeDecodeError:
        raise BadInput(f"line {number} is not UTF-8") from None


def _header(number: int, text: str) -> str:
    if len(text) < 2 or not text.endswith("]"):
        raise BadInput(f"line {number} has a section header without ]")
    if _UNSAFE.search(text):
        raise BadInput(f"line {number} has a section header with an invalid character")
    return text[1:-1]


def _assignment(section: str | None, number: int, text: str) -> Entry | Ignored:
    key, equals, value = text.partition("=")
    if section is None:
        return Ignored("", text, number, "stands before the first section")
    if not equals:
        return Ignored(section, text, number, "has no =")
    if not key:
        return Ignored(section, text, number, "has no key before the =")
    return Entry(section, key.rstrip(_WHITESPACE), value.lstrip(_WHITESPACE), number)


_WORD_PART = re.compile(rb"[^\\\"' \t\n\r]+")
_QUOTED_PART = {b'"': re.compile(rb"[^\\\"]+"), b"'": re.compile(rb"[^\\']+")}
_ESCAPE = re.compile(
    rb"\\(?:(?P<plain>[abfnrtv\\\"'s])|x(?P<hex>[0-9a-fA-F]{2})|(?P<octal>[0-7]{3})"
    rb"|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8}))"
)
_PLAIN = dict(zip(b"abfnrtv\\\"'s", b"\a\b\f\n\r\t\v\\\"' ", strict=True))


def words(value: str) -> Iterator[str]:
    r"""Yield the words of a value, without quotes and with C's escape sequences decoded.

    Raises ``BadInput`` at a quote that is not closed or an escape sequence that systemd does not
    know. As in systemd, the words before it are valid. Bytes written as ``\xff`` that are not
    UTF-8 become lone surrogates.
    """
    rest = value.encode().lstrip(_BLANK)
    while rest:
        word, rest = _word(rest)
        yield word.decode(errors="surrogateescape")
        rest = rest.lstrip(_BLANK)


def _word(data: bytes) -> tuple[bytes, bytes]:
    """Return the word at the start of ``data``, and the rest."""
    parts: list[bytes] = []
    quote = b""
    at = 0
    while at < len(data):
        pattern = _QUOTED_PART[quote] if quote else _WORD_PART
        if plain := pattern.match(data, at):
            parts.append(plain.group())
            at = plain.end()
        elif data[at : at + 1] == b"\\":
            part, at = _unescaped(data, at)
            parts.append(part)
        elif quote or data[at : at + 1] in _QUOTED_PART:
            quote = b"" if quote else data[at : at + 1]
            at += 1
        else:
            break
    if quote:
        raise BadInput("a quote is left open")
    return b"".join(parts), data[at:]


def _unescaped(data: bytes, at: int) -> tuple[bytes, int]:
    """Decode an escape sequence as ``cunescape_one`` does; return it and the position after it.

    NUL is not accepted.
    """
    found = _ESCAPE.match(data, at)
    if found is None:
        raise BadInput("an escape sequence is not one of C's")
    name, digits = next((name, text) for name, text in found.groupdict().items() if text)
    if name == "plain":
        return bytes((_PLAIN[digits[0]],)), found.end()
    number = int(digits, 8 if name == "octal" else 16)
    if number == 0 or (name == "octal" and number > 0xFF):
        raise BadInput("an escape sequence does not stand for a character")
    if name in {"hex", "octal"}:
        return bytes((number,)), found.end()
    try:
        return chr(number).encode(), found.end()
    except (ValueError, OverflowError):
        raise BadInput("an escape sequence does not stand for a character") from None
