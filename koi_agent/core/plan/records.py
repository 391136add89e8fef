"""The results of the plan for an instance: records for providers, decisions for people."""

from enum import StrEnum
from typing import Protocol

from koi_agent.core.frozen import frozen
from koi_agent.core.instance import RecordState


class Record(Protocol):
    """A value that a provider publishes or acts on, for example a DNS-SD service."""

    @property
    def title(self) -> str:
        """The name of the record, as a person or a resolver would look it up."""


class Subject(StrEnum):
    """The subject of a decision."""

    PORT = "port"
    SERVICE = "service"
    NAME = "name"
    TXT = "txt"
    HOST_NAME = "host-name"
    CHECK = "check"
    ROUTE = "route"


@frozen(kw_only=True)
class Decision:
    """The decision on one request of an instance.

    ``about`` names the request for users, for example ``port 80/tcp``. ``state`` is wanted,
    held or refused. ``capability`` is filled in by the announce engine.
    """

    subject: Subject
    about: str
    state: RecordState
    reason: str
    capability: str = ""
