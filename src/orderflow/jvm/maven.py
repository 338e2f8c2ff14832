"""Downloads jars from Maven repositories with jgo, without Maven and without POMs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext, PythonResolver

from orderflow.errors import StartFailed

ATTEMPTS = 3  # repositories sometimes drop a connection


def fetch(
    coordinate: str,
    repository: Path,
    advance: Callable[[int], None] = lambda _: None,
    *,
    attempts: int = ATTEMPTS,
) -> Path:
    """Download group:artifact:version into the local repository `repository`; `advance` gets the bytes of each
    chunk.

    Raises StartFailed if no remote repository provides it.
    """

    @contextmanager
    def progress(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield advance

    group, artifact, version = coordinate.split(":")
    remote = context(repository, PythonResolver(progress_callback=progress))
    jar = remote.project(group, artifact).at_version(version).artifact()
    for attempt in range(1, attempts + 1):
        try:
            return Path(jar.resolve())
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; RuntimeError: in no repository
            for partial in repository.rglob(f"{artifact}-{version}.jar"):
                partial.unlink()
            if attempt == attempts:
                raise StartFailed(
                    f"{coordinate} could not be downloaded: {error}.",
                    hint="Check the network, HTTPS_PROXY, and the mirrors in ~/.m2/settings.xml, then run this again.",
                ) from error
            time.sleep(attempt)
    raise AssertionError("the last attempt returns or raises")


def context(repository: Path, resolver: PythonResolver | None = None) -> MavenContext:
    """The jgo context of the remote repositories, with the folder `repository` as the local one."""
    return MavenContext(resolver, repo_cache=repository, remote_repos=repositories(), timeout=60)


def repositories() -> dict[str, str]:
    """Name to URL, in order: the user's mirrors of Maven Central (settings.xml), jgo's repositories, Maven Central."""
    settings, mirrors = Path.home() / ".m2" / "settings.xml", {}
    for mirror in ElementTree.parse(settings).iterfind(".//{*}mirror") if settings.exists() else ():  # noqa: S314  the user's own file
        mirrored = (mirror.findtext("{*}mirrorOf") or "").split(",")
        if (url := mirror.findtext("{*}url")) and {"central", "*", "external:*"}.intersection(mirrored):
            mirrors[url] = url
    return {**mirrors, **GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
