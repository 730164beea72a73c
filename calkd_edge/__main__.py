"""python -m calkd_edge: the same as the command calkd-edge."""

import sys

from calkd_edge.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
