#!/usr/bin/env bash
# Times pacl beside ONNX Runtime and PyTorch on this machine and prints one JSON object a line, then a table of ratios:
#
#   scripts/peers/run.sh [FOLDER]
#
# It installs onnxruntime-node from npm, python3-torch and OpenBLAS from Debian, exports CLIP ViT-B/16 with random weights for ONNX
# Runtime into FOLDER (default: a temporary one), and takes about three minutes on a quiet machine with two cores. Times are
# medians by the clock; cpu_ms is the processor time of a unit, which a busy machine blurs less.
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
bench() { ./pacl bench "$@" --json | "$python" -c 'import json,sys; print(json.dumps(dict(json.load(sys.stdin), peer="pacl")))' | tee -a times.jsonl; }
# Peers and pacl take turns, so that what else the machine does meets all of them.
bench encoder --batch 8 --dtype bf16
"$python" "$here/reference.py" "$folder" | tee -a times.jsonl
bench encoder --batch 8 --dtype f32
bench encoder --batch 1 --dtype bf16
node "$here/reference.mjs" "$folder" | tee -a times.jsonl
bench encoder --batch 8 --dtype bf16
bench dense --stride 4 --runs 3
bench text --batch 1000
bench train --dtype bf16
bench train --dtype f32
bench gemm --dtype bf16
bench gemm --dtype f32
PACL_CPU=avx2 bench gemm --dtype f32
"$python" "$here/table.py" times.jsonl
echo "files are in $folder"
