"""The image of all containers in tests: busybox, built here because no registry is reachable."""

import io
import shutil
import tarfile
from typing import Final
from urllib.parse import quote

from tests.dockerd.engine import IMAGE, Engine

APPLETS: Final = ("cat", "false", "httpd", "kill", "nc", "sh", "sleep", "test", "true")
# As PID 1 of a container, a program without a handler ignores SIGTERM: each stop would take
# 10 s, until the daemon sends SIGKILL. This one ends at once.
COMMAND: Final = 'CMD ["sh", "-c", "trap exit TERM; sleep 100000 & wait"]'


def load(engine: Engine) -> None:
    """Load the image into the daemon."""
    target = f"/images/create?fromSrc=-&repo={IMAGE}&changes={quote(COMMAND)}"
    engine.call("POST", target, archive())


def archive() -> bytes:
    """Return a tar archive with busybox and a link for each applet."""
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
