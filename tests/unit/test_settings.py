"""An address in the environment replaces an embedded part, and nothing else changes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lockgate.settings import ROOT, Settings, SettingsError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home in which a stack was started before: its passwords are there."""
    passwords = {"clickhouse": {"platform": "p", "analyst": "a"}, "postgres": {"lockgate": "l@x"}}
    (tmp_path / "secrets.json").write_text(json.dumps(passwords))
    return tmp_path


class TestWithoutAddresses:
    def test_everything_is_embedded_and_on_loopback(self, home: Path) -> None:
        settings = Settings(home=home, kafka_port=1, clickhouse_port=2, postgres_port=3)
        assert (settings.embedded_kafka, settings.embedded_clickhouse, settings.embedded_postgres) == (True, True, True)
        assert settings.kafka() == {"bootstrap.servers": "127.0.0.1:1", "security.protocol": "PLAINTEXT"}
        assert settings.clickhouse("analyst").base_url == "http://127.0.0.1:2"
        assert settings.postgres("lockgate") == "postgresql://lockgate:l%40x@127.0.0.1:3/lockgate"

    def test_an_account_has_its_own_password(self, home: Path) -> None:
        settings = Settings(home=home)
        assert [settings.clickhouse(user).password for user in ("platform", "analyst")] == ["p", "a"]
        with pytest.raises(SettingsError, match="'nobody'"):
            settings.clickhouse("nobody")

    def test_before_the_first_start_it_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="run `lockgate up` first"):
            Settings(home=tmp_path / "new").clickhouse()


class TestAddresses:
    @pytest.fixture(autouse=True)
    def addresses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "one:9092,two:9092")
        monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
        monkeypatch.setenv("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512")
        monkeypatch.setenv("KAFKA_SASL_USERNAME", "ada")
        monkeypatch.setenv("KAFKA_SASL_PASSWORD", "s3cret")
        monkeypatch.setenv("KAFKA_SSL_CA_LOCATION", "/ca.pem")
        monkeypatch.setenv("CLICKHOUSE_URL", "https://ada:p%40ss@warehouse")
        monkeypatch.setenv("POSTGRES_URL", "postgresql://ada:s3cret@db:5432?sslmode=require")

    def test_replace_every_part(self) -> None:
        settings = Settings()
        embedded = (settings.embedded_kafka, settings.embedded_clickhouse, settings.embedded_postgres)
        assert embedded == (False, False, False)
        assert settings.postgres("dagster") == "postgresql://ada:s3cret@db:5432/dagster?sslmode=require"

    def test_kafka_gets_the_credentials_and_the_authority(self) -> None:
        assert Settings().kafka() == {
            "bootstrap.servers": "one:9092,two:9092",
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "ada",
            "sasl.password": "s3cret",
            "ssl.ca.location": "/ca.pem",
        }

    def test_the_warehouses_own_account_serves_whoever_asks(self) -> None:
        """An address names one account; the embedded one's several are the laptop's alone."""
        endpoint = Settings().clickhouse("analyst")
        assert (endpoint.user, endpoint.password, endpoint.port) == ("ada", "p@ss", 8443)
        assert endpoint.base_url == "https://warehouse:8443", "without credentials: it is shown to people"

    def test_no_password_is_in_what_python_prints(self) -> None:
        assert "s3cret" not in repr(Settings())
        assert "p%40ss" not in repr(Settings())
        assert "p@ss" not in repr(Settings().clickhouse())

    @pytest.mark.parametrize("url", ["warehouse:8123", "clickhouse://warehouse", "https://"])
    def test_a_warehouse_address_of_another_kind_is_refused(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CLICKHOUSE_URL", url)
        with pytest.raises(SettingsError, match="CLICKHOUSE_URL must look like"):
            Settings().clickhouse()

    @pytest.mark.parametrize("url", ["mysql://db", "postgresql://db:5432/lockgate"])
    def test_a_postgresql_address_names_no_database(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("POSTGRES_URL", url)
        with pytest.raises(SettingsError, match="without a database"):
            Settings().postgres("lockgate")


SASL: dict[str, Any] = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "PLAIN"}
PASSWORD: dict[str, Any] = {"kafka_sasl_username": "ada", "kafka_sasl_password": "s3cret"}
OAUTH: dict[str, Any] = {
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_mechanism": "OAUTHBEARER",
    "kafka_sasl_oauth_token_url": "https://tokens/token",
    "kafka_sasl_oauth_client_id": "us",
    "kafka_sasl_oauth_client_secret": "s3cret",
}
CERTIFICATE: dict[str, Any] = {"kafka_ssl_certificate_location": "/us.pem", "kafka_ssl_key_location": "/us.key"}


class TestHowKafkaIsReached:
    def test_by_a_token_for_client_credentials(self) -> None:
        assert Settings(**OAUTH, kafka_sasl_oauth_scope="kafka").kafka() == {
            "bootstrap.servers": "127.0.0.1:19092",
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": "https://tokens/token",
            "sasl.oauthbearer.client.id": "us",
            "sasl.oauthbearer.client.secret": "s3cret",
            "sasl.oauthbearer.scope": "kafka",
        }

    def test_by_a_certificate_whose_key_is_encrypted(self) -> None:
        settings = Settings(kafka_security_protocol="SSL", **CERTIFICATE, kafka_ssl_key_password="s3cret")
        assert settings.kafka()["ssl.key.password"] == "s3cret"
        assert settings.kafka()["ssl.certificate.location"] == "/us.pem"

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (PASSWORD, "PLAINTEXT, so nobody would use KAFKA_SASL_PASSWORD and KAFKA_SASL_USERNAME: say SASL_SSL"),
            (PASSWORD | {"kafka_security_protocol": "SSL"}, "SSL, so nobody would use KAFKA_SASL_PASSWORD"),
            (
                {"kafka_ssl_ca_location": "/ca"},
                "PLAINTEXT, so nobody would use KAFKA_SSL_CA_LOCATION: say SSL or SASL_SSL",
            ),
            ({"kafka_security_protocol": "SASL_SSL"}, "say how with KAFKA_SASL_MECHANISM"),
            (SASL, "PLAIN: it needs KAFKA_SASL_PASSWORD and KAFKA_SASL_USERNAME"),
            (SASL | {"kafka_sasl_username": "ada"}, "it needs KAFKA_SASL_PASSWORD"),
            (SASL | PASSWORD | {"kafka_sasl_oauth_scope": "x"}, "nobody would use KAFKA_SASL_OAUTH_SCOPE: take it out"),
            (OAUTH | PASSWORD, "OAUTHBEARER, so nobody would use KAFKA_SASL_PASSWORD and KAFKA_SASL_USERNAME"),
            (OAUTH | {"kafka_sasl_oauth_client_secret": None}, "OAUTHBEARER: it needs KAFKA_SASL_OAUTH_CLIENT_SECRET"),
            (
                {"kafka_security_protocol": "SSL", "kafka_ssl_key_location": "/k"},
                "KAFKA_SSL_CERTIFICATE_LOCATION is missing",
            ),
        ],
    )
    def test_what_contradicts_itself_is_refused_before_anybody_is_asked(self, given: dict[str, Any], said: str) -> None:
        with pytest.raises(SettingsError, match=said):
            Settings(**given).kafka()

    def test_a_mechanism_that_we_do_not_speak_is_refused(self) -> None:
        with pytest.raises(SettingsError, match=r"KAFKA_SASL_MECHANISM is .*SCRAM-SHA-512"):
            Settings(kafka_sasl_mechanism="GSSAPI")

    def test_no_secret_is_in_what_python_prints(self) -> None:
        everything = Settings(**OAUTH, **CERTIFICATE, kafka_ssl_key_password="s3cret", kafka_sasl_password="s3cret")
        assert "s3cret" not in repr(everything) + str(everything) + str(everything.model_dump())
        assert "s3cret" not in everything.model_dump_json()


def test_folders_of_ones_own_replace_what_is_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Settings().contracts, Settings().dbt_project) == (ROOT / "contracts", ROOT / "dbt_project")
    monkeypatch.setenv("LOCKGATE_CONTRACTS", "/mine")
    assert Settings().contracts == Path("/mine")


def test_the_workers_socket_fits_whatever_the_home(tmp_path: Path) -> None:
    near, deep = Settings(home=tmp_path / "h"), Settings(home=tmp_path / ("d" * 120))
    assert len(str(near.worker_socket)) <= 107
    assert len(str(deep.worker_socket)) <= 107
    assert deep.worker_socket != Settings(home=tmp_path / ("e" * 120)).worker_socket


class TestKeptInTheHome:
    @pytest.fixture(autouse=True)
    def kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("LOCKGATE_RECON_PAIRS", raising=False)
        kept = {"recon_pairs": "/kept/pairs.yml", "first_hour": "2016-01-01 01:00:00+00:00"}
        (tmp_path / "settings.json").write_text(json.dumps(kept))

    @pytest.mark.parametrize("named", ["argument", "environment"])
    def test_holds_for_whoever_names_the_home(
        self, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if named == "environment":
            monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
        settings = Settings(home=tmp_path) if named == "argument" else Settings()
        assert settings.recon_pairs == Path("/kept/pairs.yml")
        assert settings.first_hour == datetime(2016, 1, 1, 1, tzinfo=UTC)

    def test_not_for_another_home(self, tmp_path: Path) -> None:
        assert Settings(home=tmp_path / "other").recon_pairs is None

    def test_the_environment_wins(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOCKGATE_RECON_PAIRS", "/mine.yml")
        assert Settings(home=tmp_path).recon_pairs == Path("/mine.yml")

    def test_a_file_that_is_no_json_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "settings.json").write_text("{")
        with pytest.raises(SettingsError, match=r"settings\.json cannot be read"):
            Settings(home=tmp_path)


class TestWhatCannotBeUsed:
    @pytest.mark.parametrize("number", ["0", "65536", "99999", "-1"])
    def test_a_port_that_is_none_is_refused_by_the_name_of_its_variable(
        self, monkeypatch: pytest.MonkeyPatch, number: str
    ) -> None:
        monkeypatch.setenv("LOCKGATE_KAFKA_PORT", number)
        with pytest.raises(SettingsError) as refused:
            Settings()
        assert str(refused.value) == f"LOCKGATE_KAFKA_PORT is '{number}': a port is a number from 1 to 65535"

    def test_all_of_them_are_named_and_secrets_are_not_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOCKGATE_DAGSTER_PORT", "many")
        monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "TLS")
        with pytest.raises(
            SettingsError, match=r"KAFKA_SECURITY_PROTOCOL is 'TLS': .*LOCKGATE_DAGSTER_PORT is 'many': "
        ):
            Settings()
        with pytest.raises(SettingsError, match=r"CLICKHOUSE_URL: Input should be a valid string") as refused:
            Settings(clickhouse_url=12345)
        assert "12345" not in str(refused.value)

    def test_an_empty_variable_counts_as_not_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOCKGATE_HOME", "")
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "")
        assert Settings().home_dir == Path(".lockgate").absolute()
        assert Settings().embedded_kafka


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOCKGATE_BATCH_ROWS", "0"),
        ("LOCKGATE_FIRST_HOUR", "yesterday"),
        ("KAFKA_SECURITY_PROTOCOL", "x"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=f"^{variable} is '{value}': Input should be "):
        Settings()


@pytest.mark.parametrize("port", ["99x", "99999", "0"])
def test_an_address_with_no_port_that_is_one_is_refused(port: str) -> None:
    with pytest.raises(SettingsError, match="CLICKHOUSE_URL must look like"):
        Settings(clickhouse_url=f"http://u:p@h:{port}").clickhouse()
    with pytest.raises(SettingsError, match="POSTGRES_URL must look like"):
        Settings(postgres_url=f"postgresql://u:p@h:{port}").postgres("lockgate")
