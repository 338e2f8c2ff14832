"""Debian's or Ubuntu's packages without root: downloaded with all they depend on, and unpacked into one folder."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from orderflow.errors import StartFailed


def available() -> bool:
    """Whether this machine has Debian's package tools."""
    return bool(shutil.which("apt-get") and shutil.which("dpkg"))


def unpack(prefix: Path, packages: Sequence[str], *, unstable: bool = False) -> None:
    """The packages, and whatever they depend on, below `prefix`.

    From the release this machine runs or, on Debian with `unstable`, from sid. Raises StartFailed.
    """
    with tempfile.TemporaryDirectory(prefix="orderflow-apt-") as scratch:
        folder = Path(scratch)
        (folder / "lists/partial").mkdir(parents=True)
        (folder / "cache/archives/partial").mkdir(parents=True)
        (folder / "status").touch()  # nothing is installed: every dependency is downloaded
        (folder / "list.sources").write_text(_source(unstable))
        apt = [
            "apt-get",
            *("-o", f"Dir::State={folder}", "-o", f"Dir::State::status={folder}/status"),
            *("-o", f"Dir::Cache={folder}/cache", "-o", f"Dir::Etc::sourcelist={folder}/list.sources"),
            *("-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Dir::Etc::preferencesparts=/dev/null"),
            *("-o", "APT::Sandbox::User=root"),  # apt's own user may not write into our folder
            *("-o", "Acquire::Languages=none", "-o", "Acquire::Retries=3", "-q"),
        ]
        _run([*apt, "update"])
        _run([*apt, "install", "--download-only", "--no-install-recommends", "-y", *packages])
        for package in sorted(folder.glob("cache/archives/*.deb")):
            _run(["dpkg", "-x", str(package), str(prefix)])


def _source(unstable: bool) -> str:
    """The distribution's archive as this machine's own apt knows it, mirror and all."""
    system = platform.freedesktop_os_release()
    suite = system.get("VERSION_CODENAME", "sid")
    listed = _run(["apt-get", "update", "--print-uris"])  # what it would fetch: no network, no root
    archives = re.findall(rf"'(\S+)/dists/{suite}/main/binary-", listed)
    if not archives:
        raise StartFailed(
            f"The apt sources of this machine have no entry for {suite}.", hint="Put the program on PATH instead."
        )
    # Other vendors name their suites after the distribution's, too.
    archive = next((uri for uri in archives if uri.endswith(f"/{system['ID']}")), archives[0])
    components = sorted(set(re.findall(rf"'{re.escape(archive)}/dists/{suite}/(\w+)/binary-", listed)))
    keyring = Path(f"/usr/share/keyrings/{system['ID']}-archive-keyring.gpg")
    lines = [
        "Types: deb",
        f"URIs: {archive}",
        f"Suites: {'sid' if unstable and system['ID'] == 'debian' else suite}",
        f"Components: {' '.join(components)}",
        *([f"Signed-By: {keyring}"] if keyring.exists() else []),
    ]
    return "\n".join(lines) + "\n"


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StartFailed(
            f"Packages could not be had: {argv[0]} ended with exit code {done.returncode}. "
            f"Its last words: {done.stderr.strip()[-500:]}",
            hint="Check the network and this machine's apt sources, or put the program on PATH.",
        )
    return done.stdout
