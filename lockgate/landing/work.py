"""What there is to land of a stream, handed out load by load to the workers of this process, and shared with other processes.

The ledger decides who has what: the batches of a load are intents that nobody else has. A worker takes a stretch of several
batches at once, so a hot partition is landed side by side in stretches, by threads and by processes alike.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from lockgate.core.offsets import OffsetRange, TopicPartition
from lockgate.ledger.batches import Batch, Batches, Wanted
from lockgate.ledger.topics import PartitionState

# Longer stretches fetch less in vain where several workers share a partition, shorter ones leave more for others.
BATCHES_A_STRETCH = 4

# Offsets from which on a batch is an insert of its own. Rows of several partitions the engine has to sort, which takes 1.1 CPU
# seconds a million; an insert costs 0.055 by itself.
ALONE = 50_000

# Batches that are read together and sent in one insert: small ones of different partitions, together no larger than one may be.
Load = tuple[Batch, ...]


@dataclass(frozen=True)
class Target:
    """A partition and the offsets that it had to offer when the call began."""

    state: PartitionState
    remaining: OffsetRange


class Held:
    """The batches that this process holds. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: dict[int, Batch] = {}

    def all(self) -> list[Batch]:
        with self._lock:
            return list(self._batches.values())

    def hold(self, batches: Iterable[Batch]) -> None:
        """New ones, or ours as they are now."""
        with self._lock:
            self._batches.update({batch.batch_id: batch for batch in batches})

    def renew(self, batches: Batches) -> None:
        """Keep the leases of all of them. Raises FencedError."""
        with self._lock:
            batches.renew(list(self._batches.values()))

    @contextmanager
    def ending(self, ended: Sequence[Batch]) -> Iterator[None]:
        """For the block that ends these, after which they are no longer ours; nothing is renewed meanwhile."""
        with self._lock:
            yield
            for batch in ended:
                self._batches.pop(batch.batch_id, None)


class Work:
    """Hands out loads, those first that others have left behind. For several threads."""

    def __init__(
        self, batches: Batches, held: Held, targets: Sequence[Target], orphans: Sequence[Batch], batch_rows: int
    ) -> None:
        self._batches = batches
        self._held = held
        self._rows = batch_rows
        self._lock = threading.Lock()
        self._left = {t.state.topic_partition: t.remaining for t in targets if t.remaining}
        self._workers: Counter[TopicPartition] = Counter()  # how many are in each partition
        self._orphans = deque(packed(orphans, batch_rows))
        held.hold(orphans)

    @property
    def loads(self) -> int:
        """How many there are about, hence how many workers have something to do."""
        with self._lock:
            large = sum(len(r) // self._rows for r in self._left.values())
            rests = [len(r) % self._rows for r in self._left.values()]
            together = sum(rest for rest in rests if rest < ALONE)
            return len(self._orphans) + large + sum(rest >= ALONE for rest in rests) + ceil(together / self._rows)

    def take(self, here: TopicPartition | None = None) -> list[Load]:
        """The next loads of a worker, in order; empty where nothing is left that nobody has.

        `here`: the partition of the last batch that this worker took. It goes on there if it can, because it has fetched ahead.
        """
        with self._lock:
            if here:
                self._workers[here] -= 1
            if self._orphans:
                load = self._orphans.popleft()
                self._workers[load[-1].topic_partition] += 1
                return [load]
            while self._left:
                wanted = self._choose(here)
                batches = self._batches.claim(wanted, self._rows)
                self._held.hold(batches)
                for one in wanted:
                    self._note(one, [b for b in batches if b.topic_partition == one.topic_partition])
                if batches:
                    self._workers[batches[-1].topic_partition] += 1
                    return packed(batches, self._rows)
            return []

    def drop(self, where: TopicPartition) -> None:
        """Hand out no more of a partition."""
        with self._lock:
            self._left.pop(where, None)

    def _choose(self, here: TopicPartition | None) -> list[Wanted]:
        """A stretch of the partition where the worker is, else of the one with the fewest workers, else of the fullest; what is
        too small for a batch goes together."""
        order = sorted(self._left, key=lambda p: (p != here, self._workers[p], -len(self._left[p]), p))
        room = self._rows
        wanted: list[Wanted] = []
        for where in order:
            left = self._left[where]
            alone = len(left) >= min(self._rows, ALONE)
            if alone and not wanted:
                return [Wanted(where, left.end, self._rows * BATCHES_A_STRETCH)]
            if len(left) <= room and not alone:
                wanted.append(Wanted(where, left.end, len(left)))
                room -= len(left)
        return wanted

    def _note(self, wanted: Wanted, claimed: Sequence[Batch]) -> None:
        where = wanted.topic_partition
        if claimed and claimed[-1].offsets.end < wanted.end:
            self._left[where] = OffsetRange(claimed[-1].offsets.end, wanted.end)
        else:
            self._left.pop(where, None)


def packed(batches: Iterable[Batch], rows: int) -> list[Load]:
    """Batches as loads, in order: as many together as are of different partitions and no more than `rows` offsets."""
    loads: list[Load] = []
    for batch in batches:
        last = loads[-1] if loads else ()
        fits = sum(len(b.offsets) for b in last) + len(batch.offsets) <= rows
        small = all(len(b.offsets) < ALONE for b in (*last, batch))
        if last and fits and small and batch.topic_partition not in {b.topic_partition for b in last}:
            loads[-1] = (*last, batch)
        else:
            loads.append((batch,))
    return loads
