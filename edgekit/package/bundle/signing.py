"""A detached ed25519 signature: 64 bytes that openssl, Java and node check without an install."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import MissingRuntime, UserError, VerificationError
from edgekit.records.foreign import read_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SUFFIX = ".sig"
MOST_BYTES = 1 << 16  # of a key, and of a signature


def private_key(path: Path) -> "Ed25519PrivateKey":
    """Reads the key that signs.

    Raises:
        UserError: It is no ed25519 private key without a password in PEM.
        MissingRuntime: The package cryptography is not installed.
    """
    serialization, ed25519 = _library()
    key = _read(path, "private", lambda data: serialization.load_pem_private_key(data, None))
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise UserError(
            f"{path} is not an ed25519 key; make one: openssl genpkey -algorithm ed25519 -out key.pem"
        )
    return key


def public_key(path: Path) -> "Ed25519PublicKey":
    """Reads the key that checks.

    Raises:
        UserError: It is no ed25519 public key in PEM.
        MissingRuntime: The package cryptography is not installed.
    """
    serialization, ed25519 = _library()
    key = _read(path, "public", serialization.load_pem_public_key)
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise UserError(
            f"{path} is not an ed25519 public key; make it: openssl pkey -in key.pem -pubout -out pub.pem"
        )
    return key


def raw_public(key: "Ed25519PrivateKey") -> bytes:
    """The 32 bytes by which an app knows the key."""
    return key.public_key().public_bytes_raw()


def signature_file(path: Path) -> Path:
    """Where the signature of a file is."""
    return path.with_name(path.name + SUFFIX)


def sign(path: Path, key: "Ed25519PrivateKey") -> None:
    """Writes the signature beside the file."""
    signature_file(path).write_bytes(key.sign(path.read_bytes()))


def check_signature(path: Path, key: "Ed25519PublicKey") -> None:
    """Raises VerificationError where the signature is missing, or is not of this file and key."""
    from cryptography.exceptions import InvalidSignature

    signature = signature_file(path)
    if not signature.is_file():
        raise VerificationError(
            f"{path} is not signed: {signature.name} is missing; package it with --sign KEY"
        )
    try:
        key.verify(read_bytes(signature, MOST_BYTES), path.read_bytes())
    except InvalidSignature:
        raise VerificationError(f"{signature} is not the signature of {path.name} by this key") from None


def _library() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingRuntime("signatures need the package cryptography: pip install cryptography") from error
    return serialization, ed25519


def _read(path: Path, kind: str, load: Any) -> Any:
    try:
        return load(read_bytes(path, MOST_BYTES))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; give a {kind} key in PEM") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is not a {kind} key in PEM without a password") from error
