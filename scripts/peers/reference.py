"""Times PyTorch on the work that pacl's engine does, and exports the same networks as ONNX for ONNX Runtime.

    python3 reference.py DIRECTORY export|vision|step...   (Debian's python3-torch; prints JSON, one object a line)

The networks are CLIP ViT-B/16 with random weights, written plainly after the published architecture, with the fused
attention-free products that PyTorch 1.13 offers, and one PACL training step with autograd.
"""
import json
import statistics
import sys
import time

import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(2)


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, mask=None):
        b, t, d = x.shape
        q, k, v = self.qkv(self.ln_1(x)).reshape(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        weights = q @ k.transpose(-1, -2) * (d // self.heads) ** -0.5
        if mask is not None:
            weights = weights + mask
        x = x + self.out((weights.softmax(-1) @ v).transpose(1, 2).reshape(b, t, d))
        h = self.fc(self.ln_2(x))
        return x + self.proj(h * torch.sigmoid(1.702 * h))


class Vision(nn.Module):
    def __init__(self, stride=16, size=224, width=768, layers=12, heads=12, projection=512):
        super().__init__()
        grid = (size - 16) // stride + 1
        self.conv = nn.Conv2d(3, width, 16, stride, bias=False)
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        self.pos = nn.Parameter(torch.randn(grid * grid + 1, width) * 0.02)
        self.pre, self.post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.projection = nn.Linear(width, projection, bias=False)

    def forward(self, pixels):
        x = self.conv(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], 1, -1), x], 1) + self.pos
        x = self.pre(x)
        for block in self.blocks:
            x = block(x)
        return self.projection(self.post(x))


class Text(nn.Module):
    def __init__(self, width=512, layers=12, heads=8, vocabulary=49408, length=77, projection=512):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.pos = nn.Parameter(torch.randn(length, width) * 0.01)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.final = nn.LayerNorm(width)
        self.projection = nn.Linear(width, projection, bias=False)
        self.register_buffer("mask", torch.full((length, length), float("-inf")).triu(1))

    def forward(self, ids):
        x = self.embedding(ids) + self.pos
        for block in self.blocks:
            x = block(x, self.mask)
        x = self.final(x)
        return self.projection(x[torch.arange(ids.shape[0]), ids.argmax(-1)])


class Head(nn.Module):
    def __init__(self, inputs=768, hidden=768, width=512):
        super().__init__()
        self.fc1, self.fc2, self.skip = nn.Linear(inputs, hidden), nn.Linear(hidden, width), nn.Linear(inputs, width)

    def forward(self, x):
        return self.skip(x) + self.fc2(torch.relu(self.fc1(x)))


def pacl_step(head, optimiser, tokens, texts, tau=0.07):
    u = nn.functional.normalize(head(tokens), dim=-1)
    t = nn.functional.normalize(texts, dim=-1)
    s = torch.einsum("itd,jd->ijt", u, t)
    v = torch.einsum("ijt,itd->ijd", (s / tau).softmax(-1), u)
    phi = torch.einsum("ijd,jd->ij", nn.functional.normalize(v, dim=-1), t) / 0.07
    target = torch.arange(len(t))
    loss = (nn.functional.cross_entropy(phi.float(), target) + nn.functional.cross_entropy(phi.float().t(), target)) / 2
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def median(f, runs=5):
    f()
    times, used = [], []
    for _ in range(runs):
        start, before = time.perf_counter(), time.process_time()
        f()
        times.append(time.perf_counter() - start)
        used.append(time.process_time() - before)
    return statistics.median(times) * 1e3, statistics.median(used) * 1e3


def say(work, dtype, timing, count=1):
    ms, cpu = timing
    print(json.dumps({"peer": f"PyTorch {torch.__version__}", "work": work, "dtype": dtype,
                      "ms": round(ms / count, 2), "cpu_ms": round(cpu / count, 2)}), flush=True)


def export(directory):
    ids = torch.zeros(50, 77, dtype=torch.long)
    for row in ids:
        row[0], row[1:8], row[8] = 49406, torch.randint(0, 49000, (7,)), 49407
    for name, model, example in (
        ("vision", Vision().eval(), torch.randn(8, 3, 224, 224)),
        ("vision-stride4", Vision(4).eval(), torch.randn(1, 3, 224, 224)),
        ("text", Text().eval(), ids),
    ):
        with torch.no_grad():
            torch.onnx.export(model, example, f"{directory}/{name}.onnx", input_names=["input"], opset_version=14, do_constant_folding=False,
                              dynamic_axes={"input": {0: "batch"}})


def vision(_):
    pixels = torch.randn(8, 3, 224, 224)
    for dtype, name in (torch.float32, "f32"), (torch.bfloat16, "bf16"):
        model = Vision().eval().to(dtype)
        with torch.no_grad():
            say("vision batch 8, per image", name, median(lambda: model(pixels.to(dtype))), 8)


def step(_):
    for dtype, name in (torch.float32, "f32"), (torch.bfloat16, "bf16"):
        head = Head().to(dtype)
        optimiser = torch.optim.AdamW(head.parameters(), 1e-4)
        tokens, texts = torch.randn(64, 196, 768).to(dtype), torch.randn(64, 512).to(dtype)
        say("PACL step B=64 T=196 768-768-512", name, median(lambda: pacl_step(head, optimiser, tokens, texts)))


if __name__ == "__main__":
    for work in sys.argv[2:]:
        {"export": export, "vision": vision, "step": step}[work](sys.argv[1])
