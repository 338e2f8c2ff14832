"""Explains failed TLS handshakes by OpenSSL's error numbers. The Kafka and MySQL clients only return texts."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

_TIMEOUT = 5.0  # seconds
_REFUSAL_TIMEOUT = 1.0  # seconds: with TLS 1.3 a server refuses a client certificate only after the handshake

# X509_V_ERR_… of OpenSSL's x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNTRUSTED = {18, 19, 20, 21}
_OTHER_HOST = {62, 64}  # host name, IP address


class ClientCertificateRefused(Exception):
    """The server closed the connection because of a refused or missing client certificate."""


def handshake(context: ssl.SSLContext, host: str, port: int, *, await_refusal: bool) -> None:
    """Do one handshake.

    Raises ssl.SSLError or OSError if it fails. With `await_refusal`, waits one second for the server to refuse the
    client certificate, and then raises ClientCertificateRefused.
    """
    with (
        socket.create_connection((host, port), _TIMEOUT) as tcp,
        context.wrap_socket(tcp, server_hostname=host) as connection,
    ):
        connection.settimeout(_REFUSAL_TIMEOUT if await_refusal else 0)
        try:
            with suppress(TimeoutError, ssl.SSLWantReadError):
                connection.recv(1)
        except ssl.SSLEOFError:
            return  # the server has closed the connection without an error
        except ssl.SSLError as error:
            raise ClientCertificateRefused from error


def find_tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return the TLS error that caused an exception; None if there is none, or the connection only ended."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__
    return None if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) else error


def explain(error: ssl.SSLCertVerificationError, host: str, authority: str, address: str) -> tuple[str, str]:
    """Return the problem of the server's certificate and a hint. `authority` and `address` are names of settings."""
    code = error.verify_code
    if code == _EXPIRED:
        return "its certificate has expired", "Have the server's certificate renewed."
    if code == _NOT_YET_VALID:
        return "its certificate is not valid yet", "Synchronize both clocks by NTP, or have the certificate reissued."
    if code in _UNTRUSTED:
        return (
            "its certificate is signed by an authority that is not trusted",
            f"Set {authority} to the PEM file of the authority that signed it.",
        )
    if code in _OTHER_HOST:
        return (
            f"its certificate is not valid for host name {host}",
            f"Use a host name from the certificate ({address}), or have it issued for {host} too.",
        )
    return f"its certificate cannot be trusted ({error.verify_message})", f"Check {authority} and the certificate."
