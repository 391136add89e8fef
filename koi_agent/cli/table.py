"""Prints tables as systemd's tools do: aligned columns, a header, and a count below."""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from koi_agent.cli.output import Output, Style
from koi_agent.core.text import printable

GAP = " "
SHORT = 1024
"""Number of characters up to which any text is shown whole."""
NARROWEST = 8
"""The least width of a column, in characters of the terminal."""


class Cell(NamedTuple):
    """The text of a cell, which may be foreign, and its style."""

    text: str
    style: Style = Style.PLAIN


def table(
    output: Output,
    header: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    noun: str,
    *,
    full: bool = False,
    bound: int = 0,
) -> None:
    """Write a table; on a terminal, the widest columns are cut to fit its width.

    Elsewhere ``bound`` is the width of a line, of which the first column is not cut: programs
    read it. Nothing is cut if ``full`` is true.
    """
    body = [[_shown(cell) for cell in row] for row in rows]
    if not body:
        if output.legend:
            output.write(f"No {noun}s.")
        return
    head = [Cell(title) for title in header]
    columns = zip(head, *body, strict=True)
    wanted = [max(width(cell.text) for cell in column) for column in columns]
    if output.width:
        widths = fitting(wanted, 0 if full else output.width)
    else:
        rest = max(1, bound - wanted[0] - len(GAP)) if bound else 0
        widths = [wanted[0], *fitting(wanted[1:], rest)]
    if output.legend:
        output.write(output.styled(_line(output, head, widths, fill=True), Style.HEADER))
    for row in body:
        output.write(_line(output, row, widths))
    if output.legend:
        output.write(f"\n{len(body)} {noun}{'' if len(body) == 1 else 's'} listed.")


def fitting(widths: Sequence[int], line: int) -> list[int]:
    """Return the widths that fit a line; the widest are reduced. A ``line`` of 0 is unlimited."""
    fitted = list(widths)
    while (
        line
        and fitted
        and sum(fitted) + len(GAP) * (len(fitted) - 1) > line
        and max(fitted) > NARROWEST
    ):
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def width(text: str) -> int:
    """Return the number of columns that text occupies on a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Me", "Mn", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _shown(cell: Cell) -> Cell:
    text = cell.text
    if text.isascii() and text.isprintable() and 0 < len(text) <= SHORT:
        return cell  # nothing has to be escaped, as in nearly all cells
    return Cell(printable(cell.text) or "-", cell.style)


def _line(output: Output, row: Sequence[Cell], widths: Sequence[int], *, fill: bool = False) -> str:
    parts: list[str] = []
    for (text, style), columns in zip(row, widths, strict=True):
        shown, taken = text, width(text)
        if taken > columns:
            shown = cut(text, columns)
            taken = width(shown)
        parts.append((output.styled(shown, style) if style else shown) + " " * (columns - taken))
    line = GAP.join(parts)
    return line if fill else line.rstrip(" ")


def cut(text: str, columns: int) -> str:
    """Return text of at most this many columns, with a mark at its end if it was cut."""
    if width(text) <= columns:
        return text
    kept = ""
    for character in text:
        if width(kept + character) > columns - 1:
            break
        kept += character
    return kept + "…"
