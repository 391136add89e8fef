"""The expected troubles of koi-runtime; everything else is a bug and ends the process.

KoiError
├── ConfigError        the configuration can't be used: names file or flag, key and reason
├── BackendLost        a runtime is gone or does not answer; it is followed again after a pause
│   └── BackendAbsent  a runtime is not there at all (yet)
├── ProviderLost       whoever makes records known is gone or does not answer; tried again
├── ProviderRefused    some of what was asked of a provider was not done; tried again
└── BadInput           one record of foreign data can't be used; it is skipped, the rest goes on
"""

from collections.abc import Iterator
from contextlib import contextmanager


class KoiError(Exception):
    """The root of what may be expected to go wrong; its text is for the operator."""


class ConfigError(KoiError):
    """The configuration can't be used."""


class BackendLost(KoiError):
    """A runtime stopped answering; what is known of it is kept, marked stale."""


class BackendAbsent(BackendLost):
    """A runtime is not on this host (yet)."""


class ProviderLost(KoiError):
    """What a capability acts through is gone, and with it all that was made known."""


class ProviderRefused(KoiError):
    """A provider did not do what was asked of it for one instance."""


class BadInput(KoiError):
    """One foreign record can't be used."""


@contextmanager
def ungrouped(*expected: type[Exception]) -> Iterator[None]:
    """Let the first trouble of a task group out as itself, unless there is a bug among them.

    ``except*`` can't: before Python 3.11.4 what is raised in it comes out in a group again.
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
