"""The whole way over TLS, by user and password, with the rights that docs/kafka-security.md asks for and no others."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import yaml
from confluent_kafka.admin import AclOperation

from demo.inputs import SAMPLE
from lockgate.clients.kafka import GROUP, NotAuthorized
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import load_contracts
from lockgate.landing.land import Lander
from lockgate.ledger.batches import Batches
from lockgate.names import LEDGER_DATABASE
from lockgate.operations.prepare import prepare
from lockgate.operations.replay import replay
from lockgate.settings import ROOT, Settings
from tests.integration.demo.old_pipeline import OldPipeline
from tests.integration.kafka import secure_broker as secure
from tests.integration.kafka.conftest import SecureKafka, as_user

TOPIC = "tls.github.events"
LANDS = (AclOperation.DESCRIBE, AclOperation.READ)
PASSWORD = ("kafka_sasl_username", "kafka_sasl_password")
SENDS = (AclOperation.CREATE, AclOperation.DESCRIBE_CONFIGS, AclOperation.WRITE)


def test_prepare_replay_land_and_the_old_pipeline(stack: Settings, kafka: SecureKafka, tmp_path: Path) -> None:
    kafka.allow(secure.USER, "tls.", *LANDS, *SENDS)
    kafka.allow_group(secure.USER, GROUP, AclOperation.DESCRIBE)
    kafka.allow_group(secure.USER, "legacy", AclOperation.READ)  # where the old pipeline says how far it is
    settings = over_tls(stack, kafka, tmp_path)
    contract = load_contracts(settings.contracts)["github_events"]
    prepare(settings)
    hour = SAMPLE / "2016-01-01-03.ndjson.gz"
    sent = len(gzip.decompress(hour.read_bytes()).splitlines())
    assert replay(settings, contract, hour).produced == sent

    with Warehouse(settings.clickhouse()) as warehouse, Postgres(settings.postgres(LEDGER_DATABASE)) as postgres:
        (report,) = Lander(settings, warehouse, Batches(postgres, "tls", 60)).land([contract])
        assert (report.landed, report.quarantined, report.problems) == (sent, 0, [])
        rows = warehouse.value(f"SELECT count() FROM staging.github_events WHERE _topic = '{TOPIC}'")
        assert rows == sent

    old = OldPipeline(settings)
    old.forget()
    with old.running():
        old.wait_until_consumed(sent)


def test_landing_without_the_right_to_read_says_which(stack: Settings, kafka: SecureKafka, tmp_path: Path) -> None:
    """It may see the topic, so the failure comes with the first message, not with the first question."""
    kafka.allow(secure.CLIENT, "tls.", AclOperation.DESCRIBE)
    kafka.allow_group(secure.CLIENT, GROUP, AclOperation.DESCRIBE)
    kafka.allow(secure.USER, "tls.", *LANDS, *SENDS)
    settings = over_tls(stack, kafka, tmp_path)
    contract = load_contracts(settings.contracts)["github_events"]
    prepare(settings)
    replay(settings, contract, SAMPLE / "2016-01-01-03.ndjson.gz")
    other = kafka.by("sasl") | kafka.as_client() | dict.fromkeys(("kafka_ssl_ca_location", *PASSWORD), None)
    as_other = Settings.model_validate(settings.model_dump() | other)
    with (
        Warehouse(settings.clickhouse()) as warehouse,
        Postgres(settings.postgres(LEDGER_DATABASE)) as postgres,
        pytest.raises(NotAuthorized, match=r"docs/kafka-security\.md"),
    ):
        Lander(as_other, warehouse, Batches(postgres, "other", 60)).land([contract])


def over_tls(stack: Settings, kafka: SecureKafka, folder: Path) -> Settings:
    """The stack with the secure broker in place of its own, and a topic that no other test lands."""
    document = yaml.safe_load((ROOT / "contracts" / "github_events.yml").read_text()) | {"topic": TOPIC}
    (folder / "contracts").mkdir()
    (folder / "contracts" / "github_events.yml").write_text(yaml.safe_dump(document))
    changed = kafka.by("sasl_tls") | as_user() | {"contracts": folder / "contracts"}
    return Settings.model_validate(stack.model_dump() | changed)
