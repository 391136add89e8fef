"""The installed examples are parsed as their comments describe."""

import re
from pathlib import Path

from koi_agent.config import Flags, load
from koi_agent.core.metadata.parser import from_labels, from_unit_keys
from koi_agent.core.unit_file.syntax import parse

EXAMPLES = Path(__file__).parents[2] / "packaging/examples"


def test_the_configuration_is_read_without_a_warning(tmp_path: Path) -> None:
    place = tmp_path / "koi-runtime/koi-runtime.conf.d/10-local.conf"
    place.parent.mkdir(parents=True)
    place.symlink_to(EXAMPLES / "koi-runtime.conf.d-local.conf")
    environment = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    loaded = load(Flags(scope="user"), environment)
    assert not loaded.warnings
    assert {one.key for one in loaded.settings if one.origin.file == str(place)} == {
        *("Listen", "ExcludeUnits", "Interval")
    }


def test_the_drop_in_opts_in_and_nothing_of_it_is_refused() -> None:
    document = parse(EXAMPLES.joinpath("wiki.service.d-koi.conf").read_bytes())
    metadata = from_unit_keys(((e.section, e.key, e.value) for e in document.entries), {})
    assert not document.ignored
    assert (metadata.enable, metadata.name, metadata.refused) == (True, "wiki", ())


def test_the_labels_opt_in_and_nothing_of_them_is_refused() -> None:
    text = EXAMPLES.joinpath("compose.yaml").read_text()
    labels = dict(re.findall(r"^ +(koi\.[a-z.]+): (.+)$", text, re.MULTILINE))
    metadata = from_labels(labels, {})
    assert (metadata.enable, metadata.name, metadata.refused) == (True, "wiki", ())
    assert metadata.health_path == "/"
