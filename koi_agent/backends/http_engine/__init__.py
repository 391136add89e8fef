"""The client side of engines that speak HTTP and JSON on a socket, whatever they run.

``client`` sends requests: whole responses come over ``connections``, lists and events over
``streams``, both read by ``response_parser``. Events may also come over a WebSocket. ``sessions``
are for client libraries on aiohttp. ``inspect_queue`` orders the inspections of a backend,
``socket_errors`` describes why a socket can't be used, ``json_fields`` reads decoded JSON. Nothing
here knows an engine by name: a backend adds its paths, its API version and its own records.
"""
