#!/usr/bin/env bash
# Time a step of pre-training in pacl and in PyTorch (Debian's python3-torch), in turns in one run, and print the ratio:
# ViT-Ti/16 with a text tower of 4 layers, width 256, 77 tokens, batch 64.
#
#   scripts/peers/pretrain.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/../.."
export GOFLAGS=-buildvcs=false
rounds=${1:-3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go test -c -o "$work/pretrain.test" ./pretrain
for ((i = 0; i < rounds; i++)); do
  (cd scripts/peers && /usr/bin/python3 pretrain_step.py 2) | tee -a "$work/torch"
  (cd pretrain && "$work/pretrain.test" -test.run '^$' -test.bench 'Step/bf16' -test.benchtime 2x) | grep ns/op | tee -a "$work/pacl"
done
/usr/bin/python3 - "$work" <<'PYTHON'
import json, statistics, sys
torch = [json.loads(line)["ms"] for line in open(sys.argv[1] + "/torch")]
pacl = [float(line.split()[2]) / 1e6 for line in open(sys.argv[1] + "/pacl")]
a, b = statistics.median(pacl), statistics.median(torch)
print(f"pacl bf16 {a:.0f} ms, PyTorch f32 {b:.0f} ms (medians of {len(torch)} rounds): ratio {a / b:.2f}")
PYTHON
