"""A bounded cache whose hot entries survive a flood of new ones (segmented least recently used)."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")

PROBATION_SHARE = 5
"""One part in five of the room is for entries that were asked for once."""


class SegmentedCache(Generic[KeyT, ValueT]):
    """Entries of known size in at most `capacity` units.

    A new entry is on probation. The first hit moves it to the protected segment, whose oldest entries fall
    back to probation. A flood of entries that are used once can therefore only push out each other: it never
    empties the protected segment, which plain least-recently-used order would let it do.
    """

    def __init__(self, capacity: int) -> None:
        self._probation_room = max(capacity // PROBATION_SHARE, 1)
        self._protected_room = capacity - self._probation_room
        self._probation: OrderedDict[KeyT, tuple[ValueT, int]] = OrderedDict()
        self._protected: OrderedDict[KeyT, tuple[ValueT, int]] = OrderedDict()
        self._probation_size = 0
        self._protected_size = 0

    def __len__(self) -> int:
        return len(self._probation) + len(self._protected)

    @property
    def size(self) -> int:
        """The sum of the entries' sizes."""
        return self._probation_size + self._protected_size

    def get(self, key: KeyT) -> ValueT | None:
        """The value of `key`, which counts as a use; None when it is not there."""
        entry = self._protected.get(key)
        if entry is not None:
            self._protected.move_to_end(key)
            return entry[0]
        entry = self._probation.pop(key, None)
        if entry is None:
            return None
        self._probation_size -= entry[1]
        self._protect(key, entry)
        return entry[0]

    def put(self, key: KeyT, value: ValueT, size: int) -> None:
        """Keep `value` unless it is larger than the whole probation segment."""
        if size > self._probation_room or key in self._protected:
            return
        if (known := self._probation.pop(key, None)) is not None:
            self._probation_size -= known[1]
        self._admit(key, (value, size))

    def _admit(self, key: KeyT, entry: tuple[ValueT, int]) -> None:
        self._probation[key] = entry
        self._probation_size += entry[1]
        while self._probation_size > self._probation_room:
            _, (_, size) = self._probation.popitem(last=False)
            self._probation_size -= size

    def _protect(self, key: KeyT, entry: tuple[ValueT, int]) -> None:
        self._protected[key] = entry
        self._protected_size += entry[1]
        while self._protected_size > self._protected_room:
            demoted, old = self._protected.popitem(last=False)
            self._protected_size -= old[1]
            self._admit(demoted, old)
