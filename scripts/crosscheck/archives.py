#!/usr/bin/env python3
"""Write weights/testdata/*.pt and *.json: small PyTorch archives as torch.save and torch.jit.save write them, and the
numbers that they hold.

    archives.py weights/testdata

Every type of numbers, views (transposed, sliced, expanded), storages that several tensors share, parameters, a checkpoint
with an optimiser's state and DistributedDataParallel's prefix, a TorchScript module, each protocol of pickle, and the format
before PyTorch 1.6. Needs Debian's python3-torch.
"""
import json
import pathlib
import sys

import torch


def plain(tensor):
    return {"shape": list(tensor.shape), "type": str(tensor.dtype).split(".")[1],
            "numbers": [float(x) for x in tensor.detach().double().reshape(-1)]}


def write(folder, name, value, tensors, **options):
    torch.save(value, folder / f"{name}.pt", **options)
    (folder / f"{name}.json").write_text(json.dumps({k: plain(v) for k, v in tensors.items()}, indent=1) + "\n")


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)
        self.scale = 2.0
        self.register_buffer("count", torch.tensor(7))
        self.sizes = [1, 2, 3]

    def forward(self, x):
        return self.layer(x) * self.scale


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.Sequential(Block(), Block())
        self.token = torch.nn.Parameter(torch.randn(1, 3))

    def forward(self, x):
        return self.blocks(x + self.token)


def main():
    folder = pathlib.Path(sys.argv[1])
    torch.manual_seed(3)
    types = {f"t.{d}": (torch.randn(2, 3) * 50).to(getattr(torch, d))
             for d in ("float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")}
    write(folder, "types", types, types)

    base = torch.arange(24.0).reshape(4, 6)
    views = {"base": base, "transposed": base.t(), "columns": base[:, 1:4:2], "row": base[2], "permuted": base.reshape(2, 3, 4).permute(2, 0, 1),
             "expanded": base[1, 2].expand(3, 2), "scalar": base[3, 3], "empty": base[:0], "half": base.half().t()}
    for protocol in (2, 3, 4, 5):
        write(folder, f"views{protocol}", views, views, pickle_protocol=protocol)

    net = Net()
    state = net.state_dict()
    wrapped = {"module." + k: v for k, v in state.items()}
    optimiser = torch.optim.AdamW(net.parameters())
    write(folder, "checkpoint", {"epoch": 3, "state_dict": wrapped, "optimizer": optimiser.state_dict(), "lr": 1e-3}, state)
    write(folder, "parameters", {"token": net.token, "inner": {"weight": net.blocks[0].layer.weight}},
          {"token": net.token, "inner.weight": net.blocks[0].layer.weight})

    torch.jit.script(net).save(str(folder / "script.pt"))
    (folder / "script.json").write_text(json.dumps({k: plain(v) for k, v in state.items()}, indent=1) + "\n")

    torch.save({"a": torch.ones(2)}, folder / "legacy.pth", _use_new_zipfile_serialization=False)


main()
