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


def test_a_certificate_is_renewed_before_its_end_around_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "state" / "key.pem"
    pair = KeyPair.load_or_make(path)
    end = pair.certificate.not_valid_after_utc.timestamp()
    assert pair.renewed() is None
    assert pair.renewed(end - 31 * 86400) is None
    assert KeyPair.load_or_make(path, end - 31 * 86400).certificate == pair.certificate
    renewed = KeyPair.load_or_make(path, end - 29 * 86400)
    assert renewed.certificate != pair.certificate
    assert renewed.certificate.not_valid_after_utc > pair.certificate.not_valid_after_utc
    assert renewed.hash == key_hash(renewed.certificate) == pair.hash
    assert KeyPair.load_or_make(path, end - 29 * 86400).certificate == renewed.certificate
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_server_shows_the_renewed_certificate_to_those_who_come() -> None:
    pair = KeyPair.make()
    server = ServerTLS(pair)
    end = pair.certificate.not_valid_after_utc.timestamp()
    renewed = pair.renewed(end)
    assert renewed is not None
    server.show(renewed)
    client = ClientTLS().clientConnectionForTLS(None)
    shake_hands(server.serverConnectionForTLS(None), client)
    shown = client.get_peer_certificate()
    assert shown is not None
    assert shown.to_cryptography() == renewed.certificate
    check_key(Transport(client), pair.hash)
