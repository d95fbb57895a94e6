"""The embedded broker with every kind of listener: open for who administers, passwords and tokens, TLS, certificates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lockgate.embedded import broker
from lockgate.embedded.files import write_atomically
from lockgate.embedded.ports import free_ports
from lockgate.embedded.service import Report, Service
from lockgate.settings import Settings
from tests.integration.kafka.certificates import Authority
from tests.integration.kafka.token_server import AUDIENCE, ISSUER

USER, PASSWORD = "lockgate", "pa55word-of-lockgate"
STRANGER, STRANGERS_PASSWORD = "stranger", "pa55word-of-stranger"  # known to the broker, allowed nothing
CLIENT, CLIENT_SECRET = "lockgate-client", "s3cret-of-client"

_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
_OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
_VALIDATOR = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"


@dataclass(frozen=True)
class Listeners:
    """Ports on loopback. `open` asks for nothing, and who comes by it may do everything."""

    open: int
    controller: int
    sasl: int
    sasl_tls: int
    certificates: int


def listeners() -> Listeners:
    return Listeners(*free_ports(5))


def service(settings: Settings, ports: Listeners, authority: Authority, keys_url: str) -> Service:
    """The embedded broker's service, with these listeners and an authorizer."""
    made = broker.service(settings)
    java, *rest = made.argv

    def prepare(report: Report) -> None:
        made.prepare(report)
        properties = settings.home_dir / "kafka" / "server.properties"
        write_atomically(properties, properties.read_text() + _properties(ports, authority, keys_url))

    allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys_url}"
    return replace(made, argv=(java, allowed, *rest), prepare=prepare)


def _properties(ports: Listeners, authority: Authority, keys_url: str) -> str:
    """A later line of a properties file takes the place of an earlier one."""
    named = {
        "PLAINTEXT": ports.open,
        "SASL": ports.sasl,
        "SASL_TLS": ports.sasl_tls,
        "CERTIFICATES": ports.certificates,
    }
    addresses = ",".join(f"{name}://127.0.0.1:{port}" for name, port in named.items())
    certificate, key = authority.issue("broker")
    pem = _as_one_file(certificate, key)
    mechanisms = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"
    lines = [
        f"listeners={addresses},CONTROLLER://127.0.0.1:{ports.controller}",
        f"advertised.listeners={addresses}",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,SASL_TLS:SASL_SSL,CERTIFICATES:SSL",
        f"sasl.enabled.mechanisms={mechanisms}",
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users=User:ANONYMOUS",
        f"sasl.oauthbearer.jwks.endpoint.url={keys_url}",
        f"sasl.oauthbearer.expected.audience={AUDIENCE}",
        f"sasl.oauthbearer.expected.issuer={ISSUER}",
        "ssl.keystore.type=PEM",
        f"ssl.keystore.location={pem}",
        "ssl.truststore.type=PEM",
        f"ssl.truststore.location={authority.ca}",
        "listener.name.certificates.ssl.client.auth=required",
    ]
    users = " ".join(f'user_{user}="{word}"' for user, word in ((USER, PASSWORD), (STRANGER, STRANGERS_PASSWORD)))
    for listener in ("sasl", "sasl_tls"):
        prefix = f"listener.name.{listener}"
        lines += [
            f"{prefix}.plain.sasl.jaas.config={_PLAIN} required {users};",
            f"{prefix}.scram-sha-256.sasl.jaas.config={_SCRAM} required;",
            f"{prefix}.scram-sha-512.sasl.jaas.config={_SCRAM} required;",
            f"{prefix}.oauthbearer.sasl.jaas.config={_OAUTH} required;",
            f"{prefix}.oauthbearer.sasl.server.callback.handler.class={_VALIDATOR}",
        ]
    return "\n".join(["", *lines, ""])


def _as_one_file(certificate: Path, key: Path) -> Path:
    both = certificate.with_name("broker-keystore.pem")
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both
