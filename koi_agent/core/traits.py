"""How the instances of each kind of backend behave: the core knows no backend by name."""

from dataclasses import replace

from koi_agent.core.frozen import frozen


@frozen(kw_only=True)
class Traits:
    """How the instances of a backend behave.

    The core decides by these values. It does not know the names of backends.
    """

    is_unit: bool = False
    """The id is a unit's name. A workload of another backend can be the same thing as the unit."""
    has_creation_time: bool = True
    """``created_at`` ranks instances that request the same name."""
    is_routable: bool = False
    """Other hosts reach an unpublished port at the instance's own addresses."""
    is_checked: bool = True
    """A published TCP port is checked without any metadata."""
    has_near_addresses: bool = False
    """This host reaches the instance's own addresses, whatever its networks are."""
    shares_ports: bool = False
    """A published port may lead to another instance: a check asks this one at its own address.

    All instances to which one port leads are of one project.
    """
    ends_for_good: bool = False
    """An instance that is ending does not start again: its records are withdrawn at once."""
    has_final_health: bool = True
    """The health that the runtime reports takes precedence over a check by the agent."""
    is_shown: bool = True
    """The instance is visible itself, not only as another one that takes its place."""
    has_unit_ports: bool = False
    """Ports that the metadata of its unit names are ports of the instance."""
    opt_in: str = "the label koi.enable=true"
    """The metadata that opts an instance in, as shown to users."""


CONTAINER = Traits()
"""Traits of an engine's containers."""
UNIT = Traits(
    is_unit=True,
    has_creation_time=False,
    is_checked=False,
    has_final_health=False,
    opt_in="X-Koi-Enable=yes in its unit file",
)
"""Traits of a service manager's units. A unit's health is its readiness, which is reported once."""
MACHINE_UNIT = replace(UNIT, is_shown=False)
"""Traits of a unit that is followed only for the metadata of the machine in it."""
POD = Traits(
    is_checked=False,
    shares_ports=True,
    ends_for_good=True,
    opt_in='the annotation koi.sylin.org/enable: "true"',
)
"""Traits of a pod. Its own addresses are those of the cluster's network."""
LOCAL_POD = replace(POD, has_near_addresses=True, is_checked=True)
"""Traits of a pod of this host, which reaches it, as each node of a cluster does its own pods."""
MACHINE = Traits(
    is_routable=True,
    is_checked=False,
    has_final_health=False,
    has_unit_ports=True,
    opt_in="X-Koi-Enable=yes in its unit file",
)
"""Traits of a machine with a network of its own. Its health is whether it runs."""
HOST_MACHINE = replace(MACHINE, is_routable=False)
"""Traits of a machine on the host's network."""
