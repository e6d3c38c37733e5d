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
arguments=(--quiet train --captions "$captions" --vision "$vision" --text "$text" --checkpoint 5 "$@")
start=$(date +%s%N)
"$work/pacl" "${arguments[@]}" --out "$work/alone"
length=$((($(date +%s%N) - start) / 1000000)) # ms
total=0
for round in $(seq "$rounds"); do
  out=$work/killed-$round
  kills=0
  while true; do
    "$work/pacl" "${arguments[@]}" --out "$out" &
    pid=$!
    # Somewhere in the time that the whole takes, so that extraction and training are both hit; after three kills it may end.
    if [ "$kills" -lt 3 ]; then
      sleep "$(awk -v ms="$length" -v r="$RANDOM" 'BEGIN { printf "%.3f", 0.05 + 0.7 * ms / 1000 * r / 32768 }')"
      kill -KILL "$pid" 2>/dev/null || true
    fi
    status=0
    wait "$pid" 2>/dev/null || status=$?
    case $status in
      0) break ;;
      137) kills=$((kills + 1)) ;;
      *) echo "round $round: pacl ended with status $status"; exit 1 ;;
    esac
  done
  cmp "$work/alone/head.safetensors" "$out/head.safetensors"
  rm -rf "$out" "$out.features"
  total=$((total + kills))
  echo "round $round: the same head after $kills kills"
done
echo "$rounds rounds, $total kills: every head equals that of the undisturbed training"
