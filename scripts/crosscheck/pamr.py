#!/usr/bin/env python3
"""Write readout/testdata/pamr.json: pixel-adaptive mask refinement by the published formula, in PyTorch and float64.

    pamr.py > readout/testdata/pamr.json

Araslanov and Roth, Single-Stage Semantic Segmentation from Image Labels, CVPR 2020, section 3.3, in the form that
open-vocabulary segmenters use it: with neighbours at each dilation, k = -|x_i - x_j| / (1e-8 + 0.1 std_i) averaged over
channels, std_i taken over the 3x3 neighbours of all dilations, softmax over neighbours, and the mask replaced by the
weighted mean of its neighbours, some times. Needs Debian's python3-torch.
"""
import json

import torch
import torch.nn.functional as F


def neighbours(x, dilations, centre):
    """[C, H, W] -> [C, P, H, W], edges replicated."""
    height, width = x.shape[1:]
    planes = []
    for d in dilations:
        padded = F.pad(x[None], [d] * 4, mode="replicate")[0]
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if dy or dx or centre:
                    planes.append(padded[:, d + dy * d:d + dy * d + height, d + dx * d:d + dx * d + width])
    return torch.stack(planes, 1)


def refine(image, mask, dilations, iterations):
    deviation = neighbours(image, dilations, True).std(1, keepdim=True)
    distance = (image[:, None] - neighbours(image, dilations, False)).abs()
    weights = (-distance / (1e-8 + 0.1 * deviation)).mean(0, keepdim=True).softmax(1)
    for _ in range(iterations):
        mask = (neighbours(mask, dilations, False) * weights).sum(1)
    return mask


def main():
    torch.manual_seed(5)
    cases = []
    for height, width, labels, dilations, iterations in ((13, 17, 3, [8, 16], 10), (20, 11, 2, [1, 2], 3), (1, 9, 2, [1], 1)):
        image = torch.randint(0, 256, (3, height, width)).double()
        image[:, : height // 2, : width // 2] = 77  # a flat part: no deviation
        scores = torch.rand(labels, height, width, dtype=torch.float32)
        refined = refine(image, scores.double(), dilations, iterations)
        cases.append({
            "height": height, "width": width, "labels": labels, "dilations": dilations, "iterations": iterations,
            "image": image.permute(1, 2, 0).int().flatten().tolist(),
            "scores": [round(v, 9) for v in scores.flatten().tolist()],
            "refined": [round(v, 9) for v in refined.flatten().tolist()],
        })
    print(json.dumps(cases, separators=(",", ":")))


main()
