"""The outcome for a name or a node that was sent to a server."""

from typing import Final, NamedTuple

from koi_agent.core.instance import RecordState


class Outcome(NamedTuple):
    """The state of a name, and its reason."""

    state: RecordState
    reason: str = ""


ANNOUNCED: Final = Outcome(RecordState.ANNOUNCED)
