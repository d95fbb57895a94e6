"""One broker with every kind of listener for the session, and settings for each way in."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from lockgate.embedded.supervisor import Supervisor
from lockgate.settings import Settings
from tests.integration.kafka import secure_broker as secure
from tests.integration.kafka.certificates import KEY_PASSWORD, Authority
from tests.integration.kafka.token_server import TokenServer


@dataclass(frozen=True)
class SecureKafka:
    """A running broker, and what one needs to come in."""

    ports: secure.Listeners
    authority: Authority
    stranger: Authority  # whom the broker does not trust, nor anybody the broker
    client: tuple[Path, Path]
    tokens: TokenServer
    admin: AdminClient

    def by(self, way: str, **changed: Any) -> dict[str, Any]:
        """Settings of a way in: `sasl`, `sasl_tls` or `certificates`, with others in place of some."""
        port = {"sasl": self.ports.sasl, "sasl_tls": self.ports.sasl_tls, "certificates": self.ports.certificates}[way]
        protocol = {"sasl": "SASL_PLAINTEXT", "sasl_tls": "SASL_SSL", "certificates": "SSL"}[way]
        made: dict[str, Any] = {"kafka_bootstrap_servers": f"127.0.0.1:{port}", "kafka_security_protocol": protocol}
        if way != "sasl":
            made["kafka_ssl_ca_location"] = str(self.authority.ca)
        if way == "certificates":
            certificate, key = self.client
            made |= {"kafka_ssl_certificate_location": str(certificate), "kafka_ssl_key_location": str(key)}
            made |= {"kafka_ssl_key_password": KEY_PASSWORD}
        return made | changed

    def as_client(self, **changed: Any) -> dict[str, Any]:
        """By a token for client credentials."""
        return {
            "kafka_sasl_mechanism": "OAUTHBEARER",
            "kafka_sasl_oauth_token_url": self.tokens.token_url,
            "kafka_sasl_oauth_client_id": secure.CLIENT,
            "kafka_sasl_oauth_client_secret": secure.CLIENT_SECRET,
            "kafka_sasl_oauth_scope": "kafka",
        } | changed

    def allow(self, user: str, topics: str, *operations: AclOperation) -> None:
        """Let a user do something with all topics whose names begin so."""
        self._add(user, (ResourceType.TOPIC, topics, ResourcePatternType.PREFIXED), operations)

    def allow_group(self, user: str, group: str, operation: AclOperation) -> None:
        self._add(user, (ResourceType.GROUP, group, ResourcePatternType.LITERAL), [operation])

    def _add(self, user: str, what: tuple[Any, str, Any], operations: Iterable[AclOperation]) -> None:
        bindings = [
            AclBinding(*what, f"User:{user}", "*", operation, AclPermissionType.ALLOW) for operation in operations
        ]
        for future in self.admin.create_acls(bindings).values():
            future.result(30)


def as_user(mechanism: str = "SCRAM-SHA-512", **changed: Any) -> dict[str, Any]:
    """By user and password."""
    return {
        "kafka_sasl_mechanism": mechanism,
        "kafka_sasl_username": secure.USER,
        "kafka_sasl_password": secure.PASSWORD,
    } | changed


@pytest.fixture(scope="session")
def kafka() -> Iterator[SecureKafka]:
    ports = secure.listeners()
    settings = new_home_settings(ports)
    folder = settings.home_dir / "certificates"
    folder.mkdir(parents=True)
    authority, stranger = Authority(folder, "ours"), Authority(folder, "strangers")
    client = authority.issue("client", KEY_PASSWORD)
    with TokenServer({secure.CLIENT: secure.CLIENT_SECRET}) as tokens:
        service = secure.service(settings, ports, authority, tokens.keys_url)
        supervisor = Supervisor(settings.home_dir, [service], report=print)
        supervisor.start()
        try:
            admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{ports.open}"}, logger=logging.getLogger(__name__))
            _add_user(admin)
            yield SecureKafka(ports, authority, stranger, client, tokens, admin)
        finally:
            supervisor.stop()
    shutil.rmtree(settings.home_dir)


def new_home_settings(ports: secure.Listeners) -> Settings:
    home = Path(tempfile.mkdtemp(prefix="lockgate-test-"))
    return Settings(home=home, kafka_port=ports.open, kafka_controller_port=ports.controller)


def _add_user(admin: AdminClient) -> None:
    """Of SCRAM, whose passwords the broker keeps itself; one at a time, or it refuses."""
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        made = UserScramCredentialUpsertion(secure.USER, ScramCredentialInfo(mechanism, 4096), secure.PASSWORD.encode())
        for future in admin.alter_user_scram_credentials([made]).values():
            future.result(30)
