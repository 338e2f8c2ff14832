"""Orders on the console as they arrive: the same as `orderflow console`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))

from orderflow.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "console")
    main()
