"""The expected errors of koi-runtime. Any other error is a bug and ends the process.

KoiError
├── ConfigError        the configuration is not valid: the text has file or option, key and reason
├── BackendLost        a runtime does not answer; the agent connects again after a pause
│   └── BackendAbsent  a runtime is not on this host, or not yet
├── ProviderLost       a provider of a capability does not answer; connected again after a pause
├── ProviderRefused    a provider did not do all that was requested; it is requested again
└── BadInput           one value or message from outside is not valid; it is skipped
"""

from collections.abc import Iterator
from contextlib import contextmanager


class KoiError(Exception):
    """The root of all expected errors; the text is for the administrator."""


class ConfigError(KoiError):
    """The configuration is not valid."""


class BackendLost(KoiError):
    """A runtime stopped answering. Its instances are kept and marked as stale."""


class BackendAbsent(BackendLost):
    """A runtime is not on this host, or not yet."""


class ProviderLost(KoiError):
    """A provider of a capability is gone, and all records that it published with it."""


class ProviderChanged(ProviderLost):
    """Another program acts for a capability from now on: the session ends, and nothing failed."""


class ProviderRefused(KoiError):
    """A provider did not do what was requested for one instance."""


class BadInput(KoiError):
    """One value or message from outside is not valid."""


@contextmanager
def ungrouped(*expected: type[Exception]) -> Iterator[None]:
    """Raise the first expected error of a task group by itself; a group with a bug passes as is.

    ``except*`` can't do this: before Python 3.11.4, an error raised in it is in a group again.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        if group.split(expected)[1] is not None:
            raise
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
