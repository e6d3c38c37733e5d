#!/usr/bin/env bash
# Time a step of pre-training in pacl (bf16) and in PyTorch (float32, Debian's python3-torch), in turns in one run, and print
# the ratios of wall and of processor time: ViT-Ti/16 with a text tower of 4 layers, width 256, 77 tokens, batch 64.
#
#   scripts/peers/pretrain.sh [ROUNDS [THREADS]]
#
# On a busy machine take one thread: PyTorch's threads wait for each other by spinning.
set -euo pipefail
cd "$(dirname "$0")/../.."
export GOFLAGS=-buildvcs=false
rounds=${1:-3} threads=${2:-2}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. scripts/peers/pytorch.sh
go test -c -o "$work/pretrain.test" ./pretrain
for ((i = 0; i < rounds; i++)); do
  (cd scripts/peers && OMP_NUM_THREADS=$threads "$python" pretrain_step.py 2 "$threads") | tee -a "$work/torch"
  (cd pretrain && GOMAXPROCS=$threads "$work/pretrain.test" -test.run '^$' -test.bench 'Step/bf16' -test.benchtime 2x) | grep ns/op | tee -a "$work/pacl"
done
"$python" - "$work" <<'PYTHON'
import json, statistics, sys
torch = [json.loads(line) for line in open(sys.argv[1] + "/torch")]
pacl = [line.split() for line in open(sys.argv[1] + "/pacl")]
rows = {"wall": ([float(r[2]) / 1e6 for r in pacl], [r["ms"] for r in torch]), "processor": ([float(r[4]) for r in pacl], [r["cpu_ms"] for r in torch])}
for name, (ours, theirs) in rows.items():
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"{name} time: pacl bf16 {a:.0f} ms, PyTorch f32 {b:.0f} ms, medians of {len(ours)} rounds: ratio {a / b:.2f}")
PYTHON
