"""Which texts and names are safe to pass on; what is not is refused, never mangled.

Every function returns the text it accepts, or raises ``BadInput`` with a reason for the owner.
Reasons show the owner's own value clipped and with ``repr``, so that no reason carries a control
character into a journal or a terminal.
"""

import re

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Protocol
from koi_agent.core.text import UNSAFE, printable

LONGEST_TEXT = 4096
MOST_SUBTYPES = 8

_SERVICE_TYPE = re.compile(r"_([A-Za-z0-9-]+)\._(?:tcp|udp)")
_SERVICE_NAME = re.compile(r"(?=.*[A-Za-z])(?!.*--)[A-Za-z0-9][A-Za-z0-9-]*(?<!-)")
_SUBTYPE = re.compile(r"_?([A-Za-z0-9][A-Za-z0-9-]{0,60}[A-Za-z0-9])")
_DNS_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def shown(value: str) -> str:
    """Make a value fit for a reason."""
    return repr(value) if len(value) <= 40 else repr(value[:40]) + "…"


def shown_key(key: str) -> str:
    """Keep a key as its owner spelled it, as far as it can be shown."""
    return printable(key, 120)


def bounded(value: str) -> str:
    if len(value) > LONGEST_TEXT:
        raise BadInput(f"longer than {LONGEST_TEXT} characters")
    return value


def safe_text(value: str) -> str:
    if UNSAFE.search(bounded(value)):
        raise BadInput(f"{shown(value)} holds control characters")
    return value


def filled_text(value: str) -> str:
    if text := safe_text(value).strip():
        return text
    raise BadInput("the value is empty")


def instance_name(value: str) -> str:
    """Accept a DNS-SD instance name (RFC 6763 section 4.1.1): one label of any UTF-8 text."""
    name = filled_text(value)
    if (size := len(name.encode())) > 63:
        raise BadInput(f"{shown(name)} is {size} bytes, and a service name holds at most 63")
    return name


def service_type(value: str) -> str:
    """Accept ``_http._tcp`` (RFC 6335 section 5.1); case has no meaning there, so it is lowered."""
    given = filled_text(value)
    match = _SERVICE_TYPE.fullmatch(given)
    if not match:
        raise BadInput(f"{shown(given)} is no service type: write it like _http._tcp or _dns._udp")
    if len(match[1]) > 15 or not _SERVICE_NAME.fullmatch(match[1]):
        raise BadInput(
            f"{shown(given)} is no service type: the name in it has 1 to 15 letters, digits and"
            " single hyphens inside, with at least one letter"
        )
    return given.lower()


def subtypes(value: str) -> tuple[str, ...]:
    """Accept subtypes of a service type (RFC 6763 section 7.1), set apart by commas or spaces.

    Avahi knows none without the underscore, which is therefore put there, and none of one letter.
    """
    given = {
        subtype: _SUBTYPE.fullmatch(subtype)
        for subtype in filled_text(value).replace(",", " ").split()
    }
    for subtype, match in given.items():
        if not match:
            raise BadInput(
                f"{shown(subtype)} is no subtype: write it like _printer, with letters, digits and"
                " inner hyphens, two at least"
            )
    found = tuple(sorted({f"_{match[1].lower()}" for match in given.values() if match}))
    if not 1 <= len(found) <= MOST_SUBTYPES:
        raise BadInput(f"{len(found)} subtypes: there may be 1 to {MOST_SUBTYPES}")
    return found


def protocol_of(accepted_type: str) -> Protocol:
    """Tell the transport of a service type that ``service_type`` accepted."""
    return Protocol(accepted_type[-3:])


def dns_name(value: str) -> str:
    """Accept a host name (RFC 1123 section 2.1) in lower case, without a trailing dot.

    A name that ends in a number would be read as an IPv4 address, and ``localhost`` belongs to
    every host itself (RFC 6761 section 6.3).
    """
    given = filled_text(value)
    name = given.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253:
        raise BadInput(f"{shown(given)} is longer than the 253 characters of a DNS name")
    if not all(map(_DNS_LABEL.fullmatch, labels)):
        raise BadInput(
            f"{shown(given)} is no DNS name: between its dots are 1 to 63 letters, digits and"
            " inner hyphens"
        )
    if len(labels) > 1 and labels[-1].isdecimal():
        raise BadInput(f"{shown(given)} reads as an address, not as a DNS name")
    if name.lower() == "localhost":
        raise BadInput("localhost is every host's own name")
    return name.lower()
