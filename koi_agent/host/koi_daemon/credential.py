"""Endpoint and token of a Koi daemon. A token is sent only to the endpoint that it was issued for.

A daemon writes its breadcrumb at each start, with a new token: the endpoint in the first line,
``dat:`` and the token in the second. The system's agent may not read it, so a service that runs as
root hands it over. A breadcrumb may be left by a daemon that was killed.
"""

import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from koi_agent.config.koi import endpoint
from koi_agent.core.errors import BadInput, KoiError
from koi_agent.core.frozen import frozen
from koi_agent.host.koi_daemon.settings import KoiSettings

HANDED_OVER: Final = "/run/koi-runtime/koi/endpoint"
"""The copy of the breadcrumb, which koi-runtime-koi.service hands over."""
CREDENTIAL: Final = "koi.token"
"""The name of the credential (systemd.exec(5))."""
_LONGEST: Final = 4096
"""Maximum size of a file in bytes."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9_.~+/=-]{1,512}")
_MARK: Final = "dat:"


class NoCredential(KoiError):
    """There is no endpoint or no token. ``is_absent`` is True if it may appear later."""

    def __init__(self, reason: str, *, is_absent: bool = False) -> None:
        super().__init__(reason)
        self.is_absent = is_absent


@frozen()
class Credential:
    """An endpoint, and the token for it."""

    endpoint: str
    token: str

    def __repr__(self) -> str:
        """Return a text without the token."""
        return f"Credential({self.endpoint!r})"


@frozen(kw_only=True)
class Source:
    """The source of a credential.

    With an ``endpoint``, the token is that of ``token_file``, or of the breadcrumb if it is for
    the same endpoint. All of these are paths, "" for none.
    """

    breadcrumb: str
    endpoint: str = ""
    token_file: str = ""

    @property
    def paths(self) -> Sequence[str]:
        """The files from which the credential is read."""
        return tuple(filter(None, (self.token_file, self.breadcrumb)))

    @property
    def name(self) -> str:
        """The name of the daemon in messages."""
        return f"[Koi] Endpoint={self.endpoint}" if self.endpoint else "Koi daemon"

    def read(self) -> Credential:
        """Read the credential; raise ``NoCredential``."""
        if self.endpoint and self.token_file:
            return Credential(self.endpoint, _token(self.token_file))
        try:
            found = _breadcrumb(self.breadcrumb)
        except NoCredential as missing:
            if not self.endpoint:
                raise
            raise NoCredential(f"it has no token: {missing}", is_absent=True) from missing
        if self.endpoint and found.endpoint != self.endpoint:
            reason = f"its token is not known: {self.breadcrumb} is for {found.endpoint}"
            raise NoCredential(f"{reason}; set [Koi] TokenFile=")
        return found


def source_of(settings: KoiSettings, environment: Mapping[str, str]) -> Source:
    """Return the source for the settings of an agent, in its environment."""
    token_file, directory = settings.token_file, environment.get("CREDENTIALS_DIRECTORY", "")
    if not token_file and directory and settings.endpoint:
        passed = Path(directory, CREDENTIAL)
        token_file = str(passed) if passed.exists() else ""
    breadcrumb = HANDED_OVER
    if settings.scope == "user":
        runtime = environment.get("XDG_RUNTIME_DIR", "")
        breadcrumb = f"{runtime}/koi.endpoint" if runtime.startswith("/") else ""
    return Source(endpoint=settings.endpoint, token_file=token_file, breadcrumb=breadcrumb)


def parsed_breadcrumb(text: str) -> Credential:
    """Parse a breadcrumb; raise ``BadInput``. The text of the error has no token."""
    lines = [line.strip() for line in text.split("\n")]
    if len(lines) < 2 or any(lines[2:]):
        raise BadInput("it does not have two lines")
    where, token = lines[:2]
    if not where or not token.startswith(_MARK):
        raise BadInput("it does not have an endpoint and a token")
    return Credential(endpoint(where), parsed_token(token.removeprefix(_MARK)))


def parsed_token(text: str) -> str:
    """Return the token in a text; raise ``BadInput``. The text of the error has no token."""
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise BadInput("it does not have a token of one line")
    return token


def _breadcrumb(path: str) -> Credential:
    if not path:
        raise NoCredential("XDG_RUNTIME_DIR is not set", is_absent=True)
    try:
        text = _read(path)
        if not text:  # a starting daemon has truncated it and is about to write it
            raise NoCredential(f"{path}: it is empty", is_absent=True)
        return parsed_breadcrumb(text)
    except BadInput as bad:
        raise NoCredential(f"{path}: {bad}") from bad


def _token(path: str) -> str:
    try:
        return parsed_token(_read(path))
    except BadInput as bad:
        raise NoCredential(f"{path}: {bad}") from bad


def _read(path: str) -> str:
    """Return a short ASCII file; raise ``NoCredential`` or ``BadInput``. Never wait for a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BadInput("it is not a regular file")
            data = file.read(_LONGEST + 1)
    except OSError as error:
        is_absent = isinstance(error, FileNotFoundError)
        raise NoCredential(f"{path}: {error.strerror}", is_absent=is_absent) from error
    if len(data) > _LONGEST:
        raise BadInput(f"it is longer than {_LONGEST} bytes")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise BadInput("it is not ASCII text") from error
