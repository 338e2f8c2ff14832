"""Send orders to Kafka. Equivalent to `orderflow produce`; it also works in a clone that is not installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))

from orderflow.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "produce")
    main()
