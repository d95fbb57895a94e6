"""The embedded warehouse as a child process on a free port, and the plainest possible client of it."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from lockgate.embedded.warehouse import write_users_file

USERS = ("platform", "transform", "gate", "analyst")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode().rstrip("\n")


@dataclass
class RunningWarehouse:
    """A warehouse process; every user's password is the user's name and `-secret`."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    log: Path
    seconds_to_open: float = 0.0
    extra: dict[str, str] = field(default_factory=dict)
    tls_port: int = 0

    @property
    def authority(self) -> Path:
        """The certificate that it made for itself."""
        return self.folder / "data" / "tls" / "certificate.pem"

    def password(self, user: str) -> str:
        return f"{user}-secret"

    def request(
        self,
        body: bytes | str | Iterator[bytes] = b"",
        method: str = "POST",
        user: str | None = "platform",
        headers: dict[str, str] | None = None,
        path: str = "/",
        timeout: float = 60,
        **url: Any,
    ) -> Answer:
        """One request on a connection of its own. `url`: the query string's names and values."""
        sent = dict(headers or {})
        if user is not None:
            sent |= {"X-ClickHouse-User": user, "X-ClickHouse-Key": self.password(user)}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            target = f"{path}?{urlencode(url, doseq=True)}" if url else path
            data = body.encode() if isinstance(body, str) else body
            connection.request(method, target, data, sent, encode_chunked=not isinstance(data, bytes))
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def ask(self, sql: str, user: str = "platform", **url: Any) -> str:
        """The text that `sql` gives; fails the test if it gives an error."""
        answer = self.request(sql, user=user, **url)
        assert answer.status == 200, answer.text
        return answer.text

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 40) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout)


def entry(user: str, *roles: str, **more: object) -> dict[str, object]:
    """A user of the users file, whose password is the name and `-secret`."""
    return {"password_sha256": hashlib.sha256(f"{user}-secret".encode()).hexdigest(), "roles": list(roles), **more}


def start(folder: Path, port: int = 0, *options: str, more: dict[str, Any] | None = None) -> RunningWarehouse:
    """Start a warehouse over `folder`, waiting until it answers.

    `options`: of its command line. `more`: added to the default users file, e.g. {"roles": {"x": […]}, "users": {…}}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    users, log = folder / "users.yaml", folder / "log"
    write_users_file(users, {user: f"{user}-secret" for user in USERS})
    if more:
        content = yaml.safe_load(users.read_text())
        users.write_text(yaml.safe_dump({**more, **{key: {**content[key], **more.get(key, {})} for key in content}}))
    begun = time.monotonic()
    with log.open("wb") as output:
        arguments = ["--data", str(folder / "data"), "--port", str(port), "--users", str(users), *options]
        process = subprocess.Popen(
            [sys.executable, "-m", "lockgate.embedded.warehouse", *arguments],
            stdout=output,
            stderr=output,
            env={**os.environ, "TZ": "Asia/Tokyo"},  # whatever the machine's zone is, the warehouse's is UTC
        )
    while b"on http://" not in log.read_bytes():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() - begun < 60, log.read_text()
        time.sleep(0.02)
    ports = [int(found) for found in re.findall(r"https?://127.0.0.1:([0-9]+)", log.read_text())]
    running = RunningWarehouse(process, ports[0], folder, log, time.monotonic() - begun)
    running.tls_port = ports[1] if len(ports) > 1 else 0
    return running


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWarehouse]:
    """One warehouse for all tests that leave it as they found it."""
    running = start(tmp_path_factory.mktemp("warehouse"), 0, "--tls-port", "0")
    yield running
    assert running.stop() == 0, running.log.read_text()
    assert "Traceback" not in running.log.read_text()


@pytest.fixture
def database(warehouse: RunningWarehouse, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of the test's own."""
    name = "t_" + "".join(letter if letter.isalnum() else "_" for letter in request.node.name)[:50].lower()
    warehouse.ask(f"CREATE DATABASE {name}")
    yield name
    warehouse.ask(f"DROP DATABASE {name} SYNC")
