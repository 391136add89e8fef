"""The D-Bus API.

``interfaces`` has the properties of instances and backends, ``manager`` the methods and properties
of the root object, ``tree`` the objects, ``publisher`` the signals and the bus name.
"""
