#!/usr/bin/env python3
"""Compute segmentation metrics, patch labels and the coherence AUC the straightforward way.

    metrics.py segmentation TRUTH_DIR PREDICTION_DIR CLASSES     VOC masks: 0 and 255 ignored, id - 1 is the class
    metrics.py patches PATCHES.json                              see evaluate/crosscheck_test.go

Needs Debian's python3-numpy and python3-pil. Prints one JSON object. evaluate/crosscheck_test.go runs it and compares.
"""
import json
import os
import sys

import numpy as np
from PIL import Image


def segmentation(truth_dir, prediction_dir, classes):
    matrix = np.zeros((classes, classes + 1), dtype=np.int64)  # the last column: no class
    for name in sorted(os.listdir(prediction_dir)):
        truth = np.array(Image.open(os.path.join(truth_dir, name))).astype(np.int64)
        prediction = np.array(Image.open(os.path.join(prediction_dir, name))).astype(np.int64)
        scored = (truth != 0) & (truth != 255)
        np.add.at(matrix, (truth[scored] - 1, np.minimum(prediction[scored], classes)), 1)
    total = matrix.sum()
    pixels = matrix.sum(1)
    given = matrix.sum(0)[:classes]
    matrix = matrix[:, :classes]
    hits = np.diag(matrix)
    iou = [float(hits[c] / (pixels[c] + given[c] - hits[c])) if pixels[c] else None for c in range(classes)]
    accuracy = [float(hits[c] / pixels[c]) if pixels[c] else None for c in range(classes)]
    occurring = [c for c in range(classes) if pixels[c]]
    return {
        "per_class_iou": iou,
        "miou": float(np.mean([iou[c] for c in occurring])),
        "pixel_accuracy": float(hits.sum() / total),
        "mean_accuracy": float(np.mean([accuracy[c] for c in occurring])),
    }


def patch_labels(mask, patch):
    """The most frequent label of each patch's pixels, void (255) left out; ties to the smaller; 255 where all is void."""
    rows, columns = mask.shape[0] // patch, mask.shape[1] // patch
    labels = np.full((rows, columns), 255)
    for r in range(rows):
        for c in range(columns):
            pixels = mask[r * patch:(r + 1) * patch, c * patch:(c + 1) * patch]
            pixels = pixels[pixels != 255]
            if pixels.size:
                labels[r, c] = np.bincount(pixels).argmax()
    return labels


def coherence(tokens, labels):
    """The area under the ROC curve of all pairs' cosines against 'same label': ties count half."""
    tokens = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    i, j = np.triu_indices(len(tokens), 1)
    cosine = (tokens[i] * tokens[j]).sum(1)
    same = labels[i] == labels[j]
    order = np.argsort(cosine, kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    values, inverse, counts = np.unique(cosine, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[inverse]
    positives, negatives = int(same.sum()), int((~same).sum())
    return float((ranks[same].sum() - positives * (positives + 1) / 2) / (positives * negatives)), positives, negatives


def patches(path):
    with open(path) as file:
        case = json.load(file)
    labels = [patch_labels(np.array(mask, dtype=np.int64), case["patch"]).tolist() for mask in case["masks"]]
    auc, positives, negatives = coherence(np.array(case["tokens"]), np.array(case["token_labels"]))
    return {"labels": labels, "auc": auc, "same": positives, "different": negatives}


if __name__ == "__main__":
    if sys.argv[1:2] == ["segmentation"] and len(sys.argv) == 5:
        print(json.dumps(segmentation(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
    elif sys.argv[1:2] == ["patches"] and len(sys.argv) == 3:
        print(json.dumps(patches(sys.argv[2])))
    else:
        sys.exit(__doc__)
