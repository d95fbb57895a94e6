"""A Java virtual machine whose objects Python can use (py4j, which pyspark ships), with the official JDBC driver in it.

Nothing is compiled: the runtime of the lock has no compiler.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from py4j import java_gateway, protocol
from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway

from lockgate.embedded.jars import JarSet, ensure_jars, read_list
from lockgate.embedded.java import find_java
from lockgate.settings import Settings

DRIVER = JarSet(
    "clickhouse-jdbc-0.9.6",
    "the ClickHouse JDBC driver 0.9.6, 12 MB",
    read_list(
        "65e37f702911abc38a9e904f7f75054d09e33a1b23d79087cd6af2ae506f7ab4  com.clickhouse:clickhouse-jdbc:0.9.6:all\n"
    ),
)


@contextmanager
def jvm_with_driver() -> Iterator[Any]:
    """py4j's view of a JVM that can see the driver; the JVM ends with the block."""
    settings = Settings()
    driver = ensure_jars(settings, DRIVER, print)
    spark = find_spec("pyspark")
    assert spark is not None
    assert spark.origin is not None
    shipped = Path(spark.origin).parent / "jars"
    bridge = next(shipped.glob("py4j-*.jar"))
    needed = [*driver.glob("*.jar"), *shipped.glob("slf4j-api-*.jar")]
    port, process = launch_gateway(
        jarpath=str(bridge),
        classpath=os.pathsep.join(map(str, needed)),
        java_path=str(find_java(settings).binary),
        javaopts=["-Xmx256m", "-Duser.timezone=Asia/Tokyo"],
        redirect_stderr=subprocess.DEVNULL,
        die_on_exit=True,
        return_proc=True,
    )
    gateway = JavaGateway(gateway_parameters=GatewayParameters(port=port, auto_convert=True))
    # Once a Spark session was made in this process, pyspark reads every error of every JVM as one of Spark's, and fails
    # on ours: for as long as this JVM lives, py4j's own function is in its place.
    sparks, java_gateway.get_return_value = java_gateway.get_return_value, protocol.get_return_value
    try:
        yield gateway.jvm
    finally:
        java_gateway.get_return_value = sparks
        gateway.shutdown()
        process.kill()  # the driver's threads would keep it alive
        process.wait(20)
