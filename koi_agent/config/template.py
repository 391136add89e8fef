"""Prints the koi-runtime.conf that is shipped: all keys with their defaults, commented out.

``make settings`` writes packaging/koi-runtime.conf by this, and a test compares the two.
"""

import sys
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from textwrap import wrap
from typing import Final

from koi_agent.config.keys import sections
from koi_agent.config.settings import KEYS, Config

WIDTH: Final = 84
"""Columns of a comment."""
HEAD: Final = """\
# Configuration of koi-runtime. All keys are listed with their defaults, commented out.
#
# This file belongs to the package. Put your own settings into drop-ins such as
# /etc/koi-runtime/koi-runtime.conf.d/10-local.conf, which are read after this file.
# A file /etc/koi-runtime/koi-runtime.conf replaces this file. The agent of a user
# reads ~/.config/koi-runtime, and /etc/koi-runtime/user for all users.
#
# "koi-runtime cat-config" shows all settings and their origins. "systemctl reload
# koi-runtime" applies changes, and refuses an invalid configuration.
#
# See koi-runtime.conf(5) for details.
"""


def template() -> str:
    """Return the text of the file."""
    return HEAD + "".join(f"{line}\n" for line in _lines())


def _lines() -> Iterator[str]:
    comments = {one.name: one.comment for one in sections(Config).values()}
    for section, keys in groupby(KEYS, attrgetter("section")):
        yield ""
        yield from _comment(comments.get(section, ""))
        yield f"[{section}]"
        for key in keys:
            yield from _comment(key.comment)
            yield f"#{key.name}={key.default}"


def _comment(text: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


if __name__ == "__main__":
    sys.stdout.write(template())
