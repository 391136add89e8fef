"""Generates the completions that a wheel contains; pyproject.toml has everything else."""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent

# pyproject.toml lists the files in build/completion, so they must exist before it is read.
subprocess.run(
    [sys.executable, "-B", "packaging/completion/generate.py", "build/completion"],
    check=True,
    cwd=HERE,
    env=os.environ | {"PYTHONPATH": str(HERE)},
)
setup()
