#!/usr/bin/env bash
# Runs the frozen encoders over captioned images in a Slurm array, one part of the list a task:
#
#   sbatch --array=0-15 deploy/slurm-features.sh CAPTIONS VISION TEXT OUT [further flags of pacl features]
#
# pacl takes the part's number and their count from SLURM_ARRAY_TASK_ID, SLURM_ARRAY_TASK_MIN, SLURM_ARRAY_TASK_STEP and
# SLURM_ARRAY_TASK_COUNT. OUT is a folder that all nodes see; each part is a folder in it, and no two tasks write to the same
# one. A task that was stopped goes on where it was when it runs again. `pacl info OUT` says which parts are finished; lost
# ones are made again with the whole number given, since an array of their own would be counted anew:
#
#   SHARDS=16 sbatch --array=5,11 deploy/slurm-features.sh CAPTIONS VISION TEXT OUT
#
# Then: pacl train --features OUT --out HEAD. Untested on Slurm itself: no cluster was at hand; a test runs this script with
# the variables that Slurm sets (cmd/pacl/shard_test.go).
#SBATCH --job-name=pacl-features
#SBATCH --cpus-per-task=8
#SBATCH --mem=8G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
#SBATCH --output=pacl-features-%A_%a.log
set -euo pipefail
captions=$1 vision=$2 text=$3 out=$4
shift 4
export GOMAXPROCS=${SLURM_CPUS_PER_TASK:-$(nproc)}
# exec: the signal that Slurm sends a minute before the end reaches pacl, which keeps what is whole and stops.
exec "${PACL:-pacl}" features --captions "$captions" --vision "$vision" --text "$text" --out "$out" \
  ${SHARDS:+--shard "/$SHARDS"} "$@"
