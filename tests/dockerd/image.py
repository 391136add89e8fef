"""The image of all containers in tests: busybox, packed here, so no registry is needed."""

import io
import shutil
import tarfile
from typing import Final
from urllib.parse import quote

from tests.dockerd.engine import IMAGE, Engine

APPLETS: Final = ("cat", "false", "httpd", "kill", "nc", "sh", "sleep", "test", "true")
# As PID 1 of a container, a program without a handler ignores SIGTERM, and the daemon kills it 10 s
# later. This one ends at once.
COMMAND: Final = 'CMD ["sh", "-c", "trap exit TERM; sleep 100000 & wait"]'


def load(engine: Engine) -> None:
    """Import the image into the daemon."""
    target = f"/images/create?fromSrc=-&repo={IMAGE}&changes={quote(COMMAND)}"
    engine.call("POST", target, archive())


def archive() -> bytes:
    """Return a tar archive with busybox under the names of its applets."""
    busybox = shutil.which("busybox")
    assert busybox is not None, "missing() checks for it"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return packed.getvalue()
