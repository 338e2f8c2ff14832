"""The genuine MySQL server from Debian's or Ubuntu's packages, without root: for tests and benches.

Debian has MySQL in unstable (sid) alone, and its own libc with it: so the package comes with everything it
depends on, is unpacked into the cache, and runs through the dynamic loader that was unpacked with it.
"""

from __future__ import annotations

from pathlib import Path

from orderflow.embedded import cache, debian
from orderflow.errors import StartFailed


def command() -> list[str]:
    """The argv prefix that runs mysqld; its packages are downloaded the first time.

    Raises StartFailed if the machine has no Debian-like package tools, or they fail.
    """
    prefix = cache.once("mysql", _unpack)
    [loader] = prefix.glob("usr/lib*/ld-linux-*.so.*")
    libraries = ":".join(map(str, [*prefix.glob("usr/lib/*-linux-gnu*"), prefix / "usr/lib/mysql/private"]))
    mysqld = f"{prefix}/usr/sbin/mysqld"
    return [
        *(str(loader), "--library-path", libraries, "--argv0", mysqld),
        *(mysqld, "--no-defaults", f"--basedir={prefix}/usr"),
    ]


def _unpack(prefix: Path) -> None:
    if not debian.available():
        raise StartFailed(
            "A genuine MySQL server cannot be downloaded here: apt-get and dpkg are missing.",
            hint="Put mysqld on PATH, or set TEST_MYSQL_HOST to a server that runs.",
        )
    debian.unpack(prefix, ["mysql-server-core*"], unstable=True)
