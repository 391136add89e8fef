"""Connections of another user, made by this process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

NOBODY: Final = 65534


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    """Change the effective user: sockets that are connected in the block are this user's."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
