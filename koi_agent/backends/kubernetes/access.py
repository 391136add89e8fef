"""How a cluster is reached: address, authority and credentials of its API server."""

import os
import re
import ssl
import stat
from dataclasses import field
from pathlib import Path
from typing import Final

from koi_agent.core.errors import BackendAbsent, BackendLost, BadInput
from koi_agent.core.frozen import frozen

MAX_FILE: Final = 256 * 1024
_PEM: Final = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]+)-----(?:(?!-----BEGIN).)*?-----END \1-----", re.DOTALL
)


@frozen(kw_only=True)
class Access:
    """The address of an API server, and the credentials for it.

    ``authority`` has the certificates that are trusted, as PEM text; without it, those of the
    system are. ``certificate`` and ``certificate_key`` are PEM text, too. The file ``token_file``
    is read for each request, because its token is replaced from time to time. ``origin`` is the
    file or the place from which all of this comes.
    """

    origin: str
    server: str
    authority: str = ""
    is_insecure: bool = False
    certificate: str = field(default="", repr=False)
    certificate_key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    token_file: str = ""

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
    with open(path, "rb", opener=_open) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise BadInput("not a regular file")
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise BadInput(f"longer than {MAX_FILE} bytes")
    return data


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def pem_blocks(data: bytes) -> str:
    """Return the blocks of a PEM text without the text between them; raise ``BadInput``."""
    blocks = [found.group() for found in _PEM.finditer(data)]
    try:
        text = "".join(f"{block.decode('ascii')}\n" for block in blocks)
    except UnicodeError:
        text = ""
    if not text:
        raise BadInput("not PEM")
    return text


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


def is_token(text: str) -> bool:
    """Return True for a text that a header can carry."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
