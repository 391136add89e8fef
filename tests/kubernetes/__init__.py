"""A real cluster without machines: etcd, the API server and the controllers of Kubernetes.

``make kubernetes-test`` builds them, as one program. ``KUBE_APISERVER`` is its path.
"""

import os
from pathlib import Path
from typing import Final

PROGRAM: Final = os.environ.get("KUBE_APISERVER", "")
"""The program: its first argument is the part that it runs as; see main.go."""


def missing() -> str:
    """Return why there is no API server; "" if there is one."""
    if not PROGRAM:
        return "KUBE_APISERVER is not set; run make kubernetes-test"
    return "" if os.access(PROGRAM, os.X_OK) else f"KUBE_APISERVER: not a program: {Path(PROGRAM)}"
