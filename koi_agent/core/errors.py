"""The expected troubles of koi-runtime; everything else is a bug and ends the process.

KoiError
├── ConfigError        the configuration can't be used: names file or flag, key and reason
├── BackendLost        a runtime is gone or does not answer; it is followed again after a pause
│   └── BackendAbsent  a runtime is not there at all (yet)
└── BadInput           one record of foreign data can't be used; it is skipped, the rest goes on
"""


class KoiError(Exception):
    """The root of what may be expected to go wrong; its text is for the operator."""


class ConfigError(KoiError):
    """The configuration can't be used."""


class BackendLost(KoiError):
    """A runtime stopped answering; what is known of it is kept, marked stale."""


class BackendAbsent(BackendLost):
    """A runtime is not on this host (yet)."""


class BadInput(KoiError):
    """One foreign record can't be used."""
