#!/usr/bin/env python3
"""Compute segmentation metrics, patch labels and the coherence AUC the straightforward way.

    metrics.py segmentation TRUTH_DIR PREDICTION_DIR CLASSES     VOC masks: 0 and 255 ignored, id - 1 is the class
    metrics.py patches TRUTH_DIR PATCHES.json                    see evaluate/crosscheck_test.go

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


def patch_labels(mask, height, width, patch, stride):
    """The most frequent label of the pixels whose centres lie in each patch of an input of height x width that shows the
    whole mask, void (255) left out; ties to the smaller; 255 where all is void."""
    def pixels_of(pixels, side):
        centres = (2 * np.arange(pixels) + 1) * side  # in units of 1 / (2 pixels) of the input
        return [np.nonzero((centres >= 2 * pixels * k) & (centres < 2 * pixels * (k + patch)))[0]
                for k in range(0, side - patch + 1, stride)]

    rows, columns = pixels_of(mask.shape[0], height), pixels_of(mask.shape[1], width)
    labels = []
    for row in rows:
        for column in columns:
            pixels = mask[row[0]:row[-1] + 1, column[0]:column[-1] + 1]
            pixels = pixels[pixels != 255]
            labels.append(int(np.bincount(pixels).argmax()) if pixels.size else 255)
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


def patches(truth_dir, path):
    with open(path) as file:
        case = json.load(file)
    labels, kept, vectors, right = [], [], [], 0
    texts = np.array(case["texts"])
    texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    for photo in case["photos"]:
        mask = np.array(Image.open(os.path.join(truth_dir, photo["name"] + ".png"))).astype(np.int64)
        mask = np.where((mask == 0) | (mask == 255), 255, mask - 1)
        own = patch_labels(mask, photo["height"], photo["width"], case["patch"], case["stride"])
        labels.append(own)
        for label, vector in zip(own, photo["vectors"]):
            if label != 255:
                kept.append(label)
                vectors.append(vector)
                vector = np.array(vector)
                right += int((texts @ (vector / np.linalg.norm(vector))).argmax() == label)
    result = {"labels": labels}
    if kept:
        auc, positives, negatives = coherence(np.array(vectors), np.array(kept))
        result.update(auc=auc, same=positives, different=negatives, accuracy=right / len(kept), patches=len(kept))
    return result


if __name__ == "__main__":
    if sys.argv[1:2] == ["segmentation"] and len(sys.argv) == 5:
        print(json.dumps(segmentation(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
    elif sys.argv[1:2] == ["patches"] and len(sys.argv) == 4:
        print(json.dumps(patches(sys.argv[2], sys.argv[3])))
    else:
        sys.exit(__doc__)
