"""One session at a time, and nothing of it left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lockgate.settings import Settings
from spark_jobs.session import master_with_retry, spark_session

pytestmark = pytest.mark.spark


def test_a_second_session_is_refused_while_one_runs(spark: SparkSession, tmp_path: Path) -> None:
    assert spark.range(1).count() == 1
    with (
        pytest.raises(RuntimeError, match="runs in this process already"),
        spark_session(Settings(home=tmp_path), "second"),
    ):
        pass


def test_it_listens_on_this_machine_only_and_has_no_page(spark: SparkSession) -> None:
    assert spark.conf.get("spark.driver.bindAddress") == "127.0.0.1"
    assert spark.sparkContext.uiWebUrl is None


def test_a_local_task_is_tried_twice() -> None:
    assert master_with_retry("local[2]") == "local[2,2]"
    assert master_with_retry("local[*]") == "local[*,2]"
    assert master_with_retry("local[2,4]") == "local[2,4]"
    assert master_with_retry("spark://main:7077") == "spark://main:7077"
