"""TSIG keys, secrets that the agent shares with its servers. They are never logged."""

from collections.abc import Mapping
from pathlib import Path

from koi_agent.capabilities.dns.messages import Keyring, key
from koi_agent.core.errors import BadInput


def credential(name: str, environment: Mapping[str, str]) -> Path:
    """Return the file of the credential ``dns-key.NAME`` (systemd.exec(5))."""
    return Path(environment.get("CREDENTIALS_DIRECTORY", "/nonexistent"), f"dns-key.{name}")


def read_key(name: str, file: Path) -> Keyring:
    """Read the key of this name from a file; raise ``BadInput`` with the reason."""
    try:
        owner, secret = key(name, file.read_text("ascii"))
    except OSError as error:
        raise BadInput(error.strerror or "it can't be read") from error
    except UnicodeError as error:
        raise BadInput("it is not ASCII text") from error
    return {owner: secret}
