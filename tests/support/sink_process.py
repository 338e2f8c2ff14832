"""A sink with other intervals: `python -m tests.support.sink_process ENGINE '{"stall_timeout": 3}'`.

The second argument has the keyword arguments of DirectEngine or SparkEngine. Settings come from the environment. It
prints its progress reports like `orderflow sink --json`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from orderflow import settings
from orderflow.cli import logs
from orderflow.cli.text import to_json
from orderflow.embedded.process import Process
from orderflow.pipeline.direct import DirectEngine
from orderflow.pipeline.engine import Engine
from orderflow.pipeline.engine_watch import SinkProgress
from orderflow.pipeline.spark_driver import SparkDriver
from orderflow.pipeline.spark_engine import SparkEngine
from orderflow.pipeline.supervisor import Supervisor
from orderflow.settings import Settings
from orderflow.spark import session
from tests.support.processes import ROOT


def changed_sink(settings: Settings, folder: Path, engine: str, **options: Any) -> Process:
    """Return the process of a sink, not started yet, whose engine gets these keyword arguments."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return Process(
        "sink",
        [sys.executable, "-m", __name__, engine, json.dumps(options)],
        log=folder / "sink.log",
        env=os.environ | settings.environment() | {"PYTHONPATH": path},
        cwd=folder,
    )


def main() -> None:
    name, options = sys.argv[1], json.loads(sys.argv[2])
    logs.setup()
    current = settings.load()
    engine: Engine = (
        DirectEngine(current, **options)
        if name == "direct"
        else SparkEngine(current, SparkDriver(session.runtime()), **options)
    )

    def on_progress(progress: SinkProgress) -> None:
        print(to_json(progress._asdict()), flush=True)

    Supervisor(current, engine=engine, on_progress=on_progress).run()


if __name__ == "__main__":
    main()
