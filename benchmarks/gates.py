"""Wall time and CPU of every mart's suite, warm, over candidates of 600 events: `python -m benchmarks.gates [--repeat 20]`.

Starts a warehouse of its own in a temporary folder. CPU is this process's (Great Expectations and its client); the warehouse's
own is printed at the end.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from expectations import runner
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import load_contracts
from lockgate.embedded.ports import free_ports
from lockgate.embedded.warehouse.access import DEFAULT_ROLES, write_users_file
from lockgate.landing.tables import ensure_tables
from lockgate.settings import Settings
from tests.integration.gates.gate_tables import FIRST_BATCH, LAST_BATCH, MARTS, WINDOWS, fill_candidate, land


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=20)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as folder:
        home = Path(folder)
        (port,) = free_ports(1)
        passwords = {user: secrets.token_hex(8) for user in DEFAULT_ROLES}
        write_users_file(home / "users.yml", passwords)
        settings = Settings(home=home, clickhouse_port=port)
        settings.secrets_file.write_text(f'{{"clickhouse": {str(passwords).replace(chr(39), chr(34))}}}')
        command = ["-m", "lockgate.embedded.warehouse", "--data", str(home / "data"), "--port", str(port)]
        server = subprocess.Popen([sys.executable, *command, "--users", str(home / "users.yml")])
        try:
            _measure(settings, repeat, psutil.Process(server.pid))
        finally:
            server.terminate()
            server.wait(30)
    return 0


def _measure(settings: Settings, repeat: int, server: psutil.Process) -> None:
    with Warehouse(settings.clickhouse()) as warehouse:
        deadline = time.monotonic() + 60
        while not warehouse.ping():
            if time.monotonic() > deadline:
                raise TimeoutError("the warehouse does not answer within 60 s")
            time.sleep(0.2)
        ensure_tables(warehouse, list(load_contracts(settings.contracts).values()))
        land(warehouse)
        started, cpu = time.monotonic(), time.process_time()
        runner.warm(settings)
        print(f"first import and context: {time.monotonic() - started:.1f} s, {time.process_time() - cpu:.1f} CPU s")
        calls: list[tuple[str, str, dict[str, Any]]] = [
            (mart, fill_candidate(warehouse, mart), {"windows": WINDOWS}) for mart in MARTS
        ]
    landed = {"stream": "github_events", "first_batch": FIRST_BATCH, "last_batch": LAST_BATCH}
    calls.append(("landed", "staging.github_events", landed))
    print(f"{'suite':<26} {'rules':>5} {'median s':>9} {'CPU s':>7} {'server CPU s':>13}")
    for suite, table, parameters in calls:
        runner.run(suite, table, parameters, settings)
        walls = []
        cpu, before = time.process_time(), sum(server.cpu_times()[:2])
        for _ in range(repeat):
            outcome = runner.run(suite, table, parameters, settings)
            walls.append(outcome["seconds"])
        own, its = (time.process_time() - cpu) / repeat, (sum(server.cpu_times()[:2]) - before) / repeat
        print(f"{suite:<26} {len(outcome['results']):>5} {statistics.median(walls):>9.3f} {own:>7.3f} {its:>13.3f}")


if __name__ == "__main__":
    sys.exit(main())
