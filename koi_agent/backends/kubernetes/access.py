"""How a cluster is reached: address, authority and credentials of its API server."""

import os
import ssl
import stat
from dataclasses import field
from pathlib import Path
from typing import Final

from koi_agent.backends.kubernetes.pem import is_token, pem_blocks
from koi_agent.backends.kubernetes.plugin import Plugin
from koi_agent.core.errors import BackendAbsent, BackendLost, BadInput
from koi_agent.core.frozen import frozen

MAX_FILE: Final = 256 * 1024


@frozen(kw_only=True)
class Access:
    """The address of an API server, and the credentials for it.

    ``authority`` has the certificates that are trusted, as PEM text; without it, those of the
    system are. ``certificate`` and ``certificate_key`` are PEM text, too. The file ``token_file``
    is read for each request, because its token is replaced from time to time. A ``plugin`` gives
    the token or the certificate; see ``Authenticator``. ``origin`` is the file or the place
    from which all of this comes.
    """

    origin: str
    server: str
    authority: str = ""
    is_insecure: bool = False
    certificate: str = field(default="", repr=False)
    certificate_key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    token_file: str = ""
    plugin: Plugin | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers that authenticate a request; raise ``BackendLost``."""
        token = read_token(self.token_file) if self.token_file else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def tls(self) -> ssl.SSLContext | None:
        """Return the context for TLS, None for plain HTTP; raise ``BackendLost``."""
        if not self.server.startswith("https://"):
            return None
        try:
            context = ssl.create_default_context(cadata=self.authority or None)
            # The CA certificates of many clusters lack an extension that Python 3.13 expects.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            if self.is_insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.certificate:
                _load_certificate(context, self.certificate, self.certificate_key)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise BackendLost(f"{self.origin}: a certificate is not valid: {reason}") from error
        return context


def _load_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load a certificate and its key. OpenSSL reads them from a file, here one in memory."""
    with os.fdopen(os.memfd_create("client-certificate", os.MFD_CLOEXEC), "w") as file:
        file.write(f"{certificate}\n{key}\n")
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password=_no_password)


def _no_password() -> str:
    """Return an empty password. Without this callback, OpenSSL asks at the terminal."""
    return ""


def account_access(server: str, folder: str) -> Access:
    """Return the access of a pod's service account, whose files are in a folder.

    Raises ``BackendLost`` or ``BackendAbsent``.
    """
    file = Path(folder, "ca.crt")
    try:
        authority = pem_blocks(read_file(file))
    except FileNotFoundError as error:
        raise BackendAbsent(f"{file}: {error.strerror}") from error
    except OSError as error:
        raise BackendLost(f"{file}: {error.strerror}") from error
    except BadInput as bad:
        raise BackendLost(f"{file}: {bad}") from bad
    return Access(
        origin=folder, server=server, authority=authority, token_file=str(Path(folder, "token"))
    )


def read_file(path: Path) -> bytes:
    """Return the content of a file; raise ``OSError`` or ``BadInput``. Never wait for a pipe."""
    return read_trusted(path, os.geteuid())[0]


def read_trusted(path: Path, user: int) -> tuple[bytes, bool]:
    """Return the content of a file, and whether only root or ``user``, a UID, may change it.

    Raises ``OSError`` or ``BadInput``.
    """
    with open(path, "rb", opener=_open) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise BadInput("not a regular file")
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise BadInput(f"longer than {MAX_FILE} bytes")
    is_of_others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return data, status.st_uid in (0, user) and not is_of_others


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def read_token(path: str) -> str:
    """Return the token in a file; raise ``BackendLost``."""
    try:
        token = read_file(Path(path)).decode("ascii").strip()
    except OSError as error:
        raise BackendLost(f"{path}: {error.strerror}") from error
    except (ValueError, BadInput) as error:
        raise BackendLost(f"{path}: not a token") from error
    if not is_token(token):
        raise BackendLost(f"{path}: not a token")
    return token
