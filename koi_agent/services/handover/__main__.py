"""``koi-runtime-koi BREADCRUMB COPY USER``: keeps a copy while there is a breadcrumb."""

import logging
import os
import pwd
import select
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from koi_agent.core.backoff import pauses
from koi_agent.core.errors import BadInput
from koi_agent.core.text import printable
from koi_agent.host import inotify
from koi_agent.host.inotify import Inotify
from koi_agent.host.stderr_log import logging_to_stderr
from koi_agent.services.handover import breadcrumb

log = logging.getLogger(__name__)

PERIOD: Final = 5.0
"""Seconds between two checks of the breadcrumb if it can't be watched."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds between two lookups of a user that does not exist."""
_EVENTS: Final = (
    inotify.CREATE
    | inotify.DELETE
    | inotify.MODIFY
    | inotify.ATTRIB
    | inotify.MOVED_FROM
    | inotify.MOVED_TO
)
_ALL: Final = inotify.OVERFLOW | inotify.IGNORED
"""Events that may affect any file of the folder."""
USAGE: Final = """\
usage: koi-runtime-koi BREADCRUMB COPY USER

Copy the breadcrumb of a Koi daemon for a user, as long as there is one.
"""


class Handover:
    """A copy of the breadcrumb for a user."""

    def __init__(self, source: Path, copy: Path, user: int) -> None:
        self._source = source
        self._copy = copy
        self._user = user
        self._copied = ""
        self._reason = ""

    def follow(self) -> None:
        """Update the copy after each change; return when the breadcrumb is gone."""
        watches = _watches(self._source.parent)
        while self._update():
            _wait(watches, self._source.name)

    def _update(self) -> bool:
        """Compare, and copy what has changed; return False if there is no breadcrumb."""
        try:
            text = breadcrumb.read(self._source)
        except FileNotFoundError:
            self._remove()
            return False
        except (OSError, BadInput) as error:
            self._refuse(str(error.strerror if isinstance(error, OSError) else error))
            return True
        self._reason = ""
        if not text:
            self._remove()
        elif text != self._copied:
            breadcrumb.write(self._copy, text, self._user)
            self._copied = text
            log.info("%s is handed over: %s", self._source, text.split("\n", 1)[0])
        return True

    def _refuse(self, reason: str) -> None:
        self._remove()
        if reason != self._reason:
            log.warning("%s: not handed over: %s", self._source, printable(reason))
        self._reason = reason

    def _remove(self) -> None:
        self._copied = ""
        self._copy.unlink(missing_ok=True)


def _watches(folder: Path) -> Inotify | None:
    """Return a watch on a folder, None if it can't be watched."""
    try:
        made = Inotify()
        made.add(str(folder), _EVENTS)
    except OSError as error:
        log.warning("inotify: %s; a change is seen after %g s", error.strerror, PERIOD)
        return None
    return made


def _wait(watches: Inotify | None, name: str) -> None:
    """Wait until a file of this name may have changed."""
    if watches is None:
        time.sleep(PERIOD)
        return
    while True:
        select.select([watches], [], [])
        events = watches.read()
        if any(mask & _ALL or found == name for _, mask, found in events):
            return


def _user(name: str, source: Path) -> int | None:
    """Return the ID of a user; wait for it as long as there is a breadcrumb."""
    waits = pauses(FIRST_WAIT, LONGEST_WAIT)
    is_logged = False
    while os.path.lexists(source):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
        if not is_logged:
            log.warning("the user does not exist: %s; waiting for it", printable(name))
        is_logged = True
        time.sleep(next(waits))
    return None


def execute(argv: Sequence[str]) -> int:
    """Follow a breadcrumb until it is gone; return the exit code."""
    if len(argv) != 3:
        sys.stderr.write(USAGE)
        return os.EX_USAGE
    source, copy, user = argv
    with logging_to_stderr():
        try:
            if (number := _user(user, Path(source))) is not None:
                Handover(Path(source), Path(copy), number).follow()
        except OSError as error:
            log.error("%s: %s", error.filename or copy, error.strerror)  # noqa: TRY400 - not a bug
            return os.EX_IOERR
    return 0


def main() -> None:
    sys.exit(execute(sys.argv[1:]))


if __name__ == "__main__":
    main()
