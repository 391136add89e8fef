"""Foreign JSON read by typed getters: what is of another type is as good as not there."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from koi_agent.core.errors import BadInput

Answer = Mapping[str, Any]

_NOTHING: Final[Answer] = {}


def answer(value: object) -> Answer:
    """Take a whole answer, which must be an object; raises ``BadInput``."""
    if not isinstance(value, dict):
        raise BadInput(f"it is a {type(value).__name__}, no object")
    return value


def inner(said: Answer, key: str) -> Answer:
    value = said.get(key)
    return value if isinstance(value, dict) else _NOTHING


def objects(said: Answer, key: str) -> Iterator[Answer]:
    """Yield the objects of a list."""
    value = said.get(key)
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            yield item


def texts(said: Answer, key: str) -> Iterator[str]:
    value = said.get(key)
    for item in value if isinstance(value, list) else ():
        if isinstance(item, str):
            yield item


def text(said: Answer, key: str) -> str:
    value = said.get(key)
    return value if isinstance(value, str) else ""


def number(said: Answer, key: str, most: int = 2**63) -> int:
    """Read a number from 0 up to ``most``, exclusive; anything else is 0."""
    value = said.get(key)
    return value if type(value) is int and 0 <= value < most else 0
