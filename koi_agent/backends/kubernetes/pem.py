"""The forms of credentials: certificates and keys as PEM text (RFC 7468), and bearer tokens."""

import re
from typing import Final

from koi_agent.core.errors import BadInput

_PEM: Final = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]+)-----(?:(?!-----BEGIN).)*?-----END \1-----", re.DOTALL
)


def pem_blocks(data: bytes) -> str:
    """Return the blocks of a PEM text without what stands between them; raise ``BadInput``."""
    blocks = [found.group() for found in _PEM.finditer(data)]
    try:
        text = "".join(f"{block.decode('ascii')}\n" for block in blocks)
    except UnicodeError:
        text = ""
    if not text:
        raise BadInput("not PEM")
    return text


def is_token(text: str) -> bool:
    """Return True for a text that a header can carry."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
