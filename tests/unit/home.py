"""The configuration files of a user, in a temporary folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from koi_agent.config import Flags, Loaded, load
from koi_agent.core.errors import ConfigError


@dataclass
class Home:
    """The configuration files of a user."""

    folder: Path
    flags: Flags = field(default_factory=lambda: Flags(scope="user"))

    @property
    def main(self) -> Path:
        return self.folder / "koi-runtime" / "koi-runtime.conf"

    def write(self, *lines: str) -> None:
        self.main.parent.mkdir(exist_ok=True)
        self.main.write_text("\n".join(lines))

    def drop_in(self, name: str, *lines: str) -> Path:
        path = self.main.with_suffix(".conf.d") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines))
        return path

    def load(self, environment: Mapping[str, str] | None = None) -> Loaded:
        return load(self.flags, {"XDG_CONFIG_HOME": str(self.folder)} | dict(environment or {}))

    def refused(self, environment: Mapping[str, str] | None = None) -> str:
        with pytest.raises(ConfigError) as refused:
            self.load(environment)
        return str(refused.value)
