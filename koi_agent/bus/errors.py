"""The errors of a connection and of a call."""

from koi_agent.core.errors import KoiError
from koi_agent.core.text import printable


class BusLost(KoiError):
    """The connection to the bus is gone, or could not be made."""


class CallError(KoiError):
    """A call was answered with an error; ``name`` is the error's D-Bus name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {printable(text)}")
        self.name = name


def reason_of(error: BaseException | None) -> str:
    """Format why a connection ended."""
    match error:
        case None:
            return "closed"
        case TimeoutError():
            return "the bus does not answer"
        case _:
            return str(error) or type(error).__name__
