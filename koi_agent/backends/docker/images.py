"""Labels that a container has from its image.

An engine merges the labels of an image into those of its containers, and the same holds for the
environment. The author of an image would decide what this host announces. So metadata counts only
if the image does not have it with the same value. If an image can't be inspected, all metadata may
be the image's.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from itertools import islice
from typing import Final

from koi_agent.backends.docker.api import DockerAPI
from koi_agent.backends.docker.kinds import Kind
from koi_agent.backends.docker.labels import VARIABLE, ContainerLabels, parse_labels, shorthand
from koi_agent.backends.http_engine.client import RequestRefused
from koi_agent.backends.http_engine.json_fields import (
    JSONObject,
    as_object,
    get_object,
    get_str,
    get_strs,
)
from koi_agent.core.errors import BackendLost, BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import KoiMetadata, Refusal
from koi_agent.core.metadata.keys import SWITCHES
from koi_agent.core.metadata.names import shown_key
from koi_agent.core.metadata.parser import from_labels
from koi_agent.host.engines import image_id, is_metadata_label

MOST_IMAGES: Final = 256
"""Images whose metadata is kept."""
MOST_TEXT: Final = 64 * 1024
"""Characters of an image's metadata; an image with more counts as one that can't be inspected."""
MOST_REFUSED: Final = 10
"""Maximum number of labels of an image that are refused one by one."""

_REMEDY: Final = "set another value on the container, or ImageLabels=yes"


@frozen(kw_only=True)
class Image:
    """The metadata of an image: labels, and the variable under its own name.

    If the image could not be inspected, ``problem`` is the reason, and ``metadata`` is empty.
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    is_transient: bool = False

    def has(self, key: str, value: str) -> bool:
        """Return True if a container may have this value from the image."""
        return bool(self.problem) or self.metadata.get(key) == value


class Images:
    """Inspects each image once; the least recently used of many are forgotten."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Image] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}

    async def find(self, api: DockerAPI, inspection: object) -> Image:
        """Return the image of an inspected container that has metadata."""
        record = as_object(inspection)
        if not _metadata(get_object(record, "Config")):
            return Image()
        id_ = image_id(get_str(record, "Image"))
        if not id_:
            return Image(problem="the engine does not name it")
        lock = self._locks.setdefault(id_, asyncio.Lock())
        async with lock:
            image = self._known.get(id_) or await _inspect(api, id_)
        self._locks.pop(id_, None)
        if not image.problem:
            self._known[id_] = image
            self._known.move_to_end(id_)
            while len(self._known) > MOST_IMAGES:
                self._known.popitem(last=False)
        return image


async def _inspect(api: DockerAPI, id_: str) -> Image:
    try:
        metadata = _metadata(get_object(as_object(await api.inspect_image(id_)), "Config"))
    except RequestRefused as refused:
        return Image(problem=f"HTTP status {refused.status}")
    except BackendLost:
        return Image(problem="the engine does not answer", is_transient=True)
    except BadInput as bad:
        return Image(problem=str(bad))
    if sum(len(key) + len(value) for key, value in metadata.items()) > MOST_TEXT:
        return Image(problem=f"its labels are longer than {MOST_TEXT} characters")
    return Image(metadata=metadata)


def own_labels(inspection: object, kind: Kind, image: Image) -> ContainerLabels:
    """Parse the labels of an inspected container, without metadata that its image has.

    An opt-out from any source counts.
    """
    config = get_object(as_object(inspection), "Config")
    metadata = _metadata(config)
    foreign = {
        key
        for key, value in metadata.items()
        if image.has(key, value) and not _opts_out(key, value)
    }
    labels = {k: v for k, v in get_object(config, "Labels").items() if k not in foreign}
    environment = () if VARIABLE in foreign else tuple(get_strs(config, "Env"))
    parsed = parse_labels(labels, environment, kind)
    refused = tuple(_refusals(sorted(foreign), image.problem))
    return replace(
        parsed,
        metadata=replace(parsed.metadata, refused=(*parsed.metadata.refused, *refused)),
        is_final=not image.problem,
    )


def without_metadata(labels: ContainerLabels) -> ContainerLabels:
    """Return the labels of a container that is not inspected yet: they may be the image's."""
    return replace(labels, metadata=KoiMetadata(), is_final=False)


def _metadata(config: JSONObject) -> Mapping[str, str]:
    """Return the labels that are metadata, and the variable that announces."""
    labels = get_object(config, "Labels")
    texts = {key: value for key, value in labels.items() if isinstance(value, str)}
    found = {key: value for key, value in texts.items() if is_metadata_label(key)}
    return found | shorthand(get_strs(config, "Env"))


def _opts_out(key: str, value: str) -> bool:
    """Return True for a label that can only opt out, which also counts from an image."""
    if key.lower() == "traefik.enable":
        return True
    given = ({}, {key: value}) if key == VARIABLE else ({key: value}, {})
    metadata = from_labels(*given)
    return False in [getattr(metadata, switch.row.field) for switch in SWITCHES.values()]


def _refusals(keys: list[str], problem: str) -> Iterator[Refusal]:
    why = "it comes from the image"
    if problem:
        why = f"it may come from the image, which can't be inspected ({problem})"
    for key in islice(keys, MOST_REFUSED):
        yield Refusal(key=shown_key(key), reason=f"{why}; {_REMEDY}")
    if len(keys) > MOST_REFUSED:
        more = f"{len(keys) - MOST_REFUSED} more labels"
        yield Refusal(key=more, reason=f"{why}; {_REMEDY}")
