"""The settings of a unit file that keep packets out (systemd.resource-control(5))."""

from typing import Final

from koi_agent.core.reach.filters import OPEN, AddressFilter, networks_of

FILTER_KEYS: Final = frozenset({"IPAddressAllow", "IPAddressDeny", "RestrictNetworkInterfaces"})


class FilterSettings:
    """The assignments of a unit's files, one after the other: values add up, an empty one resets.

    The first value of RestrictNetworkInterfaces= decides whether the list allows or, with ``~``,
    denies. A later value of the other kind removes names.
    """

    def __init__(self) -> None:
        self._allow: dict[str, None] = {}
        self._deny: dict[str, None] = {}
        self._interfaces: dict[str, None] = {}
        self._denies = False

    def assign(self, key: str, value: str) -> None:
        """Apply one assignment; other keys than ``FILTER_KEYS`` are ignored."""
        if key not in FILTER_KEYS:
            return
        if key == "RestrictNetworkInterfaces":
            self._restrict(value)
            return
        networks = self._allow if key == "IPAddressAllow" else self._deny
        if not value.strip():
            networks.clear()
        networks.update(dict.fromkeys(networks_of(value)))

    def _restrict(self, value: str) -> None:
        denies = value.startswith("~")
        names = value.removeprefix("~").split()
        if not names:
            self._interfaces.clear()
        elif not self._interfaces or denies is self._denies:
            self._denies = denies
            self._interfaces.update(dict.fromkeys(names))
        else:
            for name in names:
                self._interfaces.pop(name, None)

    def result(self) -> AddressFilter:
        """Return the filter of all assignments."""
        if not (self._allow or self._deny or self._interfaces):
            return OPEN
        return AddressFilter(
            allow=tuple(self._allow),
            deny=tuple(self._deny),
            interfaces=tuple(self._interfaces),
            denies_interfaces=self._denies,
        )
