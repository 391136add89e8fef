"""The section of a Koi daemon on this host, and the readers of its settings."""

import re
from ipaddress import ip_address
from typing import Final

from koi_agent.config.dns import path
from koi_agent.config.keys import key
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.metadata.names import filled_text, shown
from koi_agent.core.metadata.values import port

_URL: Final = re.compile(r"http://(?:\[([0-9A-Fa-f:]+)\]|([0-9.]+|localhost)):([0-9]{1,5})/?")
_ADVICE: Final = "write http://127.0.0.1:5641"


def endpoint(value: str) -> str:
    """Parse the URL of a daemon on this host, or the empty text; return it without a final slash.

    A token would cross the network in clear text, and a daemon elsewhere can't reach loopback
    addresses of this host. So no other host is accepted.
    """
    if not value:
        return ""
    text = filled_text(value)
    if "@" in text:  # what may be a password is not shown
        raise BadInput(f"the URL has a user or a password; {_ADVICE}")
    match = _URL.fullmatch(text)
    if not match:
        raise BadInput(f"{shown(text)} is not the URL of a Koi daemon; {_ADVICE}")
    host = "127.0.0.1" if match[2] == "localhost" else match[1] or match[2]
    try:
        address = ip_address(host)
    except ValueError as error:
        raise BadInput(f"{shown(text)} has no valid address; {_ADVICE}") from error
    if not address.is_loopback:
        raise BadInput(f"{shown(text)} is not on this host; {_ADVICE}")
    place = f"[{address}]" if address.version == 6 else str(address)
    return f"http://{place}:{port(match[3])}"


@frozen(kw_only=True)
class KoiConfig:
    """Settings of a Koi daemon.

    ``endpoint`` is a URL and ``token_file`` a path; "" stands for none.
    """

    endpoint: str = key(
        "Endpoint",
        "",
        endpoint,
        "URL of a Koi daemon on this host, such as http://127.0.0.1:5641. If it is empty, the word"
        " koi in [Capabilities] stands for the daemon that is found by its breadcrumb.",
    )
    token_file: str = key(
        "TokenFile",
        "",
        path,
        "File with the token of that daemon, instead of the credential koi.token.",
    )
