"""A test certificate authority based on openssl. It issues valid, expired and wrong-host certificates."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

THIS_HOST, OTHER_HOST = "IP:127.0.0.1,DNS:localhost", "DNS:elsewhere.example"
_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]


class Certificate(NamedTuple):
    """Paths of PEM files. `both` holds key and certificate, the form that Kafka brokers need."""

    certificate: Path
    key: Path
    both: Path


class Authority:
    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.certificate, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        _openssl("req", "-x509", *_NEW_KEY, "-noenc", "-subj", f"/CN={name}", *self._out(self.certificate, self._key))

    def issue(self, name: str, hosts: str = THIS_HOST, *, days: int = 2, passphrase: str = "") -> Certificate:
        """Issue a certificate for these hosts with the subject CN=`name`. With negative `days`, it has expired."""
        certificate, key, both = (self._folder / f"{name}{end}" for end in (".pem", ".key", ".both.pem"))
        request = self._folder / f"{name}.csr"
        names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={hosts}"]
        _openssl("req", *_NEW_KEY, "-noenc", *names, *self._out(request, key))
        signed = ["-CA", str(self.certificate), "-CAkey", str(self._key), "-copy_extensions", "copy"]
        _openssl("x509", "-req", "-in", str(request), *signed, "-days", str(days), "-out", str(certificate))
        if passphrase:
            protected = key.with_suffix(".protected")
            # Java before 19 reads only keys in this old encryption.
            as_java_reads = ("-topk8", "-v1", "PBE-SHA1-3DES", "-passout", f"pass:{passphrase}")
            _openssl("pkcs8", "-in", str(key), *as_java_reads, "-out", str(protected))
            protected.rename(key)
        both.write_text(key.read_text() + certificate.read_text())
        return Certificate(certificate, key, both)

    def _out(self, file: Path, key: Path) -> list[str]:
        return ["-out", str(file), "-keyout", str(key)]


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
