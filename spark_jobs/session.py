"""The one Spark session: how every job and test gets it, on a laptop's cores or on a cluster.

Belongs here: what Spark runs with. Does not: what it runs. Nothing is downloaded: no packages, no jars beyond pyspark's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pyspark import SparkContext
from pyspark.sql import SparkSession

from lockgate.embedded.files import write_atomically
from lockgate.embedded.java import spark_java_home
from lockgate.settings import Settings

_LOG4J = """\
rootLogger.level = error
rootLogger.appenderRef.stderr.ref = stderr
# A logger of this name without a level of its own makes Spark announce one on each start.
logger.gateway.name = org.apache.spark.api.python.PythonGatewayServer
logger.gateway.level = error
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n
"""

logger = logging.getLogger(__name__)

# A job lives for seconds: compiling hot code once (C1) and one collector thread cost less than they would save.
# A Java that does not know an option ignores it.
_JVM_OPTIONS = "-XX:+IgnoreUnrecognizedVMOptions -XX:+UseSerialGC -XX:TieredStopAtLevel=1"

_JVM_STOP_SECONDS = 20.0
_LOCAL_MASTER = re.compile(r"local\[(\d+|\*)\]")


@contextlib.contextmanager
def spark_session(settings: Settings, app_name: str, *, driver_memory: str = "1g") -> Iterator[SparkSession]:
    """A session for the length of a `with` block, in a JVM of its own that ends with it; one at a time in a process.

    Raises StackError (lockgate.embedded) where no Java fits, RuntimeError where a session runs already: that one would
    be handed out again, with its own settings, and its workers would look for the warehouse where it was started. On a
    local master everything binds to 127.0.0.1, there is no UI, and Spark's own files lie below `<home>/spark`; a cluster
    keeps its own addresses, memory and folders.
    """
    if SparkSession.getActiveSession() or SparkContext._active_spark_context:
        raise RuntimeError("a Spark session runs in this process already: end it first")
    home = settings.home_dir / "spark"
    scratch = _scratch_folder(home)
    options = _common_options()
    if _is_local(settings.spark_master):
        options |= _local_options(home, scratch, driver_memory)
    with _environment(settings):
        builder = SparkSession.builder.appName(app_name).master(master_with_retry(settings.spark_master))
        for key, value in options.items():
            builder = builder.config(key, value)
        spark = builder.getOrCreate()
        try:
            yield spark
        finally:
            try:
                spark.stop()
            except Exception:
                # A signal amid a call to the JVM leaves that call's answer on the line, where `stop` takes it for its own
                # (KeyError). The JVM ends all the same, and whoever asked for the end gets their exit code.
                logger.warning("Spark did not stop by itself: its JVM is ended", exc_info=True)
            _end_jvm()
            shutil.rmtree(scratch, ignore_errors=True)


def _end_jvm() -> None:
    """pyspark keeps the JVM for the next session of the process; ours would inherit its options and its environment."""
    gateway, SparkContext._gateway, SparkContext._jvm = SparkContext._gateway, None, None
    process = getattr(gateway, "proc", None)
    if gateway is None or process is None:
        return
    gateway.shutdown()
    process.stdin.close()  # which is the JVM's sign to go
    try:
        process.wait(_JVM_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def master_with_retry(master: str) -> str:
    """`local[2]` as `local[2,2]`: a local task, too, is tried a second time before its job fails.

    Spark gives up a local job at the first failure of a task by default. A second attempt doubles nothing (`candidate`)
    and costs seconds where a new process costs 15.
    """
    return re.sub(_LOCAL_MASTER, r"local[\1,2]", master)


def _is_local(master: str) -> bool:
    return master == "local" or master.startswith("local[")


@contextlib.contextmanager
def _environment(settings: Settings) -> Iterator[None]:
    """What Spark's launcher and its Python workers take from the environment and from nowhere else; put back at the end,
    so that what else this process starts finds the Java that was meant for it."""
    # The locale: under LANG=C Java cannot open a file whose path has a letter beyond ASCII.
    wanted = {"JAVA_HOME": str(spark_java_home(settings)), "LC_ALL": "C.UTF-8"}
    if _is_local(settings.spark_master):
        wanted |= {
            "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_DRIVER_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
        }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _common_options() -> dict[str, str]:
    return {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.adaptive.enabled": "true",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
        "spark.ui.showConsoleProgress": "false",
    }


def _local_options(home: Path, scratch: Path, driver_memory: str) -> dict[str, str]:
    log4j = home / "log4j2.properties"
    write_atomically(log4j, _LOG4J)
    return {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": driver_memory,
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={log4j.as_uri()} {_JVM_OPTIONS}",
        "spark.ui.enabled": "false",
        "spark.local.dir": str(scratch),
        "spark.sql.warehouse.dir": str(home / "tables"),
        # Few enough to cost nothing on small data (adaptive execution merges them), enough that an hour's worth of
        # 100M events a day sorts in the memory of one task.
        "spark.sql.shuffle.partitions": "16",
    }


def _scratch_folder(home: Path) -> Path:
    """A folder for this process's shuffles and spills; what killed processes left behind is removed."""
    base = home / "scratch"
    base.mkdir(parents=True, exist_ok=True)
    for left in base.iterdir():
        if left.name.isdigit() and not _alive(int(left.name)):
            shutil.rmtree(left, ignore_errors=True)
    mine = base / str(os.getpid())
    mine.mkdir(exist_ok=True)
    return mine


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
