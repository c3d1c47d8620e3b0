"""`conveyor` and `python -m conveyor`."""

from .cli import main

if __name__ == "__main__":
    main()
