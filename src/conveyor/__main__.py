"""The entry point of `conveyor` and `python -m conveyor`."""

from .cli.main import main

if __name__ == "__main__":
    main()
