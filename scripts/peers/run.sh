#!/usr/bin/env bash
# Times pacl beside ONNX Runtime and PyTorch on this machine and prints one JSON object a line, then a table of ratios:
#
#   scripts/peers/run.sh [FOLDER]
#
# It installs onnxruntime-node from npm, python3-torch and OpenBLAS from Debian, exports CLIP ViT-B/16 with random weights for ONNX
# Runtime into FOLDER (default: a temporary one), and takes about seven minutes on a quiet machine with two cores. Times are
# medians by the clock; cpu_ms is the processor time of a unit, which a busy machine blurs less. What is done in ROUNDS (default 5) takes
# turns, so that minutes in which the machine is fast or slow meet all; ratios are medians of the rounds' ratios.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
folder=${1:-$(mktemp -d)}
mkdir -p "$folder"
log=$folder/apt.log
. ./pytorch.sh
cd "$folder"
[ -d node_modules/onnxruntime-node ] || npm install --ignore-scripts --no-audit --no-fund onnxruntime-node@1.30.0 >npm.log 2>&1
(cd "$here/../.." && GOFLAGS=-buildvcs=false go build -o "$folder/pacl" ./cmd/pacl)
: >times.jsonl
record() { tee -a times.jsonl; }
bench() { ./pacl bench "$@" --json | "$python" -c 'import json,sys; print(json.dumps(dict(json.load(sys.stdin), peer="pacl")))' | record; }
# The C library gives PyTorch's large buffers back to the system after every pass, and to get them again can take as long as the pass.
pytorch() { MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=$((1 << 34)) "$python" "$here/reference.py" "$folder" "$@" | record; }
onnx() { node "$here/reference.mjs" "$folder" "$@" | record; }
pytorch export
for _ in $(seq "${ROUNDS:-5}"); do
  bench encoder --batch 8 --dtype bf16
  bench encoder --batch 1 --dtype bf16
  bench encoder --batch 8 --dtype f32
  onnx vision
  pytorch vision
  bench train --dtype bf16
  bench train --dtype f32
  pytorch step
done
bench dense --stride 4 --runs 3
onnx stride4
bench text --batch 1000
onnx text
bench gemm --dtype bf16
bench gemm --dtype f32
PACL_CPU=avx2 bench gemm --dtype f32
"$python" "$here/table.py" times.jsonl
echo "files are in $folder"
