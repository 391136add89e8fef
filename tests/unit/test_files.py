"""Files are replaced as a whole."""

from pathlib import Path

import pytest

from koi_agent.host.files import replace


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_is_replaced_with_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "one"
    for text in ("old", "new"):
        replace(path, text, mode)
        assert (path.read_text(), path.stat().st_mode & 0o777) == (text, mode)
    assert [*tmp_path.iterdir()] == [path]


def test_a_link_that_was_planted_is_not_followed(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "one"
    target.write_text("precious")
    path.symlink_to(target)
    (tmp_path / ".one.new").symlink_to(target)
    replace(path, "new")
    assert (target.read_text(), path.read_text()) == ("precious", "new")
    assert not path.is_symlink()


def test_a_file_that_cannot_be_written_stays(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("old")
    (tmp_path / ".one.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace(path, "new")
    assert path.read_text() == "old"
