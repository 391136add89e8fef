"""The names that instances may have on the network."""

from fnmatch import fnmatchcase

from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.metadata.names import RESERVED, shown


@frozen(kw_only=True)
class NameRules:
    """The administrator's patterns, in lower case. ``deny`` overrides ``allow``."""

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()

    def check(self, name: str) -> None:
        """Raise ``BadInput`` for a name that no instance may have; its case is ignored."""
        folded = name.lower()
        if folded.removesuffix(".local") in RESERVED:
            raise BadInput(f"{shown(name)} is reserved: clients treat it specially")
        if pattern := next((one for one in self.deny if fnmatchcase(folded, one)), ""):
            raise BadInput(f"{shown(name)} is denied by DenyNames={pattern}")
        if not any(fnmatchcase(folded, one) for one in self.allow):
            raise BadInput(f"{shown(name)} is not among AllowNames=")
