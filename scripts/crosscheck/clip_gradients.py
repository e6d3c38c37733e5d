#!/usr/bin/env python3
"""Write loss and gradients of a dual encoder by PyTorch's autograd, for pretrain's tests.

    clip_gradients.py OUT.safetensors          a tiny model of random weights, which go into the file too
    clip_gradients.py OUT.safetensors CLIPDIR  a Hugging Face CLIP directory (safetensors, one file or shards)

The network is written plainly after the published architecture (Radford et al. 2021; names as Hugging Face's); the loss is
CLIP's symmetric cross-entropy of the class tokens plus PACL's pairwise one of the patch tokens through a projection of
their own, with targets shared by equal texts. The file holds pixels, token ids, the parameters that the directory lacks
(all of them without one), "loss" and "grad.NAME". Computed in float64, written as float32. Needs Debian's python3-torch.
"""
import json
import math
import pathlib
import struct
import sys

import numpy
import torch
import torch.nn.functional as F

TYPES = {"F16": numpy.float16, "F32": numpy.float32, "F64": numpy.float64, "I64": numpy.int64}


def read(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header, body, tensors = json.loads(data[8:8 + length]), data[8 + length:], {}
    for name, info in header.items():
        if name != "__metadata__" and info["dtype"] in TYPES:
            begin, end = info["data_offsets"]
            array = numpy.frombuffer(body[begin:end], TYPES[info["dtype"]]).reshape(info["shape"])
            tensors[name] = torch.tensor(array.astype(numpy.float64))
    return tensors


def write(path, tensors, metadata):
    header, body = {"__metadata__": metadata}, b""
    for name, tensor in tensors.items():
        data = tensor.detach().to(torch.float32).contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def activate(name, x):
    return x * torch.sigmoid(1.702 * x) if name == "quick_gelu" else F.gelu(x)


def transformer(x, p, prefix, config, causal):
    """x [N, w] of one sequence."""
    n, w = x.shape
    heads = config["num_attention_heads"]
    mask = torch.full((n, n), -math.inf, dtype=x.dtype).triu(1) if causal else torch.zeros(n, n, dtype=x.dtype)
    for layer in range(config["num_hidden_layers"]):
        name = f"{prefix}.encoder.layers.{layer}."
        linear = lambda v, part: F.linear(v, p[name + part + ".weight"], p[name + part + ".bias"])
        norm = lambda v, part: F.layer_norm(v, (w,), p[name + part + ".weight"], p[name + part + ".bias"], 1e-5)
        h = norm(x, "layer_norm1")
        q, k, v = (linear(h, f"self_attn.{part}_proj").view(n, heads, w // heads).transpose(0, 1) for part in "qkv")
        weights = (q @ k.transpose(1, 2) / math.sqrt(w // heads) + mask).softmax(-1)
        x = x + linear((weights @ v).transpose(0, 1).reshape(n, w), "self_attn.out_proj")
        h = norm(x, "layer_norm2")
        x = x + linear(activate(config["hidden_act"], linear(h, "mlp.fc1")), "mlp.fc2")
    return x


def image(pixels, p, config):
    """[3, S, S] -> class embedding [D], patch vectors [N, D], unit rows."""
    w = config["hidden_size"]
    norm = lambda v, name: F.layer_norm(v, (w,), p[name + ".weight"], p[name + ".bias"], 1e-5)
    patches = F.conv2d(pixels[None], p["vision_model.embeddings.patch_embedding.weight"], stride=config["patch_size"])[0]
    x = torch.cat([p["vision_model.embeddings.class_embedding"][None], patches.flatten(1).T])
    x = norm(x + p["vision_model.embeddings.position_embedding.weight"], "vision_model.pre_layrnorm")
    x = norm(transformer(x, p, "vision_model", config, False), "vision_model.post_layernorm")
    return (F.normalize(x[0] @ p["visual_projection.weight"].T, dim=-1),
            F.normalize(x[1:] @ p["patch_projection.weight"].T, dim=-1))


def text(ids, p, config):
    w = config["hidden_size"]
    x = p["text_model.embeddings.token_embedding.weight"][ids] + p["text_model.embeddings.position_embedding.weight"][:len(ids)]
    x = transformer(x, p, "text_model", config, True)[-1]
    x = F.layer_norm(x, (w,), p["text_model.final_layer_norm.weight"], p["text_model.final_layer_norm.bias"], 1e-5)
    return F.normalize(x @ p["text_projection.weight"].T, dim=-1)


def contrast(phi, log_scale, targets):
    logits = phi * log_scale.exp()
    return -(targets * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum() / (2 * len(phi))


def pairwise(patches, texts, tau):
    """phi [B, B] of patches [B, N, D] and texts [B, D], each pair with its own pooling."""
    cosines = torch.einsum("ind,jd->ijn", patches, texts)
    pooled = torch.einsum("ijn,ind->ijd", (cosines / tau).softmax(-1), patches)
    return (F.normalize(pooled, dim=-1) * texts[None]).sum(-1)


def random_model():
    vision = {"hidden_size": 12, "num_attention_heads": 3, "num_hidden_layers": 2, "hidden_act": "quick_gelu", "image_size": 12, "patch_size": 4}
    words = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2, "hidden_act": "quick_gelu", "max_position_embeddings": 7, "vocab_size": 520}
    p = {}
    add = lambda name, *shape: p.__setitem__(name, torch.randn(shape, dtype=torch.float64) / math.sqrt(shape[-1]))
    for prefix, config in (("vision_model", vision), ("text_model", words)):
        w = config["hidden_size"]
        norms = ["pre_layrnorm", "post_layernorm"] if prefix == "vision_model" else ["final_layer_norm"]
        for layer in range(config["num_hidden_layers"]):
            name = f"{prefix}.encoder.layers.{layer}."
            for part, out, inner in (("self_attn.q_proj", w, w), ("self_attn.k_proj", w, w), ("self_attn.v_proj", w, w),
                                     ("self_attn.out_proj", w, w), ("mlp.fc1", 4 * w, w), ("mlp.fc2", w, 4 * w)):
                add(name + part + ".weight", out, inner)
                add(name + part + ".bias", out)
            norms += [f"encoder.layers.{layer}.layer_norm1", f"encoder.layers.{layer}.layer_norm2"]
        for norm in norms:
            p[f"{prefix}.{norm}.weight"] = 1 + 0.1 * torch.randn(w, dtype=torch.float64)
            p[f"{prefix}.{norm}.bias"] = 0.1 * torch.randn(w, dtype=torch.float64)
    add("vision_model.embeddings.class_embedding", 12)
    add("vision_model.embeddings.patch_embedding.weight", 12, 3, 4, 4)
    add("vision_model.embeddings.position_embedding.weight", 10, 12)
    add("text_model.embeddings.token_embedding.weight", 520, 8)
    add("text_model.embeddings.position_embedding.weight", 7, 8)
    add("visual_projection.weight", 6, 12)
    add("text_projection.weight", 6, 8)
    p["logit_scale"] = torch.tensor(1.9, dtype=torch.float64)
    return p, {"vision_config": vision, "text_config": words, "projection_dim": 6}


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    torch.manual_seed(7)
    if len(sys.argv) == 3:
        directory = pathlib.Path(sys.argv[2])
        config, p = json.loads((directory / "config.json").read_text()), {}
        for shard in sorted(directory.glob("*.safetensors")):
            p.update(read(shard))
        given = set(p)
    else:
        p, config = random_model()
        given = set()
    vision, words = config["vision_config"], config["text_config"]
    p["patch_projection.weight"] = torch.randn(config["projection_dim"], vision["hidden_size"], dtype=torch.float64) / math.sqrt(vision["hidden_size"])
    p["patch_logit_scale"] = torch.tensor(1.5, dtype=torch.float64)
    # What both sides compute from must be the same to the last bit: float32 values.
    p = {name: t.to(torch.float32).to(torch.float64).requires_grad_() for name, t in p.items()}

    count, tau = 5, 0.07
    pixels = torch.randn(count, 3, vision["image_size"], vision["image_size"]).to(torch.float64)
    longest = min(12, words["max_position_embeddings"])
    ids = [torch.randint(words["vocab_size"], (3 + (2 * i) % (longest - 2),)) for i in range(count)]
    ids[-1] = ids[0]
    targets = torch.tensor([[float(torch.equal(a, b)) for b in ids] for a in ids], dtype=torch.float64)
    targets /= targets.sum(1, keepdim=True)

    embeddings, patches = map(torch.stack, zip(*(image(x, p, vision) for x in pixels)))
    texts = torch.stack([text(i, p, words) for i in ids])
    loss = contrast(embeddings @ texts.T, p["logit_scale"], targets) + contrast(pairwise(patches, texts, tau), p["patch_logit_scale"], targets)
    loss.backward()

    out = {"pixels": pixels, "loss": loss}
    for i, text_ids in enumerate(ids):
        out[f"ids.{i}"] = text_ids
    for name, parameter in p.items():
        if name not in given:
            out[name] = parameter
        if parameter.grad is not None:
            out["grad." + name] = parameter.grad
    write(pathlib.Path(sys.argv[1]), out, {"tau_patch": str(tau), "config": json.dumps(config), "made_by": "scripts/crosscheck/clip_gradients.py"})


main()
