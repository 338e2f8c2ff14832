"""Why a TLS handshake fails, by OpenSSL's numbers: the clients of Kafka and MySQL pass on its text alone."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

_TIMEOUT = 5.0  # seconds
_LAST_WORD = 1.0  # seconds: under TLS 1.3 a server refuses a client's certificate only after the handshake

# X509_V_ERR_… of OpenSSL's x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNTRUSTED = {18, 19, 20, 21}
_OTHER_HOST = {62, 64}  # name, IP address


class ClientCertificateRefusedError(Exception):
    """The server ended the connection over the client's certificate, or for want of one."""


def shake_hands(context: ssl.SSLContext, host: str, port: int, *, listen: bool) -> None:
    """One handshake, which raises ssl.SSLError or OSError if it fails.

    With `listen`, what the server has against the client's certificate is waited for a second:
    ClientCertificateRefusedError.
    """
    with (
        socket.create_connection((host, port), _TIMEOUT) as raw,
        context.wrap_socket(raw, server_hostname=host) as line,
    ):
        line.settimeout(_LAST_WORD if listen else 0)
        try:
            with suppress(TimeoutError, ssl.SSLWantReadError):
                line.recv(1)
        except ssl.SSLEOFError:
            return  # the server has ended the connection without a word
        except ssl.SSLError as error:
            raise ClientCertificateRefusedError from error


def cause(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The verification failure behind an exception, if there is one."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__
    return error


def told(error: ssl.SSLCertVerificationError, host: str, authority: str, address: str) -> tuple[str, str]:
    """What is wrong with the server's certificate, and the way out; `authority` and `address` name settings."""
    code = error.verify_code
    if code == _EXPIRED:
        return "its certificate has expired", "Have the server's certificate renewed."
    if code == _NOT_YET_VALID:
        return "its certificate is not valid yet", "Set both clocks by NTP, or have the certificate issued anew."
    if code in _UNTRUSTED:
        return (
            "its certificate is signed by an authority that is not trusted",
            f"Set {authority} to the PEM file of the authority that signed it.",
        )
    if code in _OTHER_HOST:
        return (
            f"its certificate is for another host name than {host}",
            f"Name the server as its certificate does ({address}), or have it issued for {host} too.",
        )
    return f"its certificate cannot be trusted ({error.verify_message})", f"Check {authority} and the certificate."
