"""One local Spark session for all transform tests: it takes seconds to start, and the transforms keep nothing in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from lockgate.settings import Settings
from spark_jobs.session import spark_session


@pytest.fixture(scope="package")  # one at a time in a process
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    settings = Settings(home=tmp_path_factory.mktemp("spark-home"), SPARK_MASTER="local[2]")
    with spark_session(settings, "tests") as session:
        session.conf.set("spark.sql.shuffle.partitions", "2")  # a few rows a test
        # Not UTC, on purpose: a transform that leans on the session's zone fails here.
        session.conf.set("spark.sql.session.timeZone", "Pacific/Apia")
        yield session
