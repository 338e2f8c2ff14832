"""Send orders to Kafka: the same as `orderflow produce`, from a clone that is not installed too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))

from orderflow.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "produce")
    main()
