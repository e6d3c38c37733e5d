#!/usr/bin/env bash
# Make the built-in model from nothing: pre-training in two recipes, three heads, scores on 500 unseen scenes and on 500
# scenes of pairs of kind and colour that training never held. Interrupted, it goes on where it stopped.
#
#   models/builtin/make.sh DIR [--install]
#
# DIR gets everything (about 3 GB); --install copies encoders and the first head to where the binary embeds them.
# PACL names another pacl than the repository's own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
pacl=${PACL:-$out/pacl}
[ -n "${PACL:-}" ] || (cd "$here/../.." && GOFLAGS=-buildvcs=false go build -o "$pacl" ./cmd/pacl)

[ -e "$out/closeups/done" ] || "$pacl" pretrain --scenes --config "$here/recipe-1-closeups.json" --until 1500 --out "$out/closeups"
touch "$out/closeups/done"
[ -e "$out/clip/model.safetensors" ] ||
  "$pacl" pretrain --scenes --config "$here/recipe-2-scenes.json" --from "$out/closeups/checkpoint" --out "$out/clip"

# Seeds of scenes: pre-training begins at 2^32, heads at 5 000 000, measuring at 1 000 000.
scenes() { [ -e "$out/$1/classes.txt" ] || "$pacl" -q scenes --out "$out/$1" --width 64 "${@:2}"; }
scenes head-scenes --count 20000 --seed 5000000 --monochrome 0.15 --unnamed 0.4
scenes seen --count 500 --seed 1000000 --least 2
scenes never --count 500 --seed 1000000 --least 2 --pairs novel

encoders=(--vision "$out/clip" --text "$out/clip")
"$pacl" features --captions "$out/head-scenes/captions.tsv" "${encoders[@]}" --stride 4 --phrases "a {}" --out "$out/features"
for seed in 1 2 3; do
  [ -e "$out/head-$seed/pacl.json" ] ||
    "$pacl" train --features "$out/features" "${encoders[@]}" --out "$out/head-$seed" --seed $seed \
      --epochs 12 --rate 0.002 --extras 0.9 --data-name "20000 generated scenes"
done

# measure NAME MODEL-FLAGS...: one row of the table.
measure() {
  local row="| $1 |" set
  for set in seen never; do
    row+=" $("$pacl" -q eval folder --data "$out/$set" --templates "a {}" --stride 4 "${@:2}" | sed -n 's/^mIoU \([0-9.]*\).*/\1/p') |"
  done
  for set in seen never; do
    row+=" $("$pacl" -q eval patches folder --data "$out/$set" --templates "a {}" --stride 4 "${@:2}" | sed -n 's/^patch accuracy [a-z ]*\([0-9.]*\) of.*/\1/p' | tail -n 1) |"
  done
  echo "$row" | tee -a "$out/scores.md"
}
{
  echo "| read-out | mIoU %, seen pairs | mIoU %, never-trained pairs | patches right %, seen | patches right %, never trained |"
  echo "| --- | --- | --- | --- | --- |"
} | tee "$out/scores.md"
for readout in plain maskclip sclip clearclip naclip; do measure "$readout" --model "$out/clip" --readout $readout; done
for seed in 1 2 3; do measure "PACL, head of seed $seed" --model "$out/head-$seed" "${encoders[@]}"; done

if [ "${2:-}" = --install ]; then
  cp "$out/clip"/{config.json,model.safetensors,preprocessor_config.json,vocab.json,merges.txt,tokenizer_config.json} "$here/clip/"
  cp "$out/head-1"/{pacl.json,head.safetensors} "$here/"
  # The log: the first ten steps of each recipe and every twentieth, without what depends on the machine's other work.
  for recipe in 1:closeups 2:clip; do
    awk 'NR <= 10 || NR % 20 == 0' "$out/${recipe#*:}/log.jsonl" |
      sed "s/^{/{\"recipe\":${recipe%:*},/; s/\"examples_per_second\":[^,]*,\"seconds_left\":[^,]*,//"
  done >"$here/log.jsonl"
  cp "$out/clip/curves.png" "$here/"
fi
