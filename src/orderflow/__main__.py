"""`python -m orderflow`: the command line."""

from orderflow.cli import main

if __name__ == "__main__":
    main()
