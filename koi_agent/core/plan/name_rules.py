"""The names that instances may have on the network."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.metadata.names import RESERVED, shown
from koi_agent.core.titles import DOMAIN


@frozen(kw_only=True)
class NameRules:
    """The administrator's patterns, in lower case. ``deny`` overrides ``allow``.

    A pattern is compared with each label of a name. One with a dot allows whole names, and any
    pattern denies them.
    """

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()

    def check(self, name: str) -> None:
        """Raise ``BadInput`` for a name of mDNS that no instance may have; its case is ignored."""
        bare = name.lower().removesuffix(DOMAIN)
        self._check(name, (bare,), (f"{bare}{DOMAIN}",))

    def check_full(self, full: str, inner: str) -> None:
        """Raise ``BadInput`` for a DNS name that no instance may have.

        ``inner`` is the part before its domain.
        """
        self._check(full, inner.split("."), (inner, full))

    def _check(self, name: str, labels: Sequence[str], wholes: Sequence[str]) -> None:
        for label in labels:
            if label in RESERVED:
                raise BadInput(f"{shown(label)} is reserved: clients treat it specially")
        for text in (*labels, *wholes):
            if pattern := next((one for one in self.deny if fnmatchcase(text, one)), ""):
                raise BadInput(f"{shown(text)} is denied by DenyNames={pattern}")
        dotted = [pattern for pattern in self.allow if "." in pattern]
        is_whole = any(_matches(text, dotted) for text in wholes)
        if not is_whole and not all(_matches(label, self.allow) for label in labels):
            raise BadInput(f"{shown(name)} is not among AllowNames=")


def _matches(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)
