"""systemd-resolved from Debian's package, unpacked by make: installing it would change the host."""

import os
from pathlib import Path
from typing import Final

UNPACKED: Final = Path(__file__).parents[2] / "build/resolved"
USER: Final = "systemd-resolve"
SETTINGS: Final = "[Resolve]\nMulticastDNS=yes\nLLMNR=no\nDNSStubListener=no\n"


def missing() -> str:
    """Return what this host lacks; "" if nothing."""
    return "" if (UNPACKED / "usr/bin/resolvectl").exists() else "not unpacked (make does)"


def command(program: str) -> tuple[str, ...]:
    """Return the command for ``systemd-resolved`` or ``resolvectl`` with its own library."""
    (library,) = UNPACKED.glob("usr/lib/*/systemd")
    programs = (path for path in UNPACKED.glob(f"**/{program}") if path.is_file())
    path = next(path for path in programs if os.access(path, os.X_OK))
    return "env", f"LD_LIBRARY_PATH={library}", str(path)
