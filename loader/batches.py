"""Group objects into batches that one statement can read."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from loader import parameters
from loader.objects import MOST_PATHS, S3Object

# Bytes of objects, as stored, that one INSERT reads. A transform takes at least one load at a time
# (var slice_lines), so this also limits its memory.
MOST_BYTES = 512 * 1024 * 1024


def places(items: Iterable[S3Object]) -> Iterator[list[S3Object]]:
    """Group objects by where they are: one bucket and one depth of folders, or one local folder.

    One INSERT reads only objects of one group.

    Args:
        items: objects; if several have the same path, the last one is used.
    """
    unique = {item.path: item for item in items}
    for _, group in groupby(sorted(unique.values(), key=_place), key=_place):
        yield list(group)


def _place(item: S3Object) -> tuple[str, str | int]:
    return (item.bucket, item.key.count("/") if item.bucket else item.key.rpartition("/")[0])


def pieces(
    items: Iterable[S3Object], most: int = MOST_PATHS, most_bytes: int = MOST_BYTES
) -> Iterator[list[S3Object]]:
    """Split a stream of objects into pieces that one statement can name and should read.

    Args:
        items: objects.
        most: largest number of objects in a piece.
        most_bytes: bytes of objects, as stored, in a piece; a larger object is a piece by itself.
    """
    piece: list[S3Object] = []
    names = size = 0
    for item in items:
        name = parameters.size(item.path)
        if piece and (
            len(piece) == most
            or names + name > parameters.MOST_BYTES
            or size + item.size > most_bytes
        ):
            yield piece
            piece, names, size = [], 0, 0
        piece.append(item)
        names += name
        size += item.size
    if piece:
        yield piece
