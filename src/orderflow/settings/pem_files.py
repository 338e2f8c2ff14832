"""Checks PEM files: certificates and keys."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Literal, NamedTuple


class FileProblem(NamedTuple):
    """A PEM file that cannot be used, and the reason."""

    file: Literal["authority", "certificate", "key"]
    reason: str


def file_problems(authority: str, certificate: str, key: str, *, password: str) -> Iterator[FileProblem]:
    """Yield the problems of these readable PEM files. An empty path means no file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority:
        try:
            context.load_verify_locations(authority)
        except ssl.SSLError:
            yield FileProblem("authority", "it contains no certificate in PEM format")
    if certificate and key and (problem := _chain_problem(certificate, key, password)):
        yield problem


def _chain_problem(certificate: str, key: str, password: str) -> FileProblem | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(certificate)
    except ssl.SSLError:
        return FileProblem("certificate", "it contains no certificate in PEM format")
    try:
        context.load_cert_chain(certificate, key, lambda: password)
    except (ssl.SSLError, ValueError) as error:  # ValueError: a password of more than 1,024 bytes
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            return FileProblem("key", "it is the key of another certificate")
        return FileProblem("key", "it contains no private key in PEM format, or the password does not decrypt it")
    return None
