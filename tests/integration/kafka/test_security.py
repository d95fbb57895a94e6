"""Kafka behind passwords, tokens, TLS and certificates: every way in, and every way to be turned away."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest
from confluent_kafka.admin import AclOperation

from lockgate.clients.kafka import (
    AuthenticationFailed,
    BrokerError,
    BrokerUnavailable,
    KafkaAdmin,
    NotAuthorized,
    TlsFailed,
)
from lockgate.contracts import load_contracts
from lockgate.embedded.environment import inherited, settings_environment
from lockgate.settings import ROOT, Settings
from tests.integration.kafka import secure_broker as secure
from tests.integration.kafka.conftest import SecureKafka, as_user
from tests.integration.kafka.token_server import TokenServer

PAYMENTS = load_contracts(ROOT / "contracts")["payments"]
SECRETS = (secure.PASSWORD, secure.STRANGERS_PASSWORD, secure.CLIENT_SECRET, "wr0ng-pa55word", "key-pa55word")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("way", ["sasl", "sasl_tls"])
def test_in_by_user_and_password(kafka: SecureKafka, way: str, mechanism: str) -> None:
    assert KafkaAdmin(Settings(**kafka.by(way), **as_user(mechanism))).brokers() == 1


@pytest.mark.parametrize("way", ["sasl", "sasl_tls"])
def test_in_by_a_token(kafka: SecureKafka, way: str) -> None:
    assert KafkaAdmin(Settings(**kafka.by(way), **kafka.as_client())).brokers() == 1
    assert kafka.tokens.scopes[-1] == "kafka"


def test_in_by_a_token_of_a_server_with_an_authority_of_its_own(kafka: SecureKafka) -> None:
    with TokenServer(
        {secure.CLIENT: secure.CLIENT_SECRET}, like=kafka.tokens, tls=kafka.stranger.issue("tokens")
    ) as server:
        by_token = kafka.as_client(
            kafka_sasl_oauth_token_url=server.token_url, kafka_sasl_oauth_ca_location=str(kafka.stranger.ca)
        )
        assert KafkaAdmin(Settings(**kafka.by("sasl_tls"), **by_token)).brokers() == 1


def test_in_by_a_certificate_whose_key_is_encrypted(kafka: SecureKafka) -> None:
    assert KafkaAdmin(Settings(**kafka.by("certificates"))).brokers() == 1


class TestTurnedAway:
    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The library tries again until its time is up; what it then says does not depend on how long that was."""
        monkeypatch.setattr("lockgate.clients.kafka.ANSWER_SECONDS", 6.0)

    def refusal(self, **settings: Any) -> BrokerError:
        with pytest.raises(BrokerError) as raised:
            KafkaAdmin(Settings(**settings)).brokers()
        assert not [secret for secret in SECRETS if secret in str(raised.value)]
        return raised.value

    @pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
    def test_for_a_wrong_password(self, kafka: SecureKafka, mechanism: str) -> None:
        error = self.refusal(**kafka.by("sasl"), **as_user(mechanism, kafka_sasl_password="wr0ng-pa55word"))
        assert type(error) is AuthenticationFailed
        assert "does not take us for who we say we are: SASL authentication error: Authentication failed" in str(error)

    def test_for_a_wrong_client_secret(self, kafka: SecureKafka) -> None:
        wrong = kafka.as_client(kafka_sasl_oauth_client_secret="wr0ng-pa55word")
        error = self.refusal(**kafka.by("sasl"), **wrong)
        assert type(error) is AuthenticationFailed
        assert "unknown client or wrong secret" in str(error)

    def test_where_the_token_server_is_away_it_may_come_back(self, kafka: SecureKafka) -> None:
        away = kafka.as_client(kafka_sasl_oauth_token_url="http://127.0.0.1:1/token")
        error = self.refusal(**kafka.by("sasl"), **away)
        assert type(error) is BrokerUnavailable
        assert "the token server of KAFKA_SASL_OAUTH_TOKEN_URL does not answer" in str(error)

    def test_for_a_token_server_whose_tokens_the_broker_does_not_know(self, kafka: SecureKafka) -> None:
        with TokenServer({secure.CLIENT: secure.CLIENT_SECRET}) as strangers:
            foreign = kafka.as_client(kafka_sasl_oauth_token_url=strangers.token_url)
            assert type(self.refusal(**kafka.by("sasl"), **foreign)) is AuthenticationFailed

    def test_by_us_where_the_broker_has_no_certificate_of_our_authority(self, kafka: SecureKafka) -> None:
        error = self.refusal(**kafka.by("sasl_tls", kafka_ssl_ca_location=str(kafka.stranger.ca)), **as_user())
        assert type(error) is TlsFailed
        assert "certificate verify failed" in str(error)
        assert "See KAFKA_SSL_CA_LOCATION" in str(error)

    def test_without_a_certificate_where_one_is_asked_for(self, kafka: SecureKafka) -> None:
        nobody = dict.fromkeys(
            ("kafka_ssl_certificate_location", "kafka_ssl_key_location", "kafka_ssl_key_password"), None
        )
        error = self.refusal(**kafka.by("certificates", **nobody))
        assert type(error) is TlsFailed
        assert "KAFKA_SSL_CERTIFICATE_LOCATION (who we are)" in str(error)

    def test_with_a_certificate_of_somebody_elses(self, kafka: SecureKafka) -> None:
        certificate, key = kafka.stranger.issue("impostor")
        paths = {"kafka_ssl_certificate_location": str(certificate), "kafka_ssl_key_location": str(key)}
        assert type(self.refusal(**kafka.by("certificates", **paths, kafka_ssl_key_password=None))) is TlsFailed

    @pytest.mark.parametrize(
        ("changed", "variable"),
        [
            ({"kafka_ssl_key_password": "wr0ng-pa55word"}, "KAFKA_SSL_KEY_LOCATION cannot be used"),
            ({"kafka_ssl_ca_location": "/nowhere.pem"}, "KAFKA_SSL_CA_LOCATION cannot be used"),
        ],
    )
    def test_before_anybody_is_asked_where_a_file_is_of_no_use(
        self, kafka: SecureKafka, changed: dict[str, str], variable: str
    ) -> None:
        error = self.refusal(**kafka.by("certificates", **changed))
        assert type(error) is TlsFailed
        assert variable in str(error)

    def test_where_the_protocol_is_another(self, kafka: SecureKafka) -> None:
        open_to_tls = self.refusal(kafka_bootstrap_servers=f"127.0.0.1:{kafka.ports.sasl_tls}")
        assert "does it expect PLAINTEXT (KAFKA_SECURITY_PROTOCOL)?" in str(open_to_tls)
        tls_to_open = kafka.by("sasl_tls", kafka_bootstrap_servers=f"127.0.0.1:{kafka.ports.open}")
        assert type(self.refusal(**tls_to_open, **as_user())) is TlsFailed


class TestNotAllowed:
    STRANGER = as_user("PLAIN", kafka_sasl_username=secure.STRANGER, kafka_sasl_password=secure.STRANGERS_PASSWORD)

    def test_a_topic_of_which_one_may_know_nothing(self, kafka: SecureKafka) -> None:
        with pytest.raises(NotAuthorized, match=r"does not allow it: .*docs/kafka-security\.md"):
            KafkaAdmin(Settings(**kafka.by("sasl"), **self.STRANGER)).describe("somebodys")

    def test_the_doctor_says_what_is_missing_and_no_secret(self, kafka: SecureKafka, new_home: Any) -> None:
        """One topic may be seen and not read, the other not even seen."""
        kafka.allow(secure.STRANGER, "payments", AclOperation.DESCRIBE)
        KafkaAdmin(Settings(kafka_bootstrap_servers=f"127.0.0.1:{kafka.ports.open}")).ensure_topic(PAYMENTS)
        found = doctor(new_home(), kafka.by("sasl") | self.STRANGER)
        assert "✓ your broker: 127.0.0.1:" in found
        assert "by SASL_PLAINTEXT/PLAIN: 1 brokers" in found
        assert "✗ your group: not usable\n  → Kafka at 127.0.0.1:" in found
        assert "✗ your topic payments: may not be read\n  → grant READ on topic 'payments'" in found
        assert "✗ your topic github.events: not usable\n  → Kafka at 127.0.0.1:" in found

    def test_the_doctor_says_that_a_password_is_wrong(self, kafka: SecureKafka, new_home: Any) -> None:
        wrong = kafka.by("sasl_tls") | as_user(kafka_sasl_password="wr0ng-pa55word")
        found = doctor(new_home(), wrong)
        assert "✗ your broker: not usable\n  → Kafka at 127.0.0.1:" in found
        assert "does not take us for who we say we are" in found


def test_no_secret_is_logged(
    kafka: SecureKafka, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockgate.clients.kafka.ANSWER_SECONDS", 1.0)
    kafka_settings, talkative = Settings.kafka, {"debug": "security,broker,conf"}
    monkeypatch.setattr(Settings, "kafka", lambda self: kafka_settings(self) | talkative)
    with caplog.at_level(logging.DEBUG):
        for way in (as_user("PLAIN"), as_user("PLAIN", kafka_sasl_password="wr0ng-pa55word"), kafka.as_client()):
            admin = KafkaAdmin(Settings(**kafka.by("sasl"), **way))
            try:
                admin.brokers()
            except BrokerError as error:
                logging.getLogger(__name__).exception("%r of %r", error, vars(admin))
    said = "\n".join([caplog.text, *(str(vars(record)) for record in caplog.records)])
    assert "SASL" in said, "the library said nothing at all"
    assert not [secret for secret in SECRETS if secret in said]


def doctor(settings: Settings, by: dict[str, Any]) -> str:
    """What `lockgate doctor` says, where it must not say a secret."""
    found = subprocess.run(
        [sys.executable, "-m", "lockgate.cli", "doctor"],
        env=inherited(settings_environment(Settings(home=settings.home, **by))),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = found.stdout + found.stderr
    assert found.returncode == 1, said
    assert not [secret for secret in SECRETS if secret in said]
    return said
