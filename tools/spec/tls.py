"""The client's side of a TLS 1.3 handshake without record layer (SPEC section 4.1; RFC 8446; RFC 9001 section 4)."""

import base64
import hashlib
import hmac
import os

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from codec import HANDSHAKE, INITIAL, SHORT, Reader
from protection import SUITES, expand_label, extract

ALPN = b"godwit/1"

CLIENT_HELLO, SERVER_HELLO, NEW_SESSION_TICKET, ENCRYPTED_EXTENSIONS = 1, 2, 4, 8
CERTIFICATE, CERTIFICATE_VERIFY, FINISHED = 11, 15, 20

SUPPORTED_GROUPS, SIGNATURE_ALGORITHMS, APPLICATION_PROTOCOLS, PADDING = 10, 13, 16, 21
EARLY_DATA, SUPPORTED_VERSIONS, KEY_SHARE, TRANSPORT_PARAMETERS = 42, 43, 51, 57

TLS_1_3 = 0x0304
X25519 = 0x001D
ECDSA_P256_SHA256, ED25519 = 0x0403, 0x0807


class TLSError(Exception):
    """The server's part of the handshake is wrong."""


def _vector(size, data):
    return len(data).to_bytes(size, "big") + data


def _message(kind, body):
    return bytes([kind]) + _vector(3, body)


def pin_of(public_key):
    spki = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "sha256-" + base64.urlsafe_b64encode(hashlib.sha256(spki).digest()).decode().rstrip("=")


def _extensions(reader):
    found = {}
    block = Reader(reader.take(reader.integer(2)))
    while block.more():
        kind = block.integer(2)
        found[kind] = block.take(block.integer(2))
    return found


class Handshake:
    """A handshake: hello goes out first, receive takes what comes, secrets and outgoing fill up on the way.

    parameters are the encoded transport parameters, or None to leave the extension out; hello_size pads ClientHello to that many bytes.
    """

    def __init__(self, parameters, pin, suites=SUITES, alpn=ALPN, hello_size=0):
        self._pin = pin
        self._private = X25519PrivateKey.generate()
        self._alpn = alpn
        self.random = os.urandom(32)
        self.hello = self._client_hello(parameters, suites, hello_size)
        self.suite = None
        self.secrets = {}
        self.outgoing = {}
        self.peer_parameters = None
        self.complete = False
        self.tickets = []
        self._waiting = {INITIAL: b"", HANDSHAKE: b"", SHORT: b""}
        self._expected = [SERVER_HELLO, ENCRYPTED_EXTENSIONS, CERTIFICATE, CERTIFICATE_VERIFY, FINISHED]
        self._transcript = self.hello
        self._offered = suites

    def _client_hello(self, parameters, suites, hello_size):
        share = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        extensions = {
            SUPPORTED_VERSIONS: _vector(1, TLS_1_3.to_bytes(2, "big")),
            SUPPORTED_GROUPS: _vector(2, X25519.to_bytes(2, "big")),
            SIGNATURE_ALGORITHMS: _vector(2, ECDSA_P256_SHA256.to_bytes(2, "big") + ED25519.to_bytes(2, "big")),
            KEY_SHARE: _vector(2, X25519.to_bytes(2, "big") + _vector(2, share)),
        }
        if self._alpn:
            extensions[APPLICATION_PROTOCOLS] = _vector(2, _vector(1, self._alpn))
        if parameters is not None:
            extensions[TRANSPORT_PARAMETERS] = parameters
        encoded = b"".join(kind.to_bytes(2, "big") + _vector(2, value) for kind, value in extensions.items())
        codes = b"".join(suite.code.to_bytes(2, "big") for suite in suites)
        start = b"\x03\x03" + self.random + _vector(1, b"") + _vector(2, codes) + b"\x01\x00"
        missing = hello_size - len(_message(CLIENT_HELLO, start + _vector(2, encoded)))
        if missing >= 4:
            encoded += PADDING.to_bytes(2, "big") + _vector(2, bytes(missing - 4))
        return _message(CLIENT_HELLO, start + _vector(2, encoded))

    def receive(self, level, data):
        """Takes the next bytes of CRYPTO frames at a level."""
        self._waiting[level] += data
        while len(self._waiting[level]) >= 4:
            size = 4 + int.from_bytes(self._waiting[level][1:4], "big")
            if len(self._waiting[level]) < size:
                return
            message, self._waiting[level] = self._waiting[level][:size], self._waiting[level][size:]
            self._take(level, message)

    def _take(self, level, message):
        kind = message[0]
        if level == SHORT:
            if kind != NEW_SESSION_TICKET:
                raise TLSError(f"message {kind} at the 1-RTT level")
            return self._ticket(Reader(message, 4))
        if not self._expected or kind != self._expected.pop(0):
            raise TLSError(f"message {kind} out of turn")
        if level != (INITIAL if kind == SERVER_HELLO else HANDSHAKE):
            raise TLSError(f"message {kind} at the {level} level")
        steps = {
            SERVER_HELLO: self._server_hello,
            ENCRYPTED_EXTENSIONS: self._encrypted_extensions,
            CERTIFICATE: self._certificate,
            CERTIFICATE_VERIFY: self._certificate_verify,
            FINISHED: self._finished,
        }
        steps[kind](Reader(message, 4), message)

    # The key schedule (RFC 8446, section 7.1)

    def _hash(self, data):
        return hashlib.new(self.suite.hash_name, data).digest()

    def _derive(self, secret, label, transcript):
        return self._expand(secret, label, self._hash(transcript))

    def _expand(self, secret, label, context):
        return expand_label(self.suite.hash_name, secret, label, context, len(self._hash(b"")))

    def _server_hello(self, reader, message):
        reader.take(2 + 32)
        if reader.take(reader.integer(1)):
            raise TLSError("a session ID in ServerHello")
        code = reader.integer(2)
        self.suite = next((suite for suite in self._offered if suite.code == code), None)
        extensions = _extensions(Reader(reader.rest(), 1))
        share = Reader(extensions[KEY_SHARE])
        group = share.integer(2)
        if self.suite is None or group != X25519 or extensions[SUPPORTED_VERSIONS] != TLS_1_3.to_bytes(2, "big"):
            raise TLSError("ServerHello chose what was not offered")
        shared = self._private.exchange(X25519PublicKey.from_public_bytes(share.take(share.integer(2))))
        self._transcript += message
        zeros = bytes(len(self._hash(b"")))
        early = extract(self.suite.hash_name, zeros, zeros)
        handshake = extract(self.suite.hash_name, self._derive(early, "derived", b""), shared)
        self.secrets[HANDSHAKE] = tuple(self._derive(handshake, f"{side} hs traffic", self._transcript) for side in "cs")
        self._master = extract(self.suite.hash_name, self._derive(handshake, "derived", b""), zeros)

    def _encrypted_extensions(self, reader, message):
        extensions = _extensions(reader)
        if extensions.get(APPLICATION_PROTOCOLS) != _vector(2, _vector(1, self._alpn)):
            raise TLSError("another application protocol")
        if EARLY_DATA in extensions:
            raise TLSError("early data")
        self.peer_parameters = extensions[TRANSPORT_PARAMETERS]
        self._transcript += message

    def _certificate(self, reader, message):
        if reader.take(reader.integer(1)):
            raise TLSError("a request context in the server's Certificate")
        entries = Reader(reader.take(reader.integer(3)))
        self._server_key = x509.load_der_x509_certificate(entries.take(entries.integer(3))).public_key()
        if pin_of(self._server_key) != self._pin:
            raise TLSError("the key does not match the pin")
        self._transcript += message

    def _certificate_verify(self, reader, message):
        scheme = reader.integer(2)
        signature = reader.take(reader.integer(2))
        signed = b" " * 64 + b"TLS 1.3, server CertificateVerify\0" + self._hash(self._transcript)
        key = self._server_key
        try:
            if scheme == ECDSA_P256_SHA256 and isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
            elif scheme == ED25519 and isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, signed)
            else:
                raise TLSError(f"signature scheme {scheme:#06x}")
        except InvalidSignature:
            raise TLSError("the server's signature is wrong") from None
        self._transcript += message

    def _verify_data(self, secret):
        key = self._expand(secret, "finished", b"")
        return hmac.digest(key, self._hash(self._transcript), self.suite.hash_name)

    def _finished(self, reader, message):
        client, server = self.secrets[HANDSHAKE]
        if not hmac.compare_digest(reader.rest(), self._verify_data(server)):
            raise TLSError("the server's Finished is wrong")
        self._transcript += message
        self.secrets[SHORT] = tuple(self._derive(self._master, f"{side} ap traffic", self._transcript) for side in "cs")
        self._exporter_secret = self._derive(self._master, "exp master", self._transcript)
        self.outgoing[HANDSHAKE] = _message(FINISHED, self._verify_data(client))
        self.complete = True

    def _ticket(self, reader):
        reader.take(4 + 4)
        reader.take(reader.integer(1))
        reader.take(reader.integer(2))
        self.tickets.append(_extensions(reader))

    def export(self, label, size):
        """TLS-Exporter with an empty context (RFC 8446, section 7.5)."""
        secret = self._derive(self._exporter_secret, label, b"")
        return expand_label(self.suite.hash_name, secret, "exporter", self._hash(b""), size)
