"""The projects whose instances are followed."""

import re
from fnmatch import fnmatchcase
from typing import Final

from koi_agent.core.frozen import frozen

_ALL: Final = "*"
_OF_USER: Final = re.compile("user-[0-9]+")
"""The project that incus-user or lxd-user gives an unprivileged user: its name has the UID."""


@frozen()
class Projects:
    """Glob patterns of names of projects, of which one must match."""

    patterns: tuple[str, ...] = (_ALL,)

    def include(self, project: str) -> bool:
        """Return True if the instances of a project are followed."""
        return any(fnmatchcase(project, pattern) for pattern in self.patterns)

    def trust(self, project: str) -> bool:
        """Return True if the metadata of a project's instances counts.

        In its own project, an unprivileged user decides on metadata. It counts if the administrator
        names the project, and not only all projects.
        """
        if not _OF_USER.fullmatch(project):
            return True
        return any(fnmatchcase(project, one) for one in self.patterns if one != _ALL)
