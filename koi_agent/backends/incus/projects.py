"""The projects whose instances are followed."""

from fnmatch import fnmatchcase

from koi_agent.core.frozen import frozen


@frozen()
class Projects:
    """Glob patterns of names of projects, of which one must match."""

    patterns: tuple[str, ...]

    def include(self, project: str) -> bool:
        """Return True if the instances of a project are followed."""
        return any(fnmatchcase(project, pattern) for pattern in self.patterns)
