"""TLS for the embedded warehouse: a certificate given, or one made at the first start and kept.

Belongs here: certificates and the SSL context. Does not: sockets (`server`). A certificate of ours is signed by itself:
a client trusts it by taking the file `certificate.pem` for its authority.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
from pathlib import Path

_DAYS = 397  # browsers and Apple's libraries refuse longer ones
_RENEW_DAYS = 30  # before its end, at a start, a certificate of ours is made anew


class TlsError(ValueError):
    """The certificate or its key cannot be used; the message says which and why."""


def context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """Of a server with `certificate` (PEM, its chain behind it) and `key`, which may stand in the same file.

    Raises TlsError.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        made.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(
            f"the certificate {certificate} with the key {key or certificate} cannot be used: {error}"
        ) from error
    return made


def own_certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """Paths of a certificate for `localhost` and `host`, and of its key, in `folder`; made if there is none for long."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    names = list(dict.fromkeys(["localhost", "127.0.0.1", "::1", socket.gethostname(), host]))
    if not _serve(certificate, key, names):
        folder.mkdir(parents=True, exist_ok=True)
        _make(certificate, key, names)
    return certificate, key


def _serve(certificate: Path, key: Path, names: list[str]) -> bool:
    """Whether the two belong together, name all of `names`, and will for a while."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError):
        return False
    left = found.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    told = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        private.public_key() == found.public_key()
        and left > datetime.timedelta(days=_RENEW_DAYS)
        and set(map(_general_name, names)) <= set(told)
    )


def _general_name(name: str):  # type: ignore[no-untyped-def] # x509.GeneralName, imported where it is needed only
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _make(certificate: Path, key: Path, names: list[str]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Lockgate's embedded warehouse")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    form, secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    _replace(key, private.private_bytes(encoding, form, secret), 0o600)
    _replace(certificate, signed.public_bytes(encoding), 0o644)


def _replace(path: Path, content: bytes, mode: int) -> None:
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    part.replace(path)
