#!/usr/bin/env python3
"""Write encoder/testdata/dinov2-swiglu.pth and timm-vit.pth: tiny random vision transformers as their authors publish them
(torch.save of a state_dict), and what a straightforward PyTorch implementation makes of pictures, in float64.

    vit.py encoder/testdata

The first has DINOv2's names (Oquab et al. 2023): registers, LayerScale, the SwiGLU MLP of the giant (w12, w3), norms with
eps 1e-6. The second has timm's names of a plain ViT. Both at their own grid of patches. Needs Debian's python3-torch.
"""
import math
import pathlib
import sys

import torch
import torch.nn.functional as F

from siglip import save

WIDTH, LAYERS, PATCH, SIDE, EPS = 64, 2, 4, 3, 1e-6  # published checkpoints have heads of 64
HIDDEN = 40


def weights(swiglu, registers):
    w = {"cls_token": torch.randn(1, 1, WIDTH), "pos_embed": torch.randn(1, SIDE * SIDE + 1, WIDTH) * 0.5}

    def layer(name, out, width):
        w[name + ".weight"], w[name + ".bias"] = torch.randn(out, width) / math.sqrt(width), torch.randn(out) * 0.1

    def norm(name):
        w[name + ".weight"], w[name + ".bias"] = 1 + torch.randn(WIDTH) * 0.1, torch.randn(WIDTH) * 0.1

    if registers:
        w["register_tokens"] = torch.randn(1, registers, WIDTH)
        w["mask_token"] = torch.zeros(1, WIDTH)
    w["patch_embed.proj.weight"], w["patch_embed.proj.bias"] = torch.randn(WIDTH, 3, PATCH, PATCH) / PATCH, torch.randn(WIDTH) * 0.1
    for i in range(LAYERS):
        p = f"blocks.{i}."
        norm(p + "norm1"), norm(p + "norm2")
        layer(p + "attn.qkv", 3 * WIDTH, WIDTH), layer(p + "attn.proj", WIDTH, WIDTH)
        if swiglu:
            layer(p + "mlp.w12", 2 * HIDDEN, WIDTH), layer(p + "mlp.w3", WIDTH, HIDDEN)
            w[p + "ls1.gamma"], w[p + "ls2.gamma"] = torch.rand(WIDTH) + 0.5, torch.rand(WIDTH) + 0.5
        else:
            layer(p + "mlp.fc1", HIDDEN, WIDTH), layer(p + "mlp.fc2", WIDTH, HIDDEN)
    norm("norm")
    if not swiglu:
        layer("head", 5, WIDTH)
    return {k: v.half() for k, v in w.items()}


def forward(w, pixels, swiglu):
    def linear(name, x):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    def norm(name, x):
        return F.layer_norm(x, (WIDTH,), w[name + ".weight"], w[name + ".bias"], EPS)

    x = F.conv2d(pixels, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=PATCH).flatten(2).transpose(1, 2)
    batch = len(x)
    x = torch.cat([w["cls_token"].expand(batch, -1, -1), x], 1) + w["pos_embed"]
    if "register_tokens" in w:
        x = torch.cat([x[:, :1], w["register_tokens"].expand(batch, -1, -1), x[:, 1:]], 1)
    for i in range(LAYERS):
        p = f"blocks.{i}."
        q, k, v = linear(p + "attn.qkv", norm(p + "norm1", x)).unflatten(-1, (3, WIDTH // 64, 64)).permute(2, 0, 3, 1, 4)
        a = ((q @ k.transpose(-1, -2)) / 8).softmax(-1) @ v
        y = linear(p + "attn.proj", a.transpose(1, 2).flatten(2))
        x = x + (y * w[p + "ls1.gamma"] if swiglu else y)
        y = norm(p + "norm2", x)
        if swiglu:
            gate, up = linear(p + "mlp.w12", y).chunk(2, -1)
            y = linear(p + "mlp.w3", F.silu(gate) * up) * w[p + "ls2.gamma"]
        else:
            y = linear(p + "mlp.fc2", F.gelu(linear(p + "mlp.fc1", y)))
        x = x + y
    x = norm("norm", x)
    return x[:, 0], x[:, -SIDE * SIDE:].reshape(batch, SIDE, SIDE, WIDTH)


def main():
    folder = pathlib.Path(sys.argv[1])
    torch.manual_seed(5)
    for name, swiglu, registers in (("dinov2-swiglu", True, 4), ("timm-vit", False, 0)):
        stored = weights(swiglu, registers)
        torch.save(stored, folder / f"{name}.pth")
        pixels = torch.randn(2, 3, SIDE * PATCH, SIDE * PATCH)
        with torch.no_grad():
            cls, tokens = forward({k: v.double() for k, v in stored.items()}, pixels.double(), swiglu)
        key = f"vision.{SIDE * PATCH}x{SIDE * PATCH}.s{PATCH}."
        save(folder / f"{name}.expected.safetensors", {key + "pixels": pixels, key + "cls_token": cls.float(), key + "patch_tokens": tokens.float()})


main()
