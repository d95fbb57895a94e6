"""`python -m lockgate.embedded.warehouse --data DIR --port N --users FILE`: the embedded warehouse as a process.

Exit codes: 0 after SIGTERM or SIGINT, 1 after a deadline that was missed, 2 for wrong arguments, a wrong users file or
certificate, 3 if the port is taken, 4 if another process owns the folder.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import resource
import signal
import ssl
import sys
import threading
import time
from pathlib import Path

from lockgate.embedded.warehouse import access, tls
from lockgate.embedded.warehouse.configuration import Limits
from lockgate.embedded.warehouse.engine import Engine, FolderInUseError
from lockgate.embedded.warehouse.errors import WarehouseError
from lockgate.embedded.warehouse.server import Server
from lockgate.signals import wait_until_set

_FILES = 65536  # open at once, where the machine allows it; a shell gives 1,024 or less
_STOP_SECONDS = 25.0  # for running queries; the supervisor waits 30


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("lockgate.embedded.warehouse", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data; one process at a time")
    parser.add_argument("--port", type=int, required=True, help="0 for a free one")
    parser.add_argument("--users", type=Path, required=True, help="the YAML file of users and roles")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--tls-port", type=int, help="answer TLS there, too; 0 for a free one")
    parser.add_argument("--certificate", type=Path, help="PEM; without it one is made, in the folder of the data")
    parser.add_argument("--key", type=Path, help="PEM; without it, it stands in the certificate's file")
    parser.add_argument(
        "--max-memory",
        type=int,
        default=0,
        metavar="BYTES",
        help="of all queries together (default: 90 %% of the machine's)",
    )
    parser.add_argument("--max-queries", type=int, default=100, help="at once (default: 100)")
    options = parser.parse_args(arguments)
    if options.tls_port is None and (options.certificate or options.key):
        parser.error("--certificate and --key are for --tls-port")
    if options.key and not options.certificate:
        parser.error("--key is for --certificate")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    started = time.monotonic()
    _allow_many_files()
    os.environ["TZ"] = "UTC"  # the engine looks here before its own configuration
    with open(os.devnull, "rb") as nothing:  # an INSERT from a file takes whatever it finds here for more data
        os.dup2(nothing.fileno(), 0)
    # chdb imports pyarrow (and with it numpy) where it finds it, for calls we never make: half of our start
    sys.modules["pyarrow"] = None  # type: ignore[assignment]
    options.data, options.users = options.data.absolute(), options.users.absolute()
    if options.certificate:
        options.certificate, options.key = options.certificate.absolute(), options.key and options.key.absolute()
    try:
        options.data.mkdir(parents=True, exist_ok=True)
        os.chdir(options.data)  # where the engine keeps what it has no other place for, such as schemas given as text
        limits = Limits(options.max_memory, options.max_queries)
        engine = Engine(options.data, access.load(options.users), limits)
        context = _tls(options) if options.tls_port is not None else None
        engine.open()
    except (access.UsersFileError, tls.TlsError) as error:
        return _fail(2, str(error))
    except FolderInUseError as error:
        return _fail(4, str(error))
    except (OSError, WarehouseError) as error:
        return _fail(1, f"the engine does not open {options.data}: {error}")
    try:
        server = Server(engine, options.host, options.port, context, options.tls_port or 0)
    except OSError as error:
        engine.close()
        ports = str(options.port) if context is None else f"{options.port} or {options.tls_port}"
        return _fail(3, f"port {ports} of {options.host} cannot be had: {error.strerror}")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=server.serve, name="accept", daemon=True).start()
    encrypted = f" and https://{options.host}:{server.tls_port}" if server.tls_port else ""
    logging.info(
        "ClickHouse %s on http://%s:%d%s, open after %.2f s",
        engine.version,
        options.host,
        server.port,
        encrypted,
        time.monotonic() - started,
    )
    wait_until_set(stop)
    logging.info("stopping: no new queries, %.0f s for those that run", _STOP_SECONDS)
    clean = server.stop(_STOP_SECONDS)
    engine.close()
    logging.info("stopped%s", "" if clean else ", some queries were ended")
    return 0 if clean else 1


def _allow_many_files() -> None:
    """As a server is run: a client is a file, and so is each column of each part that a query reads."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _tls(options: argparse.Namespace) -> ssl.SSLContext:
    if options.certificate:
        return tls.context(options.certificate, options.key)
    return tls.context(*tls.own_certificate(options.data / "tls", options.host))


def _fail(code: int, text: str) -> int:
    print(f"lockgate.embedded.warehouse: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
