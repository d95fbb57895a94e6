"""Publishing a gated candidate: one atomic swap a table partition, logged before and after.

Killed at any point, it is taken up again by `resume`: the candidate was set aside under the build's own name, and swapping a
partition twice from the same table gives the same mart.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime

from lockgate.clients.warehouse import Warehouse
from lockgate.ledger.builds import Build, Builds, StaleBuildError
from lockgate.ledger.leases import LeaseLostError, Leases
from lockgate.names import candidate, check_identifier, mart
from lockgate.publishing.candidates import fingerprint, frozen_name
from lockgate.publishing.serving import note_publication, serve

logger = logging.getLogger(__name__)


class Publisher:
    """Publishes builds, and finishes those that were killed half-way."""

    def __init__(self, warehouse: Warehouse, builds: Builds, leases: Leases) -> None:
        self._warehouse = warehouse
        self._builds = builds
        self._leases = leases

    def publish(self, build: Build, personal: Collection[str]) -> datetime:
        """Swap a passed build's partitions into its mart; returns when it was done (UTC). `personal`: see `serve`.

        Raises StaleBuildError where the candidate is no longer what was gated, or where its base has moved, and
        LeaseLostError where another process publishes one of the same partitions.
        """
        published_at: datetime | None = None
        try:
            with self._leases.held(*(f"publish:{build.mart}:{partition}" for partition in build.partitions)):
                aside = frozen_name(build)
                self._warehouse.command(f"RENAME TABLE {candidate(build.lane, build.mart)} TO {aside}")
                if (
                    build.fingerprint is None
                    or fingerprint(self._warehouse, aside, build.partitions) != build.fingerprint
                ):
                    raise StaleBuildError(f"{build.mart}: the candidate is not what was gated")
                self._builds.start_publishing(build)
                published_at = self._swap(build, personal)
        except LeaseLostError as lost:
            if published_at is None:
                raise
            logger.warning("%s: %s; build %d was published all the same", build.mart, lost, build.build_id)
        return published_at

    def resume(self, build: Build, personal: Collection[str]) -> datetime | None:
        """End what a killed process left behind: finish a publication under way, abandon everything earlier.

        For the holder of the lane's lease, who knows that the build's maker is gone.
        """
        if build.state == "publishing":
            logger.warning("%s: finishing the publication of build %d", build.mart, build.build_id)
            return self._swap(build, personal)
        self.abandon(build, "its process was killed before it could be published")
        return None

    def abandon(self, build: Build, reason: str) -> None:
        """Drop a candidate that will not be published. What it was to bring stays stale, so a later tick brings it."""
        self._warehouse.command(f"DROP TABLE IF EXISTS {frozen_name(build)} SYNC")
        self._builds.end(build, "abandoned", reason)

    def _swap(self, build: Build, personal: Collection[str]) -> datetime:
        aside, published = frozen_name(build), mart(build.mart)
        for publication in self._builds.publications(build):
            if not publication.finished:
                partition = f"PARTITION ID '{check_partition(publication.partition)}'"
                # The engine refuses to replace by nothing, so a partition whose last window vanished is dropped.
                swap = f"REPLACE {partition} FROM {aside}" if publication.rows else f"DROP {partition}"
                self._warehouse.command(f"ALTER TABLE {published} {swap}")
                self._builds.finish_publication(publication)
        serve(self._warehouse, build.mart, personal)
        note_publication(self._warehouse, build)
        published_at = self._builds.finish_build(build)
        self._warehouse.command(f"DROP TABLE IF EXISTS {aside} SYNC")
        return published_at


def check_partition(partition: str) -> str:
    """`partition` itself if it looks like one of ours ("all", "201601", "20160101"), else ValueError."""
    if partition != "all" and not (partition.isdecimal() and len(partition) in (6, 8)):
        check_identifier(partition)
        raise ValueError(f"{partition!r} is no partition of ours")
    return partition
