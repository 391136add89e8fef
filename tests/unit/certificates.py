"""Certificates of an authority that only a test trusts."""

import shutil
import ssl
import subprocess
from pathlib import Path

from tests.conftest import require


def authority(folder: Path, address: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate for an IP address; return the contexts of a client and of its server."""
    if not shutil.which("openssl"):
        require("openssl", "the program is not installed")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=koi-runtime test"),
            *("-addext", f"subjectAltName=IP:{address}"),
            *("-out", str(certificate), "-keyout", str(key)),
        ],
        check=True,
        capture_output=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return ssl.create_default_context(cafile=str(certificate)), server
