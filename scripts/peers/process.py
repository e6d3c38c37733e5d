"""Prints the processor time of whole processes, as the system counts it for children: python3 process.py [--pause SECONDS] RUNS COMMAND...

The first run warms files and caches and is not counted. With a pause before each, the system has taken back what the process before had.
"""
import resource
import statistics
import subprocess
import sys
import time

pause = 0.0
if sys.argv[1] == "--pause":
    pause = float(sys.argv[2])
    del sys.argv[1:3]


def used():
    r = resource.getrusage(resource.RUSAGE_CHILDREN)
    return r.ru_utime + r.ru_stime, r.ru_minflt


times, faults = [], []
for _ in range(int(sys.argv[1]) + 1):
    time.sleep(pause)
    before = used()
    subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = used()
    times.append(1000 * (after[0] - before[0]))
    faults.append(after[1] - before[1])
print(f"processor time: median {statistics.median(times[1:]):.0f} ms, {min(times[1:]):.0f} to {max(times[1:]):.0f}; page faults {statistics.median(faults[1:]):.0f}")
