"""The one door to D-Bus: dbus-next carries and marshals, everything else here is ours.

``wire`` frames messages, ``signals`` reads the many signals cheaply, ``transport`` is one
hardened connection, ``client`` keeps one for ever and calls through it, ``server`` answers
calls for tables of objects.
"""
