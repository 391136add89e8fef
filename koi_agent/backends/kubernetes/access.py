"""How a cluster is reached: address, authority and credentials of its API server."""

import os
import ssl
from dataclasses import field
from pathlib import Path

from koi_agent.core.errors import BackendAbsent, BackendLost
from koi_agent.core.frozen import frozen

_LONGEST_TOKEN = 64 * 1024


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
            # The authorities of many clusters lack an extension that Python 3.13 expects.
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
    """Load a certificate and its key, which OpenSSL reads from a file: here one in memory."""
    with os.fdopen(os.memfd_create("client-certificate", os.MFD_CLOEXEC), "w") as file:
        file.write(f"{certificate}\n{key}\n")
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password=_no_password)


def _no_password() -> str:
    """Return no password: without this, OpenSSL asks for one at the terminal."""
    return ""


def account_access(server: str, folder: str) -> Access:
    """Return the access of a pod's service account, whose files are in a folder.

    Raises ``BackendLost`` or ``BackendAbsent``.
    """
    file = Path(folder, "ca.crt")
    try:
        authority = file.read_text("ascii")
    except FileNotFoundError as error:
        raise BackendAbsent(f"{file}: {error.strerror}") from error
    except OSError as error:
        raise BackendLost(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise BackendLost(f"{file}: not PEM") from error
    return Access(
        origin=folder, server=server, authority=authority, token_file=str(Path(folder, "token"))
    )


def read_token(path: str) -> str:
    """Return the token in a file; raise ``BackendLost``."""
    try:
        with Path(path).open(encoding="ascii") as file:
            token = file.read(_LONGEST_TOKEN).strip()
    except OSError as error:
        raise BackendLost(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise BackendLost(f"{path}: not a token") from error
    if not is_token(token):
        raise BackendLost(f"{path}: not a token")
    return token


def is_token(text: str) -> bool:
    """Return True for a text that a header can carry."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
