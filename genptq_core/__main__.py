"""`python -m genptq_core`."""

import os
import sys

# Threads that spin while they wait make a shared two-core machine several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
