"""`python3 -m laboratory`, as tools/lab calls it."""

import sys

from laboratory.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
