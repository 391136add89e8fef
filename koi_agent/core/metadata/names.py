"""The names and texts that may be published. A text that breaks a rule is refused, never changed.

Every function returns the text that it accepts or raises ``BadInput``. The reason shows the value
clipped and with ``repr``, so that it carries no control character into a journal or a terminal.
"""

import re
from typing import Final

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import Protocol
from koi_agent.core.text import UNSAFE, printable

LONGEST_TEXT = 4096
MOST_SUBTYPES = 8

RESERVED: Final = frozenset(
    {
        # Clients look these up by themselves, and trust the answer (proxies, tunnels).
        *("wpad", "isatap"),
        # Names that systemd-resolved synthesizes for each host, and RFC 6761.
        *("localhost", "_gateway", "_outbound", "_localdnsstub", "_localdnsproxy"),
    }
)
"""Names that no instance gets in any configuration."""

_SERVICE_TYPE = re.compile(r"_([A-Za-z0-9-]+)\._(?:tcp|udp)")
_SERVICE_NAME = re.compile(r"(?=.*[A-Za-z])(?!.*--)[A-Za-z0-9][A-Za-z0-9-]*(?<!-)")
_SUBTYPE = re.compile(r"_?([A-Za-z0-9][A-Za-z0-9-]{0,60}[A-Za-z0-9])")
_DNS_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def shown(value: str) -> str:
    """Return a value for a reason: quoted, escaped, at most 40 characters of it."""
    return repr(value) if len(value) <= 40 else repr(value[:40]) + "…"


def shown_key(key: str) -> str:
    """Return a key for a refusal, escaped and at most 120 characters long."""
    return printable(key, 120)


def bounded(value: str) -> str:
    """Accept a text of at most ``LONGEST_TEXT`` characters."""
    if len(value) > LONGEST_TEXT:
        raise BadInput(f"the value is longer than {LONGEST_TEXT} characters")
    return value


def safe_text(value: str) -> str:
    """Accept a bounded text without control characters."""
    if UNSAFE.search(bounded(value)):
        raise BadInput(f"{shown(value)} contains control characters")
    return value


def filled_text(value: str) -> str:
    """Accept a safe text that is not empty, and strip white space around it."""
    if text := safe_text(value).strip():
        return text
    raise BadInput("the value is empty")


def instance_name(value: str) -> str:
    """Accept a DNS-SD instance name (RFC 6763 section 4.1.1): one label of any UTF-8 text."""
    name = filled_text(value)
    if (size := len(name.encode())) > 63:
        raise BadInput(f"{shown(name)} has {size} bytes; a service name has at most 63")
    return name


def service_type(value: str) -> str:
    """Accept ``_http._tcp`` (RFC 6335 section 5.1) in any case; return it in lower case."""
    text = filled_text(value)
    match = _SERVICE_TYPE.fullmatch(text)
    if not match:
        raise BadInput(
            f"{shown(text)} is not a service type; write it like _http._tcp or _dns._udp"
        )
    if len(match[1]) > 15 or not _SERVICE_NAME.fullmatch(match[1]):
        raise BadInput(
            f"{shown(text)} is not a service type; its name has 1 to 15 letters, digits and"
            " single inner hyphens, and at least one letter"
        )
    return text.lower()


def subtypes(value: str) -> tuple[str, ...]:
    """Accept subtypes (RFC 6763 section 7.1), separated by commas or spaces; return them sorted.

    Avahi requires the underscore, which is added if it is missing, and a second character.
    """
    matches = {
        subtype: _SUBTYPE.fullmatch(subtype)
        for subtype in filled_text(value).replace(",", " ").split()
    }
    for subtype, match in matches.items():
        if not match:
            raise BadInput(
                f"{shown(subtype)} is not a subtype; write it like _printer, with at least two"
                " letters, digits and inner hyphens"
            )
    accepted = tuple(sorted({f"_{match[1].lower()}" for match in matches.values() if match}))
    if not 1 <= len(accepted) <= MOST_SUBTYPES:
        raise BadInput(f"the value has {len(accepted)} subtypes; use 1 to {MOST_SUBTYPES}")
    return accepted


def protocol_of(accepted_type: str) -> Protocol:
    """Return the protocol of a service type that ``service_type`` has accepted."""
    return Protocol(accepted_type[-3:])


def dns_name(value: str) -> str:
    """Accept a host name; return it in lower case, without a final dot.

    ``localhost`` is reserved for each host itself (RFC 6761 section 6.3).
    """
    name = host_header(value)
    if name == "localhost":
        raise BadInput("localhost is reserved for each host itself; use another name")
    if wrong := next((one for one in name.split(".") if not _is_idna(one)), ""):
        raise BadInput(f"{shown(wrong)} is not valid Punycode (RFC 3492); use another name")
    return name


def _is_idna(label: str) -> bool:
    """Return False for a label that begins with xn-- and stands for no text beyond ASCII.

    Programs that decode names refuse it, together with the whole configuration that contains it.
    """
    if not label.startswith("xn--"):
        return True
    encoded = label.removeprefix("xn--")
    try:
        text = encoded.encode("ascii").decode("punycode")
        text.encode()  # fails for a surrogate
        return not text.isascii() and text.encode("punycode").decode("ascii") == encoded
    except UnicodeError:
        return False


def host_header(value: str) -> str:
    """Accept a host name (RFC 1123 section 2.1); return it in lower case, without a final dot.

    A name that ends in a number would be read as an IPv4 address.
    """
    text = filled_text(value)
    name = text.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253:
        raise BadInput(f"{shown(text)} is longer than the 253 characters of a DNS name")
    if not all(map(_DNS_LABEL.fullmatch, labels)):
        raise BadInput(
            f"{shown(text)} is not a DNS name; each label has 1 to 63 letters, digits and inner"
            " hyphens"
        )
    if len(labels) > 1 and labels[-1].isdecimal():
        raise BadInput(f"{shown(text)} reads as an IP address, not as a DNS name")
    return name.lower()
