"""What may go wrong with Kafka, by name: away, refused, not trusted, not allowed, not there.

Belongs here: the errors that Kafka's clients raise, and telling librdkafka's apart. Does not: the clients (`kafka`).
"""

from __future__ import annotations

import re

from confluent_kafka import KafkaError

from lockgate.clients.errors import ClientError, TransientError

_PASSING = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError._WAIT_COORD,
        KafkaError._RETRY,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,  # a topic just made, on a busy broker
        KafkaError.NOT_CONTROLLER,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
    }
)
_REFUSED = frozenset(
    {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError.UNSUPPORTED_SASL_MECHANISM}
)
_NOT_ALLOWED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
AWAY = frozenset({KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE})


class BrokerError(ClientError):
    """Kafka refused. `code` is Kafka's own error code, or None."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class BrokerUnavailable(BrokerError, TransientError):
    """Kafka was away or busy; the outcome of what was asked is unknown."""


class AuthenticationFailed(BrokerError):
    """Kafka does not take us for who we say we are: user, password, mechanism or token."""


class TlsFailed(BrokerError):
    """No TLS connection: one side does not trust the other's certificate, or one side speaks none."""


class NotAuthorized(BrokerError):
    """Kafka knows who we are, and does not let us do this."""


class UnknownTopic(BrokerError):
    """There is no such topic."""


class TopicMismatch(BrokerError):
    """A topic exists but is not what its contract asks for."""


def named(error: KafkaError, address: str) -> BrokerError:
    """`error` as one of ours, told apart by what may pass by itself. `address`: the bootstrap servers, for people."""
    code, text = error.code(), _plain(error.str())
    if code in _REFUSED:
        return _refused(text, address, code)
    if code == KafkaError._SSL or (code in AWAY and _SAYS_TLS.search(text)):
        return TlsFailed(
            f"no TLS connection to Kafka at {address}: {text}. See KAFKA_SSL_CA_LOCATION (whom we trust),"
            " KAFKA_SSL_CERTIFICATE_LOCATION (who we are) and KAFKA_SECURITY_PROTOCOL",
            code,
        )
    if code == KafkaError._INVALID_ARG and (wrong := _SSL_FILE.search(text)):
        variable = f"KAFKA_{wrong[0].replace('.', '_').upper()}"
        return TlsFailed(
            f"{variable} cannot be used ({text}): is the file there, is it PEM, and is KAFKA_SSL_KEY_PASSWORD right?",
            code,
        )
    if code in _NOT_ALLOWED:
        return NotAuthorized(
            f"Kafka at {address} does not allow it: {text}. What is needed: docs/kafka-security.md", code
        )
    if code in AWAY:
        return BrokerUnavailable(
            f"no Kafka broker answers at {address} ({text}): is it up? See `lockgate status`", code
        )
    if code in _PASSING or error.retriable():
        return BrokerUnavailable(f"Kafka at {address}: {text}", code)
    if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return UnknownTopic(f"Kafka at {address}: {text}", code)
    return BrokerError(f"Kafka at {address}: {text}", code)


def _refused(text: str, address: str, code: int) -> BrokerError:
    if "OAUTHBEARER token" in text and _SAYS_AWAY.search(text):
        return BrokerUnavailable(f"the token server of KAFKA_SASL_OAUTH_TOKEN_URL does not answer: {text}", code)
    return AuthenticationFailed(
        f"Kafka at {address} does not take us for who we say we are: {text}. See KAFKA_SASL_MECHANISM and what belongs to it",
        code,
    )


def _plain(text: str) -> str:
    """librdkafka's words without its own address and state: `sasl_ssl://h:1/bootstrap: … (after 3ms in state AUTH_REQ…)`."""
    return re.sub(r"^\w+://\S+?: |\s*\(after \d+ms in state [^)]*\)", "", text).rstrip(". ")


_SSL_FILE = re.compile(r"ssl\.(ca|certificate|key)\.location")
_SAYS_TLS = re.compile(r"SSL|TLS", re.IGNORECASE)
_SAYS_AWAY = re.compile(r"could( not|n't) (connect|resolve)|failed to connect|timed? ?out", re.IGNORECASE)


class Heard:
    """What a client's connections report beside its answers: a question that nobody could take ends as timed out, and only
    these reports say that a password or a certificate was why."""

    def __init__(self) -> None:
        self._worst: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN and (
            self._worst is None or _weight(error) >= _weight(self._worst)
        ):
            self._worst = error

    def forget(self) -> None:
        self._worst = None

    def instead_of(self, error: KafkaError) -> KafkaError:
        """The report behind a timeout, if there is one."""
        return self._worst if self._worst is not None and error.code() in AWAY else error


def _weight(error: KafkaError) -> int:
    """Later reports take the place of earlier ones that say no more. A refusal says more than a connection that broke."""
    return (
        2 if error.code() in _REFUSED else 1 if error.code() == KafkaError._SSL or _SAYS_TLS.search(error.str()) else 0
    )
