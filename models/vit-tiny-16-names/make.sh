#!/usr/bin/env bash
# Repeats the head that comes with pacl, from photos to card: models/vit-tiny-16-names/make.sh SHARED OUT
# SHARED holds data/captions and models/vit-tiny-16, models/clip-b32-names. The same engine gives the same head, byte for
# byte; another instruction set or another blocking of the products gives one that differs in its last digits. About
# 5 minutes on two free cores and 1.4 GB of disk for the features.
set -euo pipefail
cd "$(dirname "$0")/../.."
shared=$1 out=$2
PACL_MODELS=$shared/models go run -buildvcs=false ./cmd/pacl train --out "$out" \
  --captions "$shared/data/captions/captions.tsv" --vision vit-tiny-16 --text clip-b32-names \
  --vision-id WinKawaks/vit-tiny-patch16-224 \
  --size 224 --flip --crops 4 --min-scale 0.5 \
  --text-embedder none --tau-patch 0.07 --epochs 10 --batch 128 --rate 1e-3 --weight-decay 0.01 --extras 0.7 \
  --validation 0 --seed 1 \
  --input-size 160 --scales 3 --image-prior 0.25 \
  --data-name "Flickr8k (2200 photos), a sample of ImageNet (1000, one a class) and COCO (363); those whose captions have a known name" \
  --licence "Flickr8k (Hodosh, Young and Hockenmaier 2013): photos by users of Flickr, for research and education that is not commercial." \
  --licence "ImageNet: for research and education that is not commercial, by its terms of access. The captions, \"a photo of a NAME\", were made from names of classes." \
  --licence "COCO: annotations CC BY 4.0; photos by users of Flickr under their own licences." \
  --note "The recipe was chosen by mosaics of captioned photos and by retrieval on a fifth of the photos that was kept out for that; the head itself was trained on all of them. docs/head.md has the table, and what the head reaches on PASCAL VOC, which had no part in the choice."
