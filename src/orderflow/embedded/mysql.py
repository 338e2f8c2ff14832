"""The genuine MySQL server from Debian's or Ubuntu's packages, without root: for tests and benches.

Debian has MySQL in unstable (sid) alone, and its own libc with it: so the package comes with everything it
depends on, is unpacked into the cache, and runs through the dynamic loader that was unpacked with it.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from orderflow.embedded import cache
from orderflow.errors import StartFailed


def available() -> bool:
    """Whether this machine has Debian's package tools."""
    return bool(shutil.which("apt-get") and shutil.which("dpkg"))


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
    if not available():
        raise StartFailed(
            "A genuine MySQL server cannot be downloaded here: apt-get and dpkg are missing.",
            hint="Put mysqld on PATH, or set TEST_MYSQL_HOST to a server that runs.",
        )
    with tempfile.TemporaryDirectory(prefix="orderflow-apt-") as scratch:
        folder = Path(scratch)
        (folder / "lists/partial").mkdir(parents=True)
        (folder / "cache/archives/partial").mkdir(parents=True)
        (folder / "status").touch()  # nothing is installed: every dependency is downloaded
        (folder / "list.sources").write_text(_source())
        apt = [
            "apt-get",
            *("-o", f"Dir::State={folder}", "-o", f"Dir::State::status={folder}/status"),
            *("-o", f"Dir::Cache={folder}/cache", "-o", f"Dir::Etc::sourcelist={folder}/list.sources"),
            *("-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Dir::Etc::preferencesparts=/dev/null"),
            *("-o", "APT::Sandbox::User=root"),  # apt's own user may not write into our folder
            *("-o", "Acquire::Languages=none", "-o", "Acquire::Retries=3", "-q"),
        ]
        _run([*apt, "update"])
        _run([*apt, "install", "--download-only", "--no-install-recommends", "-y", "mysql-server-core*"])
        for package in sorted(folder.glob("cache/archives/*.deb")):
            _run(["dpkg", "-x", str(package), str(prefix)])


def _source() -> str:
    """The distribution's archive as this machine's own apt knows it (mirror and all), at the suite with MySQL."""
    system = platform.freedesktop_os_release()
    suite = system.get("VERSION_CODENAME", "sid")
    listed = _run(["apt-get", "update", "--print-uris"])  # what it would fetch: no network, no root
    archives = re.findall(rf"'(\S+)/dists/{suite}/main/binary-", listed)
    if not archives:
        raise StartFailed(
            f"The apt sources of this machine have no entry for {suite}.", hint="Put mysqld on PATH instead."
        )
    # Other vendors name their suites after the distribution's, too.
    archive = next((uri for uri in archives if uri.endswith(f"/{system['ID']}")), archives[0])
    components = sorted(set(re.findall(rf"'{re.escape(archive)}/dists/{suite}/(\w+)/binary-", listed)))
    keyring = Path(f"/usr/share/keyrings/{system['ID']}-archive-keyring.gpg")
    lines = [
        "Types: deb",
        f"URIs: {archive}",
        f"Suites: {'sid' if system['ID'] == 'debian' else suite}",
        f"Components: {' '.join(components)}",
        *([f"Signed-By: {keyring}"] if keyring.exists() else []),
    ]
    return "\n".join(lines) + "\n"


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StartFailed(
            f"MySQL's packages could not be had: {argv[0]} ended with exit code {done.returncode}. "
            f"Its last words: {done.stderr.strip()[-500:]}",
            hint="Check the network and this machine's apt sources, or put mysqld on PATH.",
        )
    return done.stdout
