"""Replaces a file as a whole: a reader sees the old content or the new one."""

from pathlib import Path


def replace(path: Path, text: str, mode: int = 0o644) -> None:
    """Write ASCII text to a file of this mode, in place of any old file; raise ``OSError``.

    It is written beside the file first, under a name that begins with a dot. No link is followed.
    """
    hidden = path.with_name(f".{path.name}.new")
    hidden.unlink(missing_ok=True)
    with open(hidden, "x", encoding="ascii") as file:  # noqa: PTH123 - "x" follows no link
        file.write(text)
    hidden.chmod(mode)  # independent of the umask
    hidden.replace(path)
