"""TLS: which servers a client trusts, and which certificates a server accepts."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from uvicorn.server import ServerState

from conveyor import Conveyor, UnavailableError, UsageError
from conveyor.server.acceptor import HANDSHAKE_TIMEOUT, Acceptor
from conveyor.server.application import Application
from conveyor.server.http_limits import LimitedHttpProtocol
from conveyor.server.serve import Bind, Server, check_bind
from conveyor.server.server_config import ServerConfig
from conveyor.store.http.client import RETRY_FOR
from conveyor.store.http.store import HttpStore
from conveyor.store.memory.store import MemoryStore
from conveyor.store.open import open_store

PEM = serialization.Encoding.PEM


class Authority:
    """One who vouches for servers, with a key of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        made = self._certificate(self._name, self._key, x509.BasicConstraints(True, 0))
        self.file = self._write(f"{name}-ca.pem", made.public_bytes(PEM))

    def vouch(self, address: str, password: bytes = b"") -> tuple[str, str]:
        """Return files with a certificate for an address, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, address)])
        other = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        made = self._certificate(name, key, other)
        hidden = (
            serialization.BestAvailableEncryption(password)
            if password
            else serialization.NoEncryption()
        )
        kept = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, hidden)
        number = len(list(self._folder.iterdir()))
        return (
            self._write(f"{number}-cert.pem", made.public_bytes(PEM)),
            self._write(f"{number}-key.pem", kept),
        )

    def _certificate(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, more: x509.ExtensionType
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(more, critical=isinstance(more, x509.BasicConstraints))
            .sign(self._key, SHA256())
        )

    def _write(self, name: str, data: bytes) -> str:
        path = self._folder / name
        path.write_bytes(data)
        return str(path)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def server(authority: Authority) -> Iterator[str]:
    cert, key = authority.vouch("127.0.0.1")
    store = MemoryStore()
    bind = Bind(port=0, tls_cert=cert, tls_key=key)
    serving = Server(store, bind, tokens=False, config=ServerConfig())
    listening, url = serving.listen()
    import asyncio

    thread = threading.Thread(target=lambda: asyncio.run(serving.run(listening)))
    thread.start()
    yield url
    serving.stop()
    thread.join(60)
    store.close()


def test_a_client_with_the_certificate_of_the_ca_works_over_tls(
    server: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.startswith("https://127.0.0.1:")
    told = HttpStore(server, ca_file=authority.file)
    assert told.counts().result() == []
    told.close()
    monkeypatch.setenv("CONVEYOR_CA_FILE", authority.file)
    opened = open_store(server, token="")
    assert opened.counts().result() == []
    opened.close()
    belt = Conveyor(server)
    belt.queue("q").task(name="t")(lambda: None)
    assert belt.store.counts().result() == []
    belt.close()


def test_the_environment_variable_of_openssl_works(
    server: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authority.file)
    context = ssl.create_default_context()
    assert context.cert_store_stats()["x509_ca"] == 1


def test_a_certificate_of_an_unknown_ca_is_refused_at_once(server: str, tmp_path: Path) -> None:
    began = time.monotonic()
    for trusted in ("", Authority(tmp_path, "theirs").file):
        client = HttpStore(server, token="secret", ca_file=trusted)
        with pytest.raises(UnavailableError, match=r"not trusted.*CONVEYOR_CA_FILE"):
            client.counts().result()
        client.close()
    assert time.monotonic() < began + RETRY_FOR  # asking again would not help


def test_a_certificate_for_another_address_is_refused(authority: Authority, server: str) -> None:
    elsewhere = server.replace("127.0.0.1", "localhost")
    client = HttpStore(elsewhere, ca_file=authority.file)
    with pytest.raises(UnavailableError, match="is not trusted"):
        client.counts().result()
    client.close()


def test_plain_http_to_a_server_with_tls_is_unavailable(server: str) -> None:
    client = HttpStore(server.replace("https", "http"))
    with pytest.raises(UnavailableError, match="cannot be reached"):
        client.rescue(limit=1).result()
    client.close()


def test_invalid_certificates_are_refused_before_the_server_listens(
    authority: Authority, tmp_path: Path
) -> None:
    cert, key = authority.vouch("127.0.0.1")
    _, other = authority.vouch("127.0.0.1")
    _, locked = authority.vouch("127.0.0.1", b"password")
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    for given in (
        (cert, ""),
        ("", key),
        (cert, str(tmp_path / "missing.pem")),
        (cert, other),
        (cert, locked),
        (key, cert),
        (str(nothing), key),
        (cert, str(nothing)),
    ):
        with pytest.raises(UsageError):
            check_bind(Bind(tls_cert=given[0], tls_key=given[1]), tokens=False)
    check_bind(Bind(tls_cert=cert, tls_key=key), tokens=False)


def test_an_unreadable_ca_file_is_a_usage_error(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    for path in (nothing, tmp_path / "missing.pem"):
        with pytest.raises(UsageError, match="cannot read certificates"):
            HttpStore("https://127.0.0.1:1", ca_file=str(path))


def test_a_handshake_that_is_not_completed_is_ended(authority: Authority) -> None:
    import asyncio

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.vouch("127.0.0.1"))

    def make_protocol() -> LimitedHttpProtocol:
        return LimitedHttpProtocol(
            uvicorn.Config(Application(MemoryStore(), tokens=True)), ServerState(), {}
        )

    async def silent_client() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            acceptor = Acceptor(
                listening, make_protocol, limit=1, tls=context, handshake_timeout=0.2
            )
            acceptor.start()
            host, port = listening.getsockname()
            try:
                async with asyncio.timeout(60):
                    reader, writer = await asyncio.open_connection(host, port)
                    received = await reader.read()
                    writer.close()
                    return received
            finally:
                acceptor.stop()

    assert asyncio.run(silent_client()) == b""
    assert HANDSHAKE_TIMEOUT <= 10
