"""Introspection data, made from the tables that calls are answered from."""

from collections.abc import Iterable, Iterator
from xml.sax.saxutils import quoteattr

from koi_agent.bus.interfaces import Args, Emits, Interface, Property

DOCTYPE = (
    '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"\n'
    '"https://specifications.freedesktop.org/dbus/introspection-latest.dtd">\n'
)
EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"
DOC = "org.gtk.GDBus.DocString"
"""The annotation for descriptions that D-Bus tools know."""


def node(interfaces: Iterable[Interface], children: Iterable[str]) -> str:
    """Format one object as XML: its interfaces, and the names of its children."""
    lines = ["<node>"]
    for one in interfaces:
        lines.extend(described(one))
    lines.extend(f" <node name={quoteattr(name)}/>" for name in children)
    lines.append("</node>")
    return DOCTYPE + "\n".join(lines) + "\n"


def described(one: Interface) -> Iterator[str]:
    """Yield the lines of XML of one interface."""
    yield f" <interface name={quoteattr(one.name)}>"
    for method in one.methods.values():
        yield f"  <method name={quoteattr(method.name)}>"
        yield from _args(method.takes, ' direction="in"')
        yield from _args(method.returns, ' direction="out"')
        yield "  </method>"
    for prop in one.properties.values():
        yield from _property(prop)
    for signal in one.signals:
        yield f"  <signal name={quoteattr(signal.name)}>"
        yield from _args(signal.args, "")
        yield "  </signal>"
    yield " </interface>"


def _args(args: Args, direction: str) -> Iterator[str]:
    for name, kind in args:
        yield f"   <arg name={quoteattr(name)} type={quoteattr(kind)}{direction}/>"


def _property(prop: Property) -> Iterator[str]:
    access = "readwrite" if prop.set else "read"
    start = f'  <property name={quoteattr(prop.name)} type="{prop.signature}" access="{access}"'
    annotations = {DOC: prop.help, EMITS: "" if prop.emits is Emits.TRUE else prop.emits}
    lines = [
        f"   <annotation name={quoteattr(name)} value={quoteattr(value)}/>"
        for name, value in annotations.items()
        if value
    ]
    yield from (f"{start}>", *lines, "  </property>") if lines else (f"{start}/>",)
