"""Measurements that the README reports, each run from the root as `python -m benchmarks.NAME`."""

import os

# Read when torch is imported: threads that spin while they wait slow a shared machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
