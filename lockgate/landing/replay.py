"""Landing anew what has landed before: from Kafka where it still has the bytes, else from those that staging keeps.

The order: begin (ledger) → piece by piece: write the new generation, count it (warehouse, ledger) → swap all in (ledger) →
mirror, count as readers see it (warehouse). Readers see the old generation until the swap is mirrored, and the new one from then
on. Whatever is killed in between is gone on with by asking for the same again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from lockgate.clients.errors import ClientError
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract
from lockgate.core.generations import bridged
from lockgate.core.offsets import OffsetRange
from lockgate.landing.completeness import Prover
from lockgate.landing.generation import BytesGoneError, Writer
from lockgate.landing.live_rows import rows_of
from lockgate.landing.selection import Selection
from lockgate.landing.tables import ensure_tables
from lockgate.landing.visibility import mirror, mirror_discards
from lockgate.ledger.discards import Discards
from lockgate.ledger.leases import kept_alive
from lockgate.ledger.replays import Counted, Piece, Ranges, Replay, Replays
from lockgate.ledger.swaps import FilledMeanwhileError, Replaced, Swaps
from lockgate.ledger.topics import Topics
from lockgate.names import QUARANTINE, QUARANTINE_HISTORY, STAGING, STAGING_RAW, inbox, staging_raw
from lockgate.settings import Settings

logger = logging.getLogger(__name__)

# Ranges of a partition that a replay of quarantined messages is cut into at most. Each may become a stretch of its own in
# `ledger.visible`; the batches between those that lie nearest to each other are copied along.
MOST_STRETCHES = 20
_BATCHES_A_STATEMENT = 2_000  # a query may have 256 KiB


class NotVerifiedError(RuntimeError):
    """Readers do not see of a replay what was counted: what it replaced is kept."""


class ParserChangedError(RuntimeError):
    """The contract changed while a replay was going on: half of it would be of the old one."""


@dataclass(frozen=True)
class Replayed:
    """What a replay came to. `parts`: a row a partition and source (`Replays.summary`)."""

    replay: Replay
    parts: Sequence[Mapping[str, Any]]
    hours: Sequence[datetime]


class Replayer:
    """Replays one stream, in the name of `by`. Not for several threads; several processes may share the work."""

    def __init__(
        self,
        settings: Settings,
        warehouse: Warehouse,
        postgres: Postgres,
        holder: str,
        contract: Contract,
        contracts: Iterable[Contract],
        by: str,
        say: Callable[[str], None] = logger.info,
    ) -> None:
        """`holder` names this process in leases; `say` is told of each piece."""
        self._settings = settings
        self._warehouse = warehouse
        self._contract = contract
        self._contracts = list(contracts)
        self._by = by
        self._say = say
        self._replays = Replays(postgres, holder, settings.lease_seconds)
        self._swaps = Swaps(postgres)
        self._topics = Topics(postgres, holder)
        self._discards = Discards(postgres)
        self._prover = Prover(settings, warehouse, postgres, contract, self._contracts)

    @property
    def stream(self) -> str:
        return self._contract.stream

    def arrived(self, between: tuple[datetime, datetime], source: str | None = None) -> Replayed:
        """Land anew what arrived in a half-open range of time, in whole batches: a batch of which any message did.

        Raises NothingToReplayError, ReplayUnderWayError, BytesGoneError, ParserChangedError, NotVerifiedError; TransientErrors:
        then the same call goes on where this one ended.
        """
        wanted = {"what": "arrived", "from": between[0].isoformat(), "to": between[1].isoformat()}
        return self._replay(_from(wanted, source), lambda: self._replays.arrived(self.stream, between))

    def offsets(self, partition: int, offsets: OffsetRange, source: str | None = None) -> Replayed:
        """Land offsets of a partition anew, in whole batches. Raises as `arrived` does."""
        wanted = {"what": "offsets", "partition": partition, "offsets": [offsets.first, offsets.end]}
        return self._replay(_from(wanted, source), lambda: self._replays.of_offsets(self.stream, partition, offsets))

    def quarantined(self, chosen: Selection) -> Replayed:
        """Judge quarantined messages anew, by the contract as it is now; what is around them is copied.

        Raises as `arrived`, and FilledMeanwhileError.
        """
        wanted = {"what": "quarantined", **chosen.wanted()}
        return self._replay(wanted, lambda: self._around(chosen))

    def finish(self) -> None:
        """See replays through that were swapped in by a process that was killed before it had verified them."""
        for replay in self._replays.unfinished(self.stream):
            if replay.state == "live":
                self._verify(replay)

    def sweep(self, keep: timedelta) -> list[Replay]:
        """Delete rows that replays have replaced, or left behind, at least `keep` ago; the replays that are done with.

        Only of replays whose new rows readers have been seen to see. Idempotent; killed, it begins anew.
        """
        self.finish()
        mirror(self._warehouse, self._topics.partitions(self.stream))
        done = []
        for replay, dead in self._swaps.leftovers(self.stream, datetime.now(UTC) - keep):
            for table in (staging_raw(self.stream), QUARANTINE):
                self._delete(table, dead)
            self._swaps.swept(replay)
            done.append(replay)
        return done

    def _around(self, chosen: Selection) -> Ranges:
        """The offsets of the batches that hold chosen messages."""
        condition, parameters = chosen.condition()
        rows = self._warehouse.rows(
            f"SELECT DISTINCT _batch FROM {STAGING}.quarantine WHERE {condition} ORDER BY _batch", parameters
        )
        ranges = self._replays.of_batches(self.stream, [batch for (batch,) in rows])
        return {key: bridged(mine, MOST_STRETCHES) for key, mine in ranges.items()}

    def _replay(self, wanted: Mapping[str, Any], ranges: Callable[[], Ranges]) -> Replayed:
        ensure_tables(self._warehouse, self._contracts, of=[self._contract])
        self.finish()
        mirror(self._warehouse, self._topics.partitions(self.stream))
        mirror_discards(self._warehouse, self._discards)
        most = (self._settings.batch_rows, self._settings.batch_bytes)
        replay = self._replays.begin(self.stream, wanted, self._parser(), ranges(), self._by, *most)
        self._say(f"replay {replay.replay_id}: {replay.pieces} pieces, {replay.counted} of them there already")
        self._write_all(replay)
        if self._parser() != replay.parser:
            self._replays.abandon(replay.replay_id)
            raise ParserChangedError(f"contracts/{self.stream}.yml changed while it was replayed: ask for it again")
        try:
            self._swaps.swap(replay)
        except FilledMeanwhileError:
            self._replays.abandon(replay.replay_id)
            raise
        self._verify(replay)
        replay = self._replays.get(replay.replay_id)
        return Replayed(replay, self._replays.summary(replay), self._replays.hours(replay))

    def _write_all(self, replay: Replay) -> None:
        """Until every piece is counted, by us or by other processes at the same replay."""
        chosen = Selection.of(replay.wanted) if replay.wanted["what"] == "quarantined" else None
        writer = Writer(self._settings, self._warehouse, self.stream, chosen, replay.wanted.get("source"))
        while True:
            piece = self._replays.take(replay)
            if piece is not None:
                try:
                    self._tell(self._write(writer, piece))
                except BytesGoneError:
                    self._replays.abandon(replay.replay_id)
                    raise
                continue
            now = self._replays.get(replay.replay_id)
            if now.state != "open" or now.counted == now.pieces:
                return
            time.sleep(0.5)  # others hold what is left: until they are done, or silent for too long

    def _write(self, writer: Writer, piece: Piece) -> Counted:
        try:
            with kept_alive(lambda: self._replays.renew(piece), self._settings.lease_seconds):
                done = writer.write(piece)
            self._replays.counted(done)
        except BaseException:
            try:
                self._replays.release(piece)
            except ClientError as error:  # its lease runs out by itself
                logger.warning("could not let go of %s: %s", piece.batch.offsets, error)
            raise
        return done

    def _tell(self, done: Counted) -> None:
        where, offsets = done.piece.batch.topic_partition, done.piece.batch.offsets
        self._say(f"{where} {offsets} from {done.source}: {done.landed:,} landed, {done.quarantined:,} quarantined")

    def _parser(self) -> str:
        """A digest of what parses the stream's messages now, as the warehouse has it."""
        return str(
            self._warehouse.value(
                "SELECT lower(hex(SHA256(arrayStringConcat(groupArray(create_table_query), char(10))))) FROM ("
                f" SELECT create_table_query FROM system.tables WHERE database = '{STAGING_RAW}'"
                " AND startsWith(name, {prefix:String}) ORDER BY name)",
                {"prefix": inbox(self.stream).partition(".")[2]},
            )
        )

    # --- once it is swapped in ----------------------------------------------------------------------------------

    def _verify(self, replay: Replay) -> None:
        """Show a live replay, note what became of quarantined messages, and count it as readers see it."""
        mirror(self._warehouse, self._topics.partitions(self.stream))
        replaced = self._swaps.replaced(replay)
        for _, batches in groupby(replaced, key=lambda one: one.new):
            self._note(replay, list(batches))
        proof = self._prover.of_batches(sorted({one.new[0] for one in replaced}))
        if not proof.proven:
            raise NotVerifiedError(
                f"replay {replay.replay_id} is live, but {'; '.join(proof.problems)}; what it replaced is kept:"
                " see docs/runbooks/not-proven.md"
            )
        self._swaps.verified(replay)

    def _note(self, replay: Replay, replaced: Sequence[Replaced]) -> None:
        """Messages that were quarantined and are not, or for another reason, or that had landed."""
        old = rows_of(one.old for one in replaced)
        new = rows_of(sorted({one.new for one in replaced}))
        self._warehouse.command(
            f"INSERT INTO {QUARANTINE_HISTORY} (stream, topic_id, partition, offset, replay_id, was, became)"
            f" SELECT stream, _topic_id, _partition, _offset, {int(replay.replay_id)},"
            f" anyIf(reason, {old}) AS was, anyIf(reason, {new}) AS became"
            f" FROM {QUARANTINE} WHERE stream = {{stream:String}} AND ({old} OR {new})"
            " GROUP BY stream, _topic_id, _partition, _offset HAVING was != became",
            {"stream": self.stream},
        )

    def _delete(self, table: str, dead: Sequence[tuple[int, int]]) -> None:
        for at in range(0, len(dead), _BATCHES_A_STATEMENT):
            some = dead[at : at + _BATCHES_A_STATEMENT]
            numbers = ", ".join(str(int(batch)) for batch in sorted({batch for batch, _ in some}))
            self._warehouse.command(
                f"ALTER TABLE {table} DELETE WHERE _batch IN ({numbers}) AND (_batch, _generation) IN ({_pairs(some)})",
                settings={"mutations_sync": 2},
            )


def _from(wanted: dict[str, Any], source: str | None) -> dict[str, Any]:
    return wanted | ({"source": source} if source else {})


def _pairs(pairs: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"({int(batch)}, {int(generation)})" for batch, generation in pairs)
