"""One spelling for each name, address and text, because providers return many."""

import re
import unicodedata
from ipaddress import ip_address
from typing import Final

from koi_agent.core.errors import BadInput

_LONGEST_NAME: Final = 1024
_LONGEST_LABEL: Final = 63
"""Maximum number of characters: decoding a longer label takes long, and no such name is ours."""
_DOTS: Final = re.compile("[.\u3002\uff0e\uff61]")
"""A dot, and the characters that IDNA treats as dots (RFC 3490 section 3.1)."""
_PLAIN: Final = re.compile(r"[a-z0-9_][a-z0-9_.:-]{0,252}")
_PREFIX: Final = "xn--"
_STRINGS: Final = re.compile(r'\s*"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\([0-9]{3}|.)", re.DOTALL)
_VERSIONS: Final = {"A": 4, "AAAA": 6}


def same_name(name: str) -> str:
    """Return a name in lower case, in ASCII (IDNA) and without a final dot.

    Raises ``BadInput`` for a text that is not a name.
    """
    if len(name) > _LONGEST_NAME:
        raise BadInput("the name is too long")
    if name.isascii():
        return name.strip().removesuffix(".").lower()
    # As for a lookup, compatible characters are equal, and so are upper and lower case.
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).lower())
    return ".".join(map(_ascii_label, _DOTS.split(text.strip()))).removesuffix(".")


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label
    if len(label) > _LONGEST_LABEL:
        raise BadInput("a label is too long")
    try:
        label.encode()  # a lone surrogate is not a character
        return f"{_PREFIX}{label.encode('punycode').decode('ascii')}"
    except UnicodeError as error:
        raise BadInput("the name is not Unicode") from error


def is_plain(name: str) -> bool:
    """Return True for a name that can be a word in a file. All names of instances are."""
    return bool(_PLAIN.fullmatch(name))


def same_address(kind: str, text: str) -> str:
    """Return an address of a record of type A or AAAA in its usual form.

    Raises ``BadInput`` if it is not one.
    """
    try:
        address = ip_address(text)
    except ValueError as error:
        raise BadInput("not an IP address") from error
    if "%" in text:  # records have no zone, and Python permits any text there
        raise BadInput("not an address without a zone")
    if address.version != _VERSIONS[kind]:
        raise BadInput(f"not an address of type {kind}")
    return str(address)


def plain_text(text: str) -> str:
    """Return the text of a TXT record, which may be quoted, escaped and in several strings."""
    text = text.strip()
    for _ in range(2):  # some providers quote a quoted text again
        if not text.startswith('"'):
            break
        strings, at = [], 0
        while found := _STRINGS.match(text, at):
            strings.append(_ESCAPE.sub(_unescaped, found[1]))
            at = found.end()
        if text[at:].strip():
            return text
        text = "".join(strings)
    return _ESCAPE.sub(_unescaped, text)


def _unescaped(found: re.Match[str]) -> str:
    escaped = found[1]
    return chr(int(escaped)) if len(escaped) == 3 else escaped
