"""`python -m rtsep`: the same as `rtsep`, for programs that start modules, as torchrun does."""

from rtsep.cli.main import main

if __name__ == "__main__":
    main()
