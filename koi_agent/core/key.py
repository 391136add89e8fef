"""The name of an instance among those of all backends."""

from typing import NamedTuple, Self

from koi_agent.core.errors import BadInput


class Key(NamedTuple):
    """A backend's name and the id that this backend gives the instance.

    The text form is ``backend:id``. A backend's name has no colon; an id may have some.
    """

    backend: str
    id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``backend:id``. Raises ``BadInput`` if there is no backend or no id."""
        backend, _, id_ = text.partition(":")
        if not backend or not id_:
            raise BadInput(f"instance key: not of the form BACKEND:ID: '{text[:300]}'")
        return cls(backend, id_)

    def __str__(self) -> str:
        """Return ``backend:id``."""
        return f"{self.backend}:{self.id}"
