"""An OAuth server on loopback: hands out tokens for client credentials, and the key that they are signed with."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER, AUDIENCE = "https://tokens.example", "kafka"


class TokenServer:
    """Serves while it is entered. `clients`: id → secret. `like`: signs as that one does. `tls`: its certificate and key."""

    def __init__(
        self, clients: dict[str, str], like: TokenServer | None = None, tls: tuple[Path, Path] | None = None
    ) -> None:
        self._clients = clients
        self._key: rsa.RSAPrivateKey = (
            like._key if like else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )
        self.scopes: list[str] = []  # asked for, in order
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                server._answer_token(self, parse_qs(body))

            def do_GET(self) -> None:
                server._send(self, 200, {"keys": [server._public_key()]})

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        address = f"{'https' if tls else 'http'}://127.0.0.1:{self._http.server_address[1]}"
        self.token_url, self.keys_url = f"{address}/token", f"{address}/keys"

    def __enter__(self) -> TokenServer:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _answer_token(self, request: BaseHTTPRequestHandler, asked: dict[str, list[str]]) -> None:
        said = base64.b64decode(request.headers.get("Authorization", "Basic ").removeprefix("Basic ")).decode()
        client, _, secret = said.partition(":")
        if asked.get("grant_type") != ["client_credentials"] or self._clients.get(client) != secret:
            self._send(request, 401, {"error": "invalid_client", "error_description": "unknown client or wrong secret"})
            return
        scope = asked.get("scope", [""])[0]
        self.scopes.append(scope)
        self._send(
            request, 200, {"access_token": self._token(client, scope), "token_type": "Bearer", "expires_in": 300}
        )

    def _token(self, client: str, scope: str) -> str:
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": client, "scope": scope, "iat": now, "exp": now + 300}
        said = f"{_encoded({'alg': 'RS256', 'typ': 'JWT', 'kid': 'one'})}.{_encoded(claims)}"
        return f"{said}.{_base64(self._key.sign(said.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def _public_key(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        whole = {
            name: value.to_bytes((value.bit_length() + 7) // 8, "big")
            for name, value in (("n", numbers.n), ("e", numbers.e))
        }
        return {
            "kty": "RSA",
            "kid": "one",
            "use": "sig",
            "alg": "RS256",
            **{name: _base64(b) for name, b in whole.items()},
        }

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, code: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        request.send_response(code)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


def _encoded(part: dict[str, Any]) -> str:
    return _base64(json.dumps(part).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
