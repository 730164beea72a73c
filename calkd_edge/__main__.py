"""python -m calkd_edge: the same as the command calkd-edge."""

import sys

from calkd_edge.cli import main

if __name__ == "__main__":
    sys.exit(main())
