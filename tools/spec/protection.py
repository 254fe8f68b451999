"""Packet protection of godwit/1: keys, header protection, plain mode, Retry (SPEC section 3; RFC 9001 sections 5 and 6)."""

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from codec import expand_number

INITIAL_SALT = bytes.fromhex("25a1a86024f66c086ed7c7b342278366679b96d1")
RETRY_KEY = bytes.fromhex("34c126b4ef8a0d59cda47372f90f6e69")
RETRY_NONCE = bytes.fromhex("37a42516896e87868ada1784")
CHECKSUM_LABEL = "EXPORTER-godwit-checksum"


class OpenError(ValueError):
    """A packet that cannot be opened with these keys."""


# HKDF (RFC 5869) and HKDF-Expand-Label (RFC 8446, section 7.1)


def extract(hash_name, salt, secret):
    return hmac.digest(salt, secret, hash_name)


def expand_label(hash_name, secret, label, context, size):
    label = b"tls13 " + label.encode()
    info = size.to_bytes(2, "big") + bytes([len(label)]) + label + bytes([len(context)]) + context
    output, block = b"", b""
    while len(output) < size:
        block = hmac.digest(secret, block + info + bytes([len(output) // hashlib.new(hash_name).digest_size + 1]), hash_name)
        output += block
    return output[:size]


# Suites


def _aes_mask(key, sample):
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(sample)


def _chacha_mask(key, sample):
    return Cipher(algorithms.ChaCha20(key, sample), mode=None).encryptor().update(bytes(5))


@dataclass(frozen=True)
class Suite:
    name: str
    code: int
    hash_name: str
    key_size: int
    aead: type
    mask: object


AES_128 = Suite("TLS_AES_128_GCM_SHA256", 0x1301, "sha256", 16, AESGCM, _aes_mask)
AES_256 = Suite("TLS_AES_256_GCM_SHA384", 0x1302, "sha384", 32, AESGCM, _aes_mask)
CHACHA20 = Suite("TLS_CHACHA20_POLY1305_SHA256", 0x1303, "sha256", 32, ChaCha20Poly1305, _chacha_mask)
SUITES = (AES_128, AES_256, CHACHA20)


class Keys:
    """The protection of one direction at one encryption level."""

    overhead = 16

    def __init__(self, suite, secret, header_key=None):
        self.suite = suite
        self.secret = secret
        self.key = expand_label(suite.hash_name, secret, "quic key", b"", suite.key_size)
        self.iv = expand_label(suite.hash_name, secret, "quic iv", b"", 12)
        # A key update leaves the header protection key as it is.
        self.header_key = header_key or expand_label(suite.hash_name, secret, "quic hp", b"", suite.key_size)
        self._aead = suite.aead(self.key)

    def next(self):
        size = hashlib.new(self.suite.hash_name).digest_size
        secret = expand_label(self.suite.hash_name, self.secret, "quic ku", b"", size)
        return Keys(self.suite, secret, self.header_key)

    def _nonce(self, number):
        return (int.from_bytes(self.iv, "big") ^ number).to_bytes(12, "big")

    def seal(self, header, number, payload):
        """The protected packet; header ends with the packet number."""
        size = (header[0] & 3) + 1
        sealed = self._aead.encrypt(self._nonce(number), payload, header)
        mask = self.suite.mask(self.header_key, sealed[4 - size : 20 - size])
        protected = bytearray(header)
        protected[0] ^= mask[0] & (0x0F if header[0] & 0x80 else 0x1F)
        for i in range(size):
            protected[len(header) - size + i] ^= mask[1 + i]
        return bytes(protected) + sealed

    def unmask(self, packet, number_at, largest):
        """The header without its protection and the packet number."""
        sample = packet[number_at + 4 : number_at + 20]
        if len(sample) < 16:
            raise OpenError("too short for a sample")
        mask = self.suite.mask(self.header_key, sample)
        first = packet[0] ^ mask[0] & (0x0F if packet[0] & 0x80 else 0x1F)
        size = (first & 3) + 1
        truncated = bytes(packet[number_at + i] ^ mask[1 + i] for i in range(size))
        return bytes([first]) + packet[1:number_at] + truncated, expand_number(truncated, largest)

    def open(self, packet, header, number):
        """The payload; header and number come from unmask."""
        try:
            return self._aead.decrypt(self._nonce(number), packet[len(header) :], header)
        except InvalidTag:
            raise OpenError("authentication failed") from None


def initial_keys(connection_id):
    """The keys of the client's and of the server's Initial packets."""
    secret = extract("sha256", INITIAL_SALT, connection_id)
    return tuple(Keys(AES_128, expand_label("sha256", secret, label, b"", 32)) for label in ("client in", "server in"))


def retry_tag(original_destination, retry):
    """The integrity tag of a Retry, which is given without it."""
    pseudo = bytes([len(original_destination)]) + original_destination + retry
    return AESGCM(RETRY_KEY).encrypt(RETRY_NONCE, b"", pseudo)


# Plain mode


def _shift(r):
    for _ in range(8):
        r = r >> 1 ^ 0x82F63B78 if r & 1 else r >> 1
    return r


_SHIFTED = [_shift(byte) for byte in range(256)]


def crc32c(data, seed=0):
    r = seed ^ 0xFFFFFFFF
    for byte in data:
        r = r >> 8 ^ _SHIFTED[(r ^ byte) & 0xFF]
    return r ^ 0xFFFFFFFF


class PlainKeys:
    """A checksum in place of protection, with the methods of Keys."""

    overhead = 4

    def __init__(self, seed):
        self.seed = seed

    def seal(self, header, number, payload):
        return header + payload + crc32c(header + payload, self.seed).to_bytes(4, "little")

    def unmask(self, packet, number_at, largest):
        end = number_at + (packet[0] & 3) + 1
        return packet[:end], expand_number(packet[number_at:end], largest)

    def open(self, packet, header, number):
        if len(packet) < len(header) + 4 or crc32c(packet[:-4], self.seed).to_bytes(4, "little") != packet[-4:]:
            raise OpenError("the checksum does not match")
        return packet[len(header) : -4]
