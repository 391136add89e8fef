"""The one door to D-Bus: dbus-next carries and marshals, everything else here is ours.

``wire`` frames messages, ``signals`` and ``picks`` read the many signals cheaply,
``transport`` is one hardened connection, ``client`` keeps one for ever and calls through it,
``server`` answers calls for tables of objects, ``turns`` sees to it that all senders get some.
"""
