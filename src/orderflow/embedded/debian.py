"""Downloads Debian or Ubuntu packages with their dependencies and unpacks them into one folder, without root."""

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
    """Whether this machine has apt-get and dpkg."""
    return bool(shutil.which("apt-get") and shutil.which("dpkg"))


def unpack(prefix: Path, packages: Sequence[str], *, unstable: bool = False) -> None:
    """Unpack the packages and their dependencies below `prefix`.

    They are those of this machine's release or, on Debian with `unstable`, of sid. Raises StartFailed.
    """
    with tempfile.TemporaryDirectory(prefix="orderflow-apt-") as scratch:
        folder = Path(scratch)
        (folder / "lists/partial").mkdir(parents=True)
        (folder / "cache/archives/partial").mkdir(parents=True)
        (folder / "status").touch()  # an empty list of installed packages, so that apt downloads every dependency
        (folder / "list.sources").write_text(_source(unstable))
        apt = [
            "apt-get",
            *("-o", f"Dir::State={folder}", "-o", f"Dir::State::status={folder}/status"),
            *("-o", f"Dir::Cache={folder}/cache", "-o", f"Dir::Etc::sourcelist={folder}/list.sources"),
            *("-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Dir::Etc::preferencesparts=/dev/null"),
            *("-o", "APT::Sandbox::User=root"),  # apt's sandbox user has no write access to this folder
            *("-o", "Acquire::Languages=none", "-o", "Acquire::Retries=3", "-q"),
        ]
        _run([*apt, "update"])
        _run([*apt, "install", "--download-only", "--no-install-recommends", "-y", *packages])
        for package in sorted(folder.glob("cache/archives/*.deb")):
            _run(["dpkg", "-x", str(package), str(prefix)])


def _source(unstable: bool) -> str:
    """The apt source of the distribution, with the mirror that this machine's apt uses."""
    system = platform.freedesktop_os_release()
    suite = system.get("VERSION_CODENAME", "sid")
    listed = _run(["apt-get", "update", "--print-uris"])  # prints the URIs; needs no network and no root
    archives = re.findall(rf"'(\S+)/dists/{suite}/main/binary-", listed)
    if not archives:
        raise StartFailed(
            f"The apt sources of this machine have no entry for {suite}.", hint="Put the program on PATH instead."
        )
    # Archives of other vendors use the distribution's suite names, too.
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
    completed = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if completed.returncode != 0:
        raise StartFailed(
            f"Packages could not be downloaded: {argv[0]} ended with exit code {completed.returncode}. "
            f"Its last output: {completed.stderr.strip()[-500:]}",
            hint="Check the network and this machine's apt sources, or put the program on PATH.",
        )
    return completed.stdout
