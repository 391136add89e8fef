"""Log levels, and the MESSAGE_ID of each kind of log record that has a catalog entry.

``journalctl MESSAGE_ID=…`` finds all records of a kind. ``journalctl -x`` adds the explanation
from the catalog (packaging/koi-runtime.catalog).
"""

from collections.abc import Mapping
from enum import StrEnum

from koi_agent.core.errors import BadInput

IDENTIFIER = "koi-runtime"
"""SYSLOG_IDENTIFIER of all log records."""

LEVELS = {
    "emerg": 70,
    "alert": 60,
    "crit": 50,
    "err": 40,
    "warning": 30,
    "notice": 25,
    "info": 20,
    "debug": 10,
}
"""systemd's words for the levels of syslog(3), most severe first, and ``logging``'s numbers."""


class MessageId(StrEnum):
    """MESSAGE_IDs. Each is random and never changes."""

    STARTED = "568c4f9846cf4b9ba8b3fc7e7b7e8da2"
    STOPPED = "676dc2ad476742779450a10d2358c107"
    UPDATED = "c3c64e5fc2f6488783a142f648ab9b83"
    BACKEND = "0d045a40ad064a50ad473a91847463f4"
    DISCONNECTED = "14105578c84d4721ac0110bd19932581"
    RECONNECTED = "a1cb56468b724e339a24c0213e3ea6c3"
    READY = "a87520f66b8b43d8833f6458e4466338"
    READY_WITHOUT = "aa0c965d08ab43688fa33eb8eea932d4"
    RELOADED = "86c643a758f5444599ff00478f88594c"
    CONFIG_REFUSED = "d09d7d7bb5ff4f92aea7e12124ae7364"
    DRIFT = "2482ee7dd08c42849c376905842da162"
    BUS_LOST = "2038a0d6d66d4db1b2ea240c05a12204"
    EVENTS_DROPPED = "7a0e7523a60d461ba3c68bcf86af9f29"
    WATCHDOG_WITHHELD = "71fb8f6f9c0945cc84411510369bfb6c"
    REFUSED = "b3c1df2f4f2b43a6af74de38e8091cd3"
    DECIDED = "d0366b9c91e24f48a9f98ec9c7ee026b"
    ANNOUNCED = "56504832a0ce4758a2ed353406c5aa8f"
    NOT_ANNOUNCED = "204b7aad080b4adab5196e4b235dfb96"
    PROVIDER_LOST = "934d20446b1c43b883100ee0372b7203"
    RECORDS_LOST = "e70095ef53af40439b3f0067b6d56af4"


def journal_fields(kind: MessageId, **fields: object) -> Mapping[str, Mapping[str, object]]:
    """Build the ``extra=`` of a log call from its kind and further journal fields (``KOI_…``)."""
    return {"koi": {"MESSAGE_ID": kind, **fields}}


def level(word: str) -> int:
    """Return ``logging``'s number for one of systemd's words. Raises ``BadInput``."""
    if word not in LEVELS:
        raise BadInput(f"log level: unknown: '{word}'; use {', '.join(LEVELS)}")
    return LEVELS[word]


def level_word(number: int) -> str:
    """Return systemd's word for a level of ``logging``."""
    return next((word for word, least in LEVELS.items() if number >= least), "debug")


def priority(number: int) -> int:
    """Return syslog(3)'s number for a level of ``logging``, from 0 (emerg) to 7 (debug)."""
    return list(LEVELS).index(level_word(number))
