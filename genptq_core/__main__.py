"""`python -m genptq_core`: the command line, without installing the command `genptq`."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main(program="python -m genptq_core"))
