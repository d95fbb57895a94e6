"""A trust store for Java with the certificate authorities that this machine trusts.

Java brings a list of its own and does not look at the machine's: behind a company's proxy its downloads fail where
those of Python and curl succeed. The list written here is the one that Python's `ssl` uses, SSL_CERT_FILE included.
"""

from __future__ import annotations

import hashlib
import ssl
import struct
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

_STORE_PASSWORD = "changeit"  # Java's customary one: the store holds public certificates only
_JKS_MAGIC, _JKS_VERSION, _TRUSTED_CERTIFICATE = 0xFEEDFEED, 2, 2


def java_network_options(folder: Path) -> list[str]:
    """JVM options for downloads: this machine's authorities (the store is written into `folder`) and its proxy."""
    options: list[str] = []
    certificates = machine_certificates()
    if certificates:  # none: a Python without a list of its own, so Java's own list is the best there is
        store = folder / "authorities.jks"
        store.write_bytes(java_key_store(certificates))
        options += [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStoreType=JKS"]
    proxies = getproxies()
    for scheme in ("http", "https"):
        proxy = urlsplit(proxies.get(scheme, ""))
        if proxy.hostname:
            options += [f"-D{scheme}.proxyHost={proxy.hostname}", f"-D{scheme}.proxyPort={proxy.port or 80}"]
    if "no" in proxies:
        hosts = "|".join(f"*{host}" if host.startswith(".") else host for host in proxies["no"].split(",") if host)
        options.append(f"-Dhttp.nonProxyHosts={hosts}")
    return options


def machine_certificates() -> list[bytes]:
    """The DER form of each authority that Python trusts on this machine."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not context.get_ca_certs() and paths.capath:  # a folder of them is read lazily by OpenSSL: read it now
        for file in sorted(Path(paths.capath).glob("*.0")):
            context.load_verify_locations(file)
    return context.get_ca_certs(binary_form=True)


def java_key_store(certificates: list[bytes]) -> bytes:
    """A JKS key store of trusted certificates (DER). The format ends in a SHA-1 over password and content."""
    body = struct.pack(">III", _JKS_MAGIC, _JKS_VERSION, len(certificates))
    for number, certificate in enumerate(certificates):
        body += struct.pack(">I", _TRUSTED_CERTIFICATE) + _utf(f"authority{number}") + struct.pack(">Q", 0)
        body += _utf("X.509") + struct.pack(">I", len(certificate)) + certificate
    salted = _STORE_PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + body
    return body + hashlib.sha1(salted, usedforsecurity=False).digest()


def _utf(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack(">H", len(encoded)) + encoded
