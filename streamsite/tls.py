"""TLS by Hypercorn itself: the certificate, read at the start and again when it was renewed."""

import logging
import ssl
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured
from hypercorn.config import Config

from streamsite import env

logger = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0  # the longest that a peer may take for it


@dataclass(frozen=True)
class Certificate:
    """PEM files: the certificate with its chain, and its key."""

    chain: str
    key: str

    def put_into(self, context: ssl.SSLContext) -> None:
        """From here on new connections are shown it. Raises ImproperlyConfigured."""
        for name, path in (("TLS_CERT", self.chain), ("TLS_KEY", self.key)):
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                env.refuse(
                    name,
                    f"names {path}, which cannot be read ({error.strerror})",
                    "the path of a PEM file that this process may read",
                )
        try:
            # An encrypted key would have OpenSSL ask at the terminal.
            context.load_cert_chain(self.chain, self.key, password=lambda: b"")
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or "not PEM, or encrypted"
            env.refuse(
                "TLS_CERT",
                f"and TLS_KEY name files that do not work together ({reason})",
                "paths of PEM files: the certificate with its chain, and its own key without a"
                " password",
            )


def certificate(cert: str, key: str) -> Certificate | None:
    """Of the variables with these names; None without them. Both are read and checked."""
    chain, own_key = env.text(cert), env.text(key)
    if chain is None and own_key is None:
        return None
    if chain is None or own_key is None:
        missing, given = (cert, key) if chain is None else (key, cert)
        env.refuse(given, f"is set, but {missing} is not", "both, or neither")
    found = Certificate(chain, own_key)
    found.put_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    return found


class TlsConfig(Config):
    """Hypercorn's configuration, whose certificate can be read anew while it serves."""

    certificate: Certificate
    context: ssl.SSLContext | None = None

    def use(self, certificate: Certificate) -> None:
        self.certificate = certificate
        self.certfile, self.keyfile = certificate.chain, certificate.key
        self.ssl_handshake_timeout = HANDSHAKE_SECONDS

    def create_ssl_context(self) -> ssl.SSLContext | None:
        self.context = super().create_ssl_context()
        return self.context

    def renew(self) -> None:
        """Read the files again; where they do not work, what was shown before goes on."""
        if self.context is None:
            return
        try:
            # In one of its own first: half of a new pair would spoil what is shown.
            self.certificate.put_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self.certificate.put_into(self.context)
        except ImproperlyConfigured as error:
            logger.error("the certificate stays the old one: %s", error)
        else:
            logger.info("the certificate was read again")
