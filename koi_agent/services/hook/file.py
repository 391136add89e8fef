"""The agent's file, which is read again when it is replaced."""

import logging
import os
import stat
from pathlib import Path
from typing import Final

from koi_agent.core.errors import BadInput
from koi_agent.core.text import printable
from koi_agent.host.inotify import Inotify
from koi_agent.host.path_watch import PathStates, path_states, watch
from koi_agent.services.hook.records import EMPTY, LARGEST, Records

log = logging.getLogger(__name__)

HINT: Final = "systemctl restart koi-runtime"


class RecordsFile:
    """The records in the file at ``path``. Without the file, there are no names."""

    def __init__(self, path: Path) -> None:
        self.records = Records(EMPTY)
        self._path = path
        self._state: PathStates = ()
        self._watches = _watches()

    @property
    def descriptor(self) -> int | None:
        """The descriptor that becomes readable after a change, None if nothing can be watched."""
        return self._watches.fileno() if self._watches else None

    def refresh(self) -> bool:
        """Read the file if it has changed; return True then. Never raise.

        Without a change, this is one system call, so that it can be done for each question.
        """
        if self._state and self._watches and not self._watches.read():
            return False
        state = self._present()
        if state == self._state:
            return False
        self._state = state
        try:
            self.records = Records(_content(self._path))
        except (OSError, BadInput) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            trouble = f"{printable(str(self._path))}: {reason}"
            log.error("%s; no name is answered; use %s", trouble, HINT)  # noqa: TRY400 - not a bug
            self.records = self.records.unusable(trouble)
        return True

    def _present(self) -> PathStates:
        """Return the state of the file and of its directories, which are watched first."""
        paths = [str(self._path)]
        if self._watches is None:
            return path_states(paths)
        while self._watches.read():
            pass
        return watch(self._watches, paths)

    def withdraw(self) -> None:
        """Remove all domains, independent of the file."""
        self.records = Records(EMPTY)


def _watches() -> Inotify | None:
    try:
        return Inotify()
    except OSError as error:
        log.warning("inotify: %s; a change is seen with the next question", error)
        return None


def _content(path: Path) -> bytes:
    """Return the content of a regular file; a pipe or a link is not the agent's."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return EMPTY
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadInput("not a file")
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise BadInput(f"larger than {LARGEST >> 20} MiB")
    return data
