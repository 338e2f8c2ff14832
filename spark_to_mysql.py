"""Orders from Kafka into MySQL: the same as `orderflow sink`. Also for `spark-submit spark_to_mysql.py`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))

from orderflow.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "sink")
    main()
