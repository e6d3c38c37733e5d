"""Prints the processor time of whole processes, as the system counts it for children.

    python3 process.py [--pause SECONDS] RUNS COMMAND...
    python3 process.py --against OLD [--gflop G] RUNS COMMAND...

The first run warms files and caches and is not counted. With a pause before each, the system has taken back what the process before had.

With --against, RUNS rounds of the command and of the same one by another binary take turns, three copies of each: where a binary lies in
the page cache is worth up to a tenth of a small process. A build's time in a round is the median of its copies. With --gflop the times are
put over that arithmetic at the peak in bfloat16 that the command's own `bench cpu` measures in every fourth round: at the peak of a core,
and at half of what both have.
"""
import argparse
import json
import random
import resource
import shutil
import statistics
import subprocess
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("--pause", type=float, default=0)
parser.add_argument("--against", metavar="OLD")
parser.add_argument("--gflop", type=float)
parser.add_argument("runs", type=int)
parser.add_argument("command", nargs=argparse.REMAINDER)
options = parser.parse_args()


def used():
    r = resource.getrusage(resource.RUSAGE_CHILDREN)
    return r.ru_utime + r.ru_stime, r.ru_minflt


def measure(command):
    """Milliseconds of processor time and page faults of one process."""
    time.sleep(options.pause)
    before = used()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = used()
    return 1000 * (after[0] - before[0]), after[1] - before[1]


def alone():
    runs = [measure(options.command) for _ in range(options.runs + 1)][1:]
    times = [ms for ms, _ in runs]
    print(f"processor time: median {statistics.median(times):.0f} ms, {min(times):.0f} to {max(times):.0f}; page faults {statistics.median(f for _, f in runs):.0f}")


def in_turns(folder):
    builds = {"old": options.against, "new": shutil.which(options.command[0])}
    copies = [(name, shutil.copy(path, f"{folder}/{name}{i}")) for name, path in builds.items() for i in range(3)]
    rounds, peaks = {name: [] for name in builds}, []
    for i in range(options.runs + 1):
        times = {name: [] for name in builds}
        for name, binary in random.sample(copies, len(copies)):
            times[name].append(measure([binary] + options.command[1:])[0])
        if i:
            for name in builds:
                rounds[name].append(statistics.median(times[name]))
        if options.gflop and i % 4 == 1:
            cpu = subprocess.run([builds["new"], "bench", "cpu", "--json"], check=True, capture_output=True, text=True)
            peaks.append(json.loads(cpu.stdout))
    for name in builds:
        ms = statistics.median(rounds[name])
        ratio = statistics.median(a / b for a, b in zip(rounds[name], rounds["old"]))
        line = f"{name}: {ms:.1f} ms, {ratio:.3f} of old"
        if peaks:
            core = statistics.median(p["core_gflops_bf16"] for p in peaks)
            half = statistics.median(p["peak_gflops_bf16"] / p["workers"] for p in peaks)
            line += f"; {ms * core / 1000 / options.gflop:.2f} times the arithmetic at a core's {core:.0f} GFLOP/s, {ms * half / 1000 / options.gflop:.2f} at {half:.0f}"
        print(line)


if options.against:
    with tempfile.TemporaryDirectory() as folder:
        in_turns(folder)
else:
    alone()
