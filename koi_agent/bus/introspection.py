"""Introspection data, made from the tables that calls are answered from."""

from collections.abc import Iterable, Iterator
from typing import Final

from koi_agent.bus.interfaces import Args, Emits, Interface, Property

DOCTYPE = (
    '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"\n'
    '"https://specifications.freedesktop.org/dbus/introspection-latest.dtd">\n'
)
EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"
DOC = "org.gtk.GDBus.DocString"
"""The annotation for descriptions that D-Bus tools know."""
_ESCAPES: Final = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        '"': "&quot;",
        "\n": "&#10;",
        "\r": "&#13;",
        "\t": "&#9;",
    }
)


def node(interfaces: Iterable[Interface], children: Iterable[str]) -> str:
    """Format one object as XML: its interfaces, and the names of its children."""
    lines = ["<node>"]
    for one in interfaces:
        lines.extend(described(one))
    lines.extend(f" <node name={quoted(name)}/>" for name in children)
    lines.append("</node>")
    return DOCTYPE + "\n".join(lines) + "\n"


def described(one: Interface) -> Iterator[str]:
    """Yield the lines of XML of one interface."""
    yield f" <interface name={quoted(one.name)}>"
    for method in one.methods.values():
        yield f"  <method name={quoted(method.name)}>"
        yield from _args(method.takes, ' direction="in"')
        yield from _args(method.returns, ' direction="out"')
        yield "  </method>"
    for prop in one.properties.values():
        yield from _property(prop)
    for signal in one.signals:
        yield f"  <signal name={quoted(signal.name)}>"
        yield from _args(signal.args, "")
        yield "  </signal>"
    yield " </interface>"


def quoted(text: str) -> str:
    """Return a text as the value of an attribute, with its quotes.

    xml.sax.saxutils has the same, but imports urllib.request, which takes 2 MB.
    """
    return f'"{text.translate(_ESCAPES)}"'


def _args(args: Args, direction: str) -> Iterator[str]:
    for name, kind in args:
        yield f"   <arg name={quoted(name)} type={quoted(kind)}{direction}/>"


def _property(prop: Property) -> Iterator[str]:
    access = "readwrite" if prop.set else "read"
    start = f'  <property name={quoted(prop.name)} type="{prop.signature}" access="{access}"'
    annotations = {DOC: prop.help, EMITS: "" if prop.emits is Emits.TRUE else prop.emits}
    lines = [
        f"   <annotation name={quoted(name)} value={quoted(value)}/>"
        for name, value in annotations.items()
        if value
    ]
    yield from (f"{start}>", *lines, "  </property>") if lines else (f"{start}/>",)
