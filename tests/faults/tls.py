"""A certificate authority of our own, and TLS in front of a server that speaks none.

The Valkey of our wheel is built without TLS; a process before it takes it off (tls_front.py), as
stunnel does before a Redis that has none.
"""

import ipaddress
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers import ROOT, end, free_port

KEY_USES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
    "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


class Authority:
    """Signs certificates; `path` is its own, which those need who are to trust it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(self._name, self._key.public_key(), None)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, address: str) -> Path:
        """A file with the key and the certificate of a server at an IP address."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
        certificate = self._sign(name, key.public_key(), address)
        # Each its own: a server that was given one has it until it ends.
        path = self._folder / f"{self.path.stem}-{certificate.serial_number:x}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, address: str | None
    ) -> x509.Certificate:
        """With all that Python 3.13 asks for by default (VERIFY_X509_STRICT); an authority's
        own where there is no address."""
        own = self._key.public_key()
        uses = {"key_cert_sign", "crl_sign"} if address is None else {"digital_signature"}
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(address is None, None), critical=True)
            .add_extension(x509.KeyUsage(*(use in uses for use in KEY_USES)), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own), critical=False)
        )
        if address is not None:
            names = [x509.IPAddress(ipaddress.ip_address(address))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


class Front:
    """TLS in front of a port of this machine, on a port that stays the same."""

    def __init__(self, behind: int, certificate: Path) -> None:
        self.port = free_port()
        self.behind = behind
        self._process: subprocess.Popen[bytes] | None = None
        self.present(certificate)

    def present(self, certificate: Path) -> None:
        """Cut what is open, and show this certificate from now on."""
        self.stop()
        words = [str(certificate), str(self.port), str(self.behind)]
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.tls_front", *words],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

    def stop(self) -> None:
        if self._process:
            end(self._process)
