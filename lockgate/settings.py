"""Every setting of Lockgate, and the only reader of the environment.

An address in the environment replaces the embedded part; nothing but settings differs between a laptop and a cluster.
What the environment leaves open is looked up in `<home>/settings.json`: what `lockgate demo` sets there holds for every
command that is run beside it.
`Settings()` reads the environment each time it is made: nothing is read at import.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, quote, unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent


def shipped(folder: str) -> Path:
    """A folder that people edit beside the code: the checkout's, or its copy in an installed wheel (setup.py puts it there)."""
    installed = Path(__file__).resolve().parent / "_project"
    return (installed if installed.is_dir() else ROOT) / folder


class SettingsError(RuntimeError):
    """A setting is missing or cannot be used; the message says which and what to do."""


@dataclass(frozen=True)
class Endpoint:
    """Where a ClickHouse HTTP server is, and who we are there."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    secure: bool = False

    @property
    def base_url(self) -> str:
        """The address without credentials, for people and for logs."""
        return f"{'https' if self.secure else 'http'}://{self.host}:{self.port}"


class KeptInHome(PydanticBaseSettingsSource):
    """The settings that are kept in the home, by field name."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return None, field_name, False  # the file is read whole, by `__call__`

    def __call__(self) -> dict[str, Any]:
        home = self.current_state.get("home", self.settings_cls.model_fields["home"].default)
        return kept_settings(Path(home))


def kept_file(home: Path) -> Path:
    return home.expanduser().absolute() / "settings.json"


def kept_settings(home: Path) -> dict[str, Any]:
    """What is kept in a home, as it stands in its file. Raises SettingsError where the file cannot be read."""
    path = kept_file(home)
    try:
        return dict(json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read ({error}): mend it, or remove it") from error


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _kafka_faults(protocol: str, mechanism: str | None, given: set[str]) -> Iterator[str]:
    """What contradicts itself or is missing in how Kafka is reached. `given`: the variables that have a value."""
    sasl, ssl, oauth = (
        {variable for variable in given if variable.startswith(prefix)}
        for prefix in ("KAFKA_SASL_", "KAFKA_SSL_", "KAFKA_SASL_OAUTH_")
    )
    password = {"KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"}
    client = {f"KAFKA_SASL_OAUTH_{what}" for what in ("TOKEN_URL", "CLIENT_ID", "CLIENT_SECRET")}
    certificate = {"KAFKA_SSL_CERTIFICATE_LOCATION", "KAFKA_SSL_KEY_LOCATION"}
    if sasl and "SASL" not in protocol:
        yield f"KAFKA_SECURITY_PROTOCOL is {protocol}, so nobody would use {_listed(sasl)}: say SASL_SSL or SASL_PLAINTEXT"
    if ssl and "SSL" not in protocol:
        yield f"KAFKA_SECURITY_PROTOCOL is {protocol}, so nobody would use {_listed(ssl)}: say SSL or SASL_SSL"
    if "SASL" in protocol and mechanism is None:
        yield f"KAFKA_SECURITY_PROTOCOL is {protocol}: say how with KAFKA_SASL_MECHANISM"
    if mechanism is not None:
        needed, unused = (client, sasl & password) if mechanism == "OAUTHBEARER" else (password, oauth)
        if needed - given:
            yield f"KAFKA_SASL_MECHANISM is {mechanism}: it needs {_listed(needed - given)}"
        if unused:
            yield f"KAFKA_SASL_MECHANISM is {mechanism}, so nobody would use {_listed(unused)}: take it out"
    if len(certificate & given) == 1:
        yield f"a certificate and its key belong together: {_listed(certificate - given)} is missing"


def _has_usable_port(parts: SplitResult) -> bool:
    """No port at all will do, too: the protocol's own is taken then."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _listed(variables: set[str]) -> str:
    return " and ".join(sorted(variables))


def _fault(settings: type[BaseSettings], found: Mapping[str, Any]) -> str:
    """One sentence, without what was given where that may be a secret."""
    field = str(found["loc"][0])
    name = next((n for n, info in settings.model_fields.items() if field in (n, info.alias)), field)
    info = settings.model_fields.get(name)
    variable = (info.alias if info else None) or f"LOCKGATE_{name.upper()}"
    value = "" if info and "SecretStr" in str(info.annotation) else f" is {found['input']!r}"
    return f"{variable}{value}: {found['msg'].removeprefix('Value error, ')}"


def _port(number: int) -> int:
    if not 1 <= number <= 65535:
        raise ValueError("a port is a number from 1 to 65535")
    return number


Port = Annotated[int, AfterValidator(_port)]


class Settings(BaseSettings):
    """Each field is read from the variable named as its alias, or `LOCKGATE_<FIELD>`; then from the home's file.

    An empty variable counts as one that is not set: an empty LOCKGATE_HOME is not the current folder.
    """

    model_config = SettingsConfigDict(
        env_prefix="LOCKGATE_", env_ignore_empty=True, populate_by_name=True, extra="ignore"
    )

    def __init__(self, **given: Any) -> None:
        """Raises SettingsError, naming each variable that cannot be used."""
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise SettingsError("; ".join(_fault(type(self), found) for found in error.errors())) from None

    home: Path = Field(Path(".lockgate"), description="all state of the embedded stack: data, logs, secrets")
    cache: Path | None = Field(None, description="downloads kept between checkouts; default: the user's cache folder")
    contracts: Path = Field(shipped("contracts"), description="the folder of stream contracts")
    dbt_project: Path = Field(shipped("dbt_project"), description="the dbt project")
    recon_pairs: Path | None = Field(
        None, description="which old table is held against which new mart; none: there is nothing old to compare"
    )

    java_home: str | None = Field(None, alias="JAVA_HOME", description="replaces the Java runtime of the lock")
    spark_master: str = Field(
        "local[2]", alias="SPARK_MASTER", description="Spark's master: threads of one machine, or a cluster's address"
    )

    kafka_bootstrap_servers: str | None = Field(
        None, alias="KAFKA_BOOTSTRAP_SERVERS", description="host:port,…: replaces the embedded broker"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", alias="KAFKA_SECURITY_PROTOCOL", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = Field(
        None, alias="KAFKA_SASL_MECHANISM", description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
    )
    kafka_sasl_username: str | None = Field(None, alias="KAFKA_SASL_USERNAME", description="for PLAIN and SCRAM")
    kafka_sasl_password: SecretStr | None = Field(None, alias="KAFKA_SASL_PASSWORD", description="for PLAIN and SCRAM")
    kafka_sasl_oauth_token_url: str | None = Field(
        None,
        alias="KAFKA_SASL_OAUTH_TOKEN_URL",
        description="for OAUTHBEARER: where tokens are had for client credentials",
    )
    kafka_sasl_oauth_client_id: str | None = Field(
        None, alias="KAFKA_SASL_OAUTH_CLIENT_ID", description="for OAUTHBEARER"
    )
    kafka_sasl_oauth_client_secret: SecretStr | None = Field(
        None, alias="KAFKA_SASL_OAUTH_CLIENT_SECRET", description="for OAUTHBEARER"
    )
    kafka_sasl_oauth_scope: str | None = Field(
        None, alias="KAFKA_SASL_OAUTH_SCOPE", description="for OAUTHBEARER, where the token server asks for one"
    )
    kafka_sasl_oauth_ca_location: str | None = Field(
        None,
        alias="KAFKA_SASL_OAUTH_CA_LOCATION",
        description="file: whom we trust to be the token server; default: the machine's authorities",
    )
    kafka_ssl_ca_location: str | None = Field(
        None,
        alias="KAFKA_SSL_CA_LOCATION",
        description="file: whose certificates are trusted; default: the machine's authorities",
    )
    kafka_ssl_certificate_location: str | None = Field(
        None, alias="KAFKA_SSL_CERTIFICATE_LOCATION", description="file: our own certificate, where brokers ask for one"
    )
    kafka_ssl_key_location: str | None = Field(
        None, alias="KAFKA_SSL_KEY_LOCATION", description="file: the key of that certificate"
    )
    kafka_ssl_key_password: SecretStr | None = Field(
        None, alias="KAFKA_SSL_KEY_PASSWORD", description="of that key, where it is encrypted"
    )

    clickhouse_url: SecretStr | None = Field(
        None, alias="CLICKHOUSE_URL", description="http(s)://user:password@host:port"
    )
    postgres_url: SecretStr | None = Field(
        None, alias="POSTGRES_URL", description="postgresql://user:password@host:port, without a database"
    )

    kafka_port: Port = Field(19092, description="port of the embedded broker")
    kafka_controller_port: Port = Field(19093, description="port of its controller")
    clickhouse_port: Port = Field(18123, description="port of the embedded warehouse (HTTP)")
    clickhouse_tls_port: Port | None = Field(
        None, description="port of the embedded warehouse for HTTPS; none: no HTTPS"
    )
    clickhouse_certificate: Path | None = Field(
        None,
        description="file (PEM): its certificate; none: it makes one, `warehouse/data/tls/certificate.pem` in the home",
    )
    clickhouse_key: Path | None = Field(None, description="file (PEM): the key of that certificate, if it is not in it")
    postgres_port: Port = Field(15432, description="port of the embedded PostgreSQL")
    dagster_port: Port = Field(3000, description="port of Dagster's webserver")

    first_hour: datetime | None = Field(None, description="first hourly partition that Dagster lists (UTC)")
    batch_rows: int = Field(250_000, gt=0, description="most rows of one landed batch")
    batch_bytes: int = Field(128 << 20, gt=0, description="most bytes of one landed batch")
    landing_workers: int = Field(2, gt=0, description="how many batches of a stream one process lands side by side")
    most_parts: int = Field(
        600, gt=0, description="parts of one table partition above which landing waits for the warehouse's merges"
    )
    patience_seconds: float = Field(
        60.0,
        ge=0,
        description="how long landing waits for a warehouse that does not keep up, before the next tick goes on",
    )
    tail: bool = Field(
        False,
        description="whether `lockgate up` also runs `lockgate tail`: what arrives is in `staging.<stream>__now` at once",
    )
    tail_milliseconds: float = Field(
        15.0,
        gt=0,
        description="from one look of the tail at what has arrived to the next, at least",
    )
    tail_patience_seconds: float = Field(
        3.0, ge=0, description="how long a tick waits for a tail to seal what it has landed, before it takes over"
    )
    lease_seconds: float = Field(
        60.0, gt=0, description="how long a batch or a publish may be silent before it is taken over"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The first that has a value wins."""
        return init_settings, env_settings, KeptInHome(settings_cls)

    # --- what follows from them ---------------------------------------------------------------------------------

    @property
    def home_dir(self) -> Path:
        return self.home.expanduser().absolute()

    @property
    def cache_dir(self) -> Path:
        if self.cache:
            return self.cache.expanduser().absolute()
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(base).expanduser() / "lockgate"

    @property
    def logs_dir(self) -> Path:
        return self.home_dir / "logs"

    @property
    def dbt_target_dir(self) -> Path:
        """Where dbt writes its manifest: state, so never inside the project folder."""
        return self.home_dir / "dbt"

    @property
    def worker_socket(self) -> Path:
        """The resident worker's socket. A Unix socket's path may have 107 bytes at most, so deep homes get a short one."""
        path = self.home_dir / "worker.sock"
        if len(os.fsencode(path)) <= 100:
            return path
        import hashlib
        import tempfile

        digest = hashlib.sha256(os.fsencode(self.home_dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"lockgate-{os.getuid()}-{digest}.sock"

    @property
    def embedded_kafka(self) -> bool:
        return self.kafka_bootstrap_servers is None

    @property
    def embedded_clickhouse(self) -> bool:
        return self.clickhouse_url is None

    @property
    def embedded_postgres(self) -> bool:
        return self.postgres_url is None

    @property
    def embedded_services(self) -> frozenset[str]:
        """The servers that the stack runs itself, and the worker, by their names in `lockgate status`."""
        own = {"broker": self.embedded_kafka, "warehouse": self.embedded_clickhouse, "postgres": self.embedded_postgres}
        return frozenset({"worker", *(name for name, embedded in own.items() if embedded)})

    def kafka(self) -> dict[str, Any]:
        """The librdkafka settings that every producer, consumer and admin client starts from.

        Raises SettingsError where they contradict each other: a password that nobody would use is a mistake, and not a small one.
        """
        self._check_kafka()
        oauth = self.kafka_sasl_mechanism == "OAUTHBEARER"
        config: dict[str, Any] = {
            "bootstrap.servers": self.kafka_bootstrap_servers or f"127.0.0.1:{self.kafka_port}",
            "security.protocol": self.kafka_security_protocol,
            "sasl.mechanism": self.kafka_sasl_mechanism,
            "sasl.username": self.kafka_sasl_username,
            "sasl.password": _revealed(self.kafka_sasl_password),
            "sasl.oauthbearer.method": "oidc" if oauth else None,
            "sasl.oauthbearer.token.endpoint.url": self.kafka_sasl_oauth_token_url,
            "sasl.oauthbearer.client.id": self.kafka_sasl_oauth_client_id,
            "sasl.oauthbearer.client.secret": _revealed(self.kafka_sasl_oauth_client_secret),
            "sasl.oauthbearer.scope": self.kafka_sasl_oauth_scope,
            "https.ca.location": self.kafka_sasl_oauth_ca_location,
            "ssl.ca.location": self.kafka_ssl_ca_location,
            "ssl.certificate.location": self.kafka_ssl_certificate_location,
            "ssl.key.location": self.kafka_ssl_key_location,
            "ssl.key.password": _revealed(self.kafka_ssl_key_password),
        }
        return {key: value for key, value in config.items() if value is not None}

    def _check_kafka(self) -> None:
        named = {info.alias: getattr(self, name) for name, info in type(self).model_fields.items() if info.alias}
        given = {alias for alias, value in named.items() if value is not None}
        for fault in _kafka_faults(self.kafka_security_protocol, self.kafka_sasl_mechanism, given):
            raise SettingsError(fault)

    def clickhouse(self, user: str = "platform") -> Endpoint:
        """The warehouse. `user` picks an account of the embedded one; an address of yours names its own account."""
        if self.clickhouse_url is None:
            return Endpoint("127.0.0.1", self.clickhouse_port, user, self.secret("clickhouse", user))
        parts = urlsplit(self.clickhouse_url.get_secret_value())
        if parts.scheme not in ("http", "https") or not parts.hostname or not _has_usable_port(parts):
            raise SettingsError("CLICKHOUSE_URL must look like http://user:password@host:8123")
        secure = parts.scheme == "https"
        return Endpoint(
            parts.hostname,
            parts.port or (8443 if secure else 8123),
            unquote(parts.username or "default"),
            unquote(parts.password or ""),
            secure,
        )

    def postgres(self, database: str) -> str:
        """A libpq address of one of our databases (names.LEDGER_DATABASE and so on)."""
        if self.postgres_url is None:
            password = quote(self.secret("postgres", "lockgate"), safe="")
            return f"postgresql://lockgate:{password}@127.0.0.1:{self.postgres_port}/{database}"
        parts = urlsplit(self.postgres_url.get_secret_value())
        schemes = ("postgresql", "postgres")
        if parts.scheme not in schemes or parts.path not in ("", "/") or not _has_usable_port(parts):
            raise SettingsError("POSTGRES_URL must look like postgresql://user:password@host:5432, without a database")
        query = f"?{parts.query}" if parts.query else ""
        return f"postgresql://{parts.netloc}/{database}{query}"

    @property
    def secrets_file(self) -> Path:
        """Passwords of the embedded parts, made at the first `lockgate up`, readable by their owner only."""
        return self.home_dir / "secrets.json"

    def secret(self, service: str, user: str) -> str:
        """Raises SettingsError where the stack has never been started, or has no such account."""
        try:
            return str(json.loads(self.secrets_file.read_text())[service][user])
        except FileNotFoundError:
            raise SettingsError(f"no stack was ever started in {self.home_dir}: run `lockgate up` first") from None
        except KeyError:
            raise SettingsError(f"{self.secrets_file} has no password for {service} user {user!r}") from None
