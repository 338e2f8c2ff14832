"""MySQL from Debian or Ubuntu packages, without root, for tests and benchmarks.

Debian has MySQL only in unstable (sid), and it needs sid's libc. So the package is unpacked into the cache with all its
dependencies and runs with the dynamic loader from there.
"""

from __future__ import annotations

from pathlib import Path

from orderflow.embedded import debian
from orderflow.errors import StartFailed
from orderflow.jvm import cache


def command() -> list[str]:
    """The argv prefix that runs mysqld. The first call downloads its packages.

    Raises StartFailed if apt-get or dpkg is missing or fails.
    """
    prefix = cache.get_or_create("mysql", _unpack)
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
            "MySQL cannot be downloaded: apt-get and dpkg are missing.",
            hint="Put mysqld on PATH, or set TEST_MYSQL_HOST to a running server.",
        )
    debian.unpack(prefix, ["mysql-server-core*"], unstable=True)
