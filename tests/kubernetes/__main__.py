"""Prints the path of the program with the parts of Kubernetes: ``python -m tests.kubernetes``.

It is built if it is missing, which takes ten minutes on two processors, 2.2 GB of memory and the
modules of proxy.golang.org. It stays below ``build/kubernetes``, by the hash of its recipe.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.kubernetes import PROGRAM, missing
from tests.namespaces import CHECKOUT

RECIPE: Final = Path(__file__).parent
SOURCES: Final = ("go.mod", "go.sum", "main.go")
VERSION: Final = "k8s.io/component-base/version"
LINKED: Final = {"gitVersion": "v1.36.3", "gitMajor": "1", "gitMinor": "36"}
"""What the parts report as their version: that of k8s.io/kubernetes in go.mod."""
GO: Final = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/local/go/bin"


def main() -> int:
    if PROGRAM:
        if missing():
            sys.exit(missing())
        print(PROGRAM)  # noqa: T201 - for make
        return 0
    go = shutil.which("go", path=GO)
    if go is None:
        sys.exit("go is not installed; install Go 1.26, or set KUBE_APISERVER=")
    print(built(go))  # noqa: T201 - for make
    return 0


def built(go: str) -> Path:
    """Return the program that the recipe makes, which is built unless it is there."""
    program = CHECKOUT / "build/kubernetes" / digest() / "kubernetes"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        flags = " ".join(f"-X {VERSION}.{name}={value}" for name, value in LINKED.items())
        unfinished = program.with_name(f"unfinished-{os.getpid()}")
        subprocess.run(
            [go, "build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(unfinished), "."],
            check=True,
            cwd=RECIPE,
            env={**os.environ, "CGO_ENABLED": "0"},
        )
        unfinished.rename(program)
    return program


def digest() -> str:
    """Return the hash of all from which the program is made."""
    whole = hashlib.sha256(repr(LINKED).encode())
    for name in SOURCES:
        whole.update((RECIPE / name).read_bytes())
    return whole.hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
