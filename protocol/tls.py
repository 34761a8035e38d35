"""TLS 1.3 between peers that know each other by the coordinator's public key, not by a CA.

The coordinator makes its key pair at its first start. A token names the SHA-256 of the key's
SubjectPublicKeyInfo, so that the certificate around the key can be renewed.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import hmac
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from zope.interface import implementer

from .access import read_secret, write_secret
from .errors import WrongKey

_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ampacity coordinator")])
_YEARS = 100

RENEWED_BEFORE = datetime.timedelta(days=30)
"""The end of a certificate, by which it is made again."""


@attrs.frozen
class KeyPair:
    """The coordinator's private key, with a certificate that it signed itself."""

    key: ec.EllipticCurvePrivateKey = attrs.field(repr=False)
    certificate: x509.Certificate = attrs.field(repr=False)

    @property
    def hash(self) -> bytes:
        """What a token names."""
        return key_hash(self.certificate)

    @classmethod
    def make(cls) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, _certify(key))

    def renewed(self, now: float | None = None) -> KeyPair | None:
        """The same key in a new certificate, where this one ends soon; else None. ``now``: UNIX
        time."""
        moment = _moment(now)
        if moment < self.certificate.not_valid_after_utc - RENEWED_BEFORE:
            return None
        return attrs.evolve(self, certificate=_certify(self.key, moment))

    @classmethod
    def load_or_make(cls, path: Path, now: float | None = None) -> KeyPair:
        """Blocking: the key pair in a file, which is made where it is missing. A certificate that
        ends soon is made again, around the same key.

        Raises:
            InsecureFolder: others can read the file or its folder.
            ValueError: the file holds no key of this kind.
        """
        try:
            kept = cls.loads(read_secret(path))
        except FileNotFoundError:
            pair = cls.make()
        else:
            renewed = kept.renewed(now)
            if renewed is None:
                return kept
            pair = renewed
        write_secret(path, pair.dumps())
        return pair

    @classmethod
    def loads(cls, pem: bytes) -> KeyPair:
        key = load_pem_private_key(pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the coordinator's key file holds a key of another kind")
        return cls(key, x509.load_pem_x509_certificate(pem))

    def dumps(self) -> bytes:
        secret = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return secret + self.certificate.public_bytes(Encoding.PEM)


def _moment(now: float | None) -> datetime.datetime:
    if now is None:
        return datetime.datetime.now(datetime.UTC)
    return datetime.datetime.fromtimestamp(now, datetime.UTC)


def _certify(
    key: ec.EllipticCurvePrivateKey, now: datetime.datetime | None = None
) -> x509.Certificate:
    """A certificate that never matters: peers compare the key. Its dates are wide for that."""
    now = now or _moment(None)
    return (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .sign(key, hashes.SHA256())
    )


def key_hash(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo."""
    info = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(info).digest()


def _context() -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # a ticket would resume a connection without the certificate being shown again
    context.set_options(SSL.OP_NO_TICKET)
    return context


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """The coordinator's side of TLS, for a ``TLSMemoryBIOFactory``."""

    def __init__(self, pair: KeyPair) -> None:
        self.show(pair)

    def show(self, pair: KeyPair) -> None:
        """Use this key pair for the connections to come."""
        self._context = _context()
        self._context.use_privatekey(pair.key)
        self._context.use_certificate(pair.certificate)
        self._context.check_privatekey()

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self._context, None)


@implementer(IOpenSSLClientConnectionCreator)
class ClientTLS:
    """The joining side of TLS. It accepts any certificate: ``check_key`` comes before any word."""

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(_client_context(), None)


@functools.cache
def _client_context() -> SSL.Context:
    """One for all connections, of which it knows nothing; to make one takes milliseconds."""
    context = _context()
    context.set_verify(SSL.VERIFY_NONE, _accept)
    return context


def _accept(*_: object) -> bool:
    return True


def check_key(transport: Any, expected: bytes) -> None:
    """See that the far end of a finished handshake has the key that a token names.

    Raises:
        WrongKey: it has another one, or none.
    """
    certificate = transport.getPeerCertificate()
    if certificate is None:
        raise WrongKey("the other side showed no key")
    if not hmac.compare_digest(key_hash(certificate.to_cryptography()), expected):
        raise WrongKey(
            "the coordinator at this address has another key than the token names; either the "
            "token is another coordinator's, or someone stands in between: nothing was sent"
        )
