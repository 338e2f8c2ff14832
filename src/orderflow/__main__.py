"""The entry point of `orderflow` and of `python -m orderflow`."""

import sys

from orderflow.start_signals import exiting_on_signals


def main() -> None:
    """Run the command line. Ctrl-C ends it with exit code 130, even during its import."""
    try:
        with exiting_on_signals():
            from orderflow import cli
        cli.main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
