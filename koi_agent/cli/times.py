"""Text for a terminal: times and time spans."""

from datetime import UTC, datetime

SPANS = ((31_557_600, "y"), (86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def since(stamp: str | None) -> str:
    """Format a time as ``Tue 2026-05-12 10:00:00 CEST; 2h 3min ago``; "" if it is not known."""
    if not stamp:
        return ""
    local = datetime.fromisoformat(stamp).astimezone().strftime("%a %Y-%m-%d %H:%M:%S %Z")
    return f"{local}; {ago(stamp)}"


def ago(stamp: str | None) -> str:
    """Format a time as ``2h 3min ago``; "" if it is not known."""
    return (
        f"{span(int((now() - datetime.fromisoformat(stamp)).total_seconds()))} ago" if stamp else ""
    )


def span(seconds: int) -> str:
    """Format a time span in its two largest units."""
    parts: list[str] = []
    left = max(seconds, 0)
    for size, unit in SPANS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(filter(None, parts)) or "0s"


def now() -> datetime:
    return datetime.now(UTC)
