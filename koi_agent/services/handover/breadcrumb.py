"""Reads a breadcrumb, and writes a copy for one user.

A daemon writes its breadcrumb in place at each start, with a new token, and may leave it behind:
the endpoint in the first line, ``dat:`` and the token in the second. Nothing else is copied.
"""

import os
import re
import stat
from pathlib import Path
from typing import Final

from koi_agent.core.errors import BadInput

LARGEST: Final = 4096
"""Maximum size of a breadcrumb in bytes."""
_ENDPOINT: Final = re.compile(r"http://[A-Za-z0-9.:\[\]-]{1,256}/?")
_TOKEN: Final = re.compile(r"dat:[A-Za-z0-9_.~+/=-]{1,512}")


def read(path: Path) -> str:
    """Return the two lines of a breadcrumb; raise ``BadInput`` or ``OSError``.

    It must be a regular file that the user of this process owns and no other user can write. The
    text is empty while the daemon is writing. The text of an error has no token.
    """
    _check(path.lstat())  # before it is opened, because opening a device can have an effect
    # Another file may have replaced it: follow no link, and never wait for a pipe.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    descriptor = os.open(path, flags)
    with os.fdopen(descriptor, "rb") as file:
        _check(os.fstat(descriptor))
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise BadInput(f"it is longer than {LARGEST} bytes")
    return _lines(data)


def write(path: Path, text: str, user: int) -> None:
    """Write a copy that only this user may read, and replace any old one; raise ``OSError``."""
    hidden = path.with_name(f".{path.name}.new")
    hidden.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(hidden, flags, 0o400), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fchown(file.fileno(), user, -1)
    hidden.replace(path)


def _check(status: os.stat_result) -> None:
    """Check the file that a path leads to; raise ``BadInput``."""
    if not stat.S_ISREG(status.st_mode):
        raise BadInput("it is not a regular file")
    if status.st_uid != os.geteuid():
        raise BadInput(f"its owner is the user {status.st_uid}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BadInput("other users can write it")


def _lines(data: bytes) -> str:
    """Return the lines of a breadcrumb in their usual form; raise ``BadInput``."""
    try:
        lines = [line.strip() for line in data.decode("ascii").strip().split("\n")]
    except UnicodeDecodeError:
        raise BadInput("it is not ASCII text") from None
    if lines == [""]:
        return ""
    if len(lines) != 2:
        raise BadInput("it does not have two lines")
    if not _ENDPOINT.fullmatch(lines[0]):
        raise BadInput("its first line is not the URL of a Koi daemon")
    if not _TOKEN.fullmatch(lines[1]):
        raise BadInput("its second line is not a token")
    return "\n".join([*lines, ""])
