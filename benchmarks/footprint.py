"""What the hub weighs without a model, how quick the command is, and that serving never imports torch."""

import statistics
import subprocess
import sys
import time

import psutil

from benchmarks.processes import hub


def run() -> None:
    """Prints resident memory, start-up times, and whether torch is anywhere in serving."""
    with hub() as running:
        time.sleep(2)
        resident = psutil.Process(running.pid).memory_info().rss
        print(f"hub without a model: {resident / 1e6:.0f} MB resident")
    times = []
    for _ in range(7):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tidemill", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    print(f"tidemill --help: {statistics.median(times):.2f} s")
    check = "import sys, tidemill.app, tidemill.cli.up; sys.exit('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", check], check=False).returncode
    print(f"torch in serving: {'yes' if found else 'no'}\n")
