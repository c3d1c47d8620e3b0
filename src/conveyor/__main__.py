"""The entry point of `conveyor` and `python -m conveyor`."""

import sys

from .system.own_program import own_path

sys.path[:] = own_path(sys.path)

from .cli.main import main  # noqa: E402 - with a path on which no file replaces what it imports

if __name__ == "__main__":
    main()
