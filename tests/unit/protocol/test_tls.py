"""The coordinator's key: made once, kept private, known by its hash."""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path

import pytest
from ampacity.protocol.errors import InsecureFolder, WrongKey
from ampacity.protocol.tls import ClientTLS, KeyPair, ServerTLS, check_key, key_hash
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL, crypto


def test_the_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "key.pem"
    made = KeyPair.load_or_make(path)
    assert KeyPair.load_or_make(path).hash == made.hash
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "PRIVATE" not in repr(made)


def test_a_key_that_others_can_read_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "state" / "key.pem"
    KeyPair.load_or_make(path)
    path.chmod(0o644)
    with pytest.raises(InsecureFolder, match="chmod 600"):
        KeyPair.load_or_make(path)


def test_a_damaged_key_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "state" / "key.pem"
    KeyPair.load_or_make(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="PEM"):
        KeyPair.load_or_make(path)
    assert path.read_bytes() == b"nonsense"


def test_a_key_of_another_kind() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="another kind"):
        KeyPair.loads(pem)


def shake_hands(server: SSL.Connection, client: SSL.Connection) -> None:
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65536))


class Transport:
    def __init__(self, connection: SSL.Connection) -> None:
        self.connection = connection

    def getPeerCertificate(self) -> crypto.X509 | None:
        return self.connection.get_peer_certificate()


def test_the_key_is_checked_after_the_handshake() -> None:
    pair = KeyPair.make()
    client = ClientTLS().clientConnectionForTLS(None)
    shake_hands(ServerTLS(pair).serverConnectionForTLS(None), client)
    assert client.get_protocol_version_name() == "TLSv1.3"
    check_key(Transport(client), pair.hash)
    with pytest.raises(WrongKey, match="nothing was sent"):
        check_key(Transport(client), KeyPair.make().hash)


def test_nobody_without_a_key_is_right() -> None:
    with pytest.raises(WrongKey):
        check_key(Transport(ClientTLS().clientConnectionForTLS(None)), b"")


def test_older_versions_of_tls_are_not_spoken() -> None:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    server = ServerTLS(KeyPair.make()).serverConnectionForTLS(None)
    with pytest.raises(SSL.Error, match="unsupported protocol"):
        shake_hands(server, SSL.Connection(context, None))


def test_a_new_certificate_around_the_key_is_the_same_key(tmp_path: Path) -> None:
    from ampacity.protocol.tls import _certify

    pair = KeyPair.make()
    renewed = _certify(pair.key)
    assert renewed != pair.certificate
    assert key_hash(renewed) == pair.hash
