"""Times one step of CLIP's pre-training in PyTorch: what BenchmarkStep of package pretrain does in pacl.

    python3 pretrain_step.py [RUNS [THREADS]]   (Debian's python3-torch; prints one JSON object)

ViT-Ti/16 at 224 (192 wide, 12 layers, 3 heads), a causal text transformer of 4 layers, 256 wide, 77 tokens, batch 64:
forward, symmetric loss, backward and AdamW, in float32.
"""
import sys

import torch
from torch import nn

from reference import Text, Vision, median, say


def main(runs, threads):
    torch.set_num_threads(threads)
    vision = Vision(width=192, layers=12, heads=3, projection=256)
    text = Text(width=256, layers=4, heads=4, vocabulary=4096, projection=256)
    scale = nn.Parameter(torch.tensor(2.66))
    parameters = [*vision.parameters(), *text.parameters(), scale]
    optimiser = torch.optim.AdamW(parameters, 1e-4)
    pixels, ids = torch.randn(64, 3, 224, 224), torch.randint(0, 4000, (64, 77))
    ids[:, -1] = 4095  # the largest id pools
    target = torch.arange(64)

    def step():
        images = nn.functional.normalize(vision(pixels)[:, 0], dim=-1)
        texts = nn.functional.normalize(text(ids), dim=-1)
        logits = scale.exp() * images @ texts.T
        loss = (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    say("pre-training step, ViT-Ti/16 and text 4 x 256, batch 64", "f32", median(step, runs))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, int(sys.argv[2]) if len(sys.argv) > 2 else 2)
