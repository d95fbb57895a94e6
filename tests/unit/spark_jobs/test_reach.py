"""The SQL and the transform mean the same pause."""

from __future__ import annotations

from datetime import timedelta

from spark_jobs import reach
from spark_jobs.slices import HOUR


def test_sql_and_transform_share_the_length_of_a_pause() -> None:
    from spark_jobs.transforms.sessions import GAP

    assert timedelta(minutes=int(reach._GAP.removeprefix("toIntervalMinute(").removesuffix(")"))) == GAP
    assert GAP <= HOUR  # an hour before a window is read for its starts
