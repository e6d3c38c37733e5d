#!/usr/bin/env bash
# Shows that a training which is killed (SIGKILL) at random moments and taken up again ends with the same head, byte for byte,
# as one that was left alone: scripts/kill-resume.sh CAPTIONS VISION TEXT [rounds] [flags of pacl train ...]
# The last lines tell how often it was killed and what was compared.
set -euo pipefail
cd "$(dirname "$0")/.."
captions=$1 vision=$2 text=$3 rounds=${4:-10}
shift $(($# < 4 ? $# : 4))
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -o "$work/pacl" ./cmd/pacl
train() {
  "$work/pacl" --quiet train --captions "$captions" --vision "$vision" --text "$text" --out "$1" --cache "$1.features" --checkpoint 5 "${@:2}"
}
start=$(date +%s%N)
train "$work/alone" "$@"
length=$((($(date +%s%N) - start) / 1000000)) # ms
kills=0
for round in $(seq "$rounds"); do
  out=$work/killed-$round
  while true; do
    train "$out" "$@" &
    pid=$!
    # Somewhere in the time that the whole takes, so that extraction and training are both hit.
    sleep "$(awk -v ms="$length" -v r="$RANDOM" 'BEGIN { printf "%.3f", 0.05 + ms / 1000 * r / 32768 }')"
    if kill -KILL "$pid" 2>/dev/null; then
      kills=$((kills + 1))
      wait "$pid" 2>/dev/null || true
      # Three kills a round, then it may end.
      [ $((kills % 3)) -eq 0 ] && { train "$out" "$@"; break; }
    else
      wait "$pid"
      break
    fi
  done
  cmp "$work/alone/head.safetensors" "$out/head.safetensors"
  rm -rf "$out" "$out.features"
  echo "round $round: the same head ($kills kills so far)"
done
echo "$rounds rounds, $kills kills: every head equals that of the undisturbed training"
