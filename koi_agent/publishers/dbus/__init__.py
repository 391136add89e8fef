"""The D-Bus API.

``interfaces`` is its tables, ``manager`` what its methods do, ``tree`` its objects,
``publisher`` the signals and the name.
"""
