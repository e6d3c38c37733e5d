#!/usr/bin/env python3
"""Write encoder/testdata/siglip and siglip2: tiny random SigLIP models in Hugging Face's layout, and what a straightforward
PyTorch implementation makes of pictures and texts, in float64.

    siglip.py tokenizer/testdata encoder/testdata

SigLIP: Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023; SigLIP 2: Tschannen et al., arXiv 2502.14786.
Written after the papers and Hugging Face's modeling_siglip.py and modeling_siglip2.py: pre-norm blocks with tanh GELU, no
class token, attention pooling by a probe (torch.nn.MultiheadAttention, norm, MLP), texts padded to the full length without a
mask and read at the last token behind a linear layer; logits exp(logit_scale) cosine + logit_bias. The first model is of a
fixed size (a convolution of patches, positions resized bicubically); the second one, of any size, embeds flattened patches
[p, p, 3] linearly and resizes positions bilinearly with anti-aliasing. Texts and their ids are Google's SentencePiece's
(tokenizer/testdata). Needs Debian's python3-torch.
"""
import json
import math
import pathlib
import shutil
import struct
import sys

import torch
import torch.nn.functional as F

WIDTH, HIDDEN, LAYERS, HEADS, EPS, PATCH, SIDE, LENGTH = 24, 40, 2, 3, 1e-6, 6, 4, 20
NAMES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.int64: "I64"}


def save(path, tensors):
    """The safetensors format."""
    header, body = {}, b""
    for name, tensor in tensors.items():
        data = tensor.contiguous().numpy().tobytes()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def weights(vocabulary, linear_patches):
    w = {}

    def layer(name, out, width):
        w[name + ".weight"] = torch.randn(out, width) / math.sqrt(width)
        w[name + ".bias"] = torch.randn(out) * 0.1

    def norm(name):
        w[name + ".weight"] = 1 + torch.randn(WIDTH) * 0.1
        w[name + ".bias"] = torch.randn(WIDTH) * 0.1

    for tower in ("vision_model", "text_model"):
        for i in range(LAYERS):
            p = f"{tower}.encoder.layers.{i}."
            norm(p + "layer_norm1"), norm(p + "layer_norm2")
            for kind in ("q_proj", "k_proj", "v_proj", "out_proj"):
                layer(p + "self_attn." + kind, WIDTH, WIDTH)
            layer(p + "mlp.fc1", HIDDEN, WIDTH), layer(p + "mlp.fc2", WIDTH, HIDDEN)
    e = "vision_model.embeddings."
    shape = (WIDTH, PATCH * PATCH * 3) if linear_patches else (WIDTH, 3, PATCH, PATCH)
    w[e + "patch_embedding.weight"] = torch.randn(shape) / (PATCH * 1.5)
    w[e + "patch_embedding.bias"] = torch.randn(WIDTH) * 0.1
    w[e + "position_embedding.weight"] = torch.randn(SIDE * SIDE, WIDTH) * 0.5
    norm("vision_model.post_layernorm")
    h = "vision_model.head."
    w[h + "probe"] = torch.randn(1, 1, WIDTH)
    w[h + "attention.in_proj_weight"] = torch.randn(3 * WIDTH, WIDTH) / math.sqrt(WIDTH) * 2
    w[h + "attention.in_proj_bias"] = torch.randn(3 * WIDTH) * 0.1
    layer(h + "attention.out_proj", WIDTH, WIDTH), norm(h + "layernorm")
    layer(h + "mlp.fc1", HIDDEN, WIDTH), layer(h + "mlp.fc2", WIDTH, HIDDEN)
    e = "text_model.embeddings."
    w[e + "token_embedding.weight"] = torch.randn(vocabulary, WIDTH)
    w[e + "position_embedding.weight"] = torch.randn(LENGTH, WIDTH) * 0.5
    norm("text_model.final_layer_norm"), layer("text_model.head", WIDTH, WIDTH)
    w["logit_scale"], w["logit_bias"] = torch.tensor([math.log(10.0)]), torch.tensor([-12.9])
    return {name: tensor.half() for name, tensor in w.items()}


def gelu_tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def linear(w, name, x):
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def norm(w, name, x):
    return F.layer_norm(x, (WIDTH,), w[name + ".weight"], w[name + ".bias"], EPS)


def mlp(w, name, x):
    return linear(w, name + "fc2", gelu_tanh(linear(w, name + "fc1", x)))


def blocks(w, tower, x):
    """[B, T, WIDTH], every token sees every other."""
    for i in range(LAYERS):
        p = f"{tower}.encoder.layers.{i}."
        y = norm(w, p + "layer_norm1", x)
        q, k, v = (linear(w, p + f"self_attn.{kind}_proj", y).unflatten(-1, (HEADS, -1)).transpose(1, 2) for kind in "qkv")
        a = (q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)).softmax(-1) @ v
        x = x + linear(w, p + "self_attn.out_proj", a.transpose(1, 2).flatten(2))
        x = x + mlp(w, p + "mlp.", norm(w, p + "layer_norm2", x))
    return x


def vision(w, pixels, linear_patches):
    """pixels [B, 3, H, W] -> patch tokens [B, H/p, W/p, WIDTH], image embeddings [B, WIDTH]."""
    weight, bias = w["vision_model.embeddings.patch_embedding.weight"], w["vision_model.embeddings.patch_embedding.bias"]
    gh, gw = pixels.shape[2] // PATCH, pixels.shape[3] // PATCH
    grid = w["vision_model.embeddings.position_embedding.weight"].T.reshape(1, WIDTH, SIDE, SIDE)
    if linear_patches:
        cut = pixels.unflatten(3, (gw, PATCH)).unflatten(2, (gh, PATCH)).permute(0, 2, 4, 3, 5, 1)  # [B, gh, gw, p, p, 3]
        x = (cut.flatten(3) @ weight.T + bias).flatten(1, 2)
        grid = F.interpolate(grid, (gh, gw), mode="bilinear", align_corners=False, antialias=True)
    else:
        x = F.conv2d(pixels, weight, bias, stride=PATCH).flatten(2).transpose(1, 2)
        grid = F.interpolate(grid, (gh, gw), mode="bicubic", align_corners=False)
    x = blocks(w, "vision_model", x + grid.flatten(2).transpose(1, 2))
    x = norm(w, "vision_model.post_layernorm", x)
    h = "vision_model.head."
    attention = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).double()
    attention.load_state_dict({k[len(h) + 10:]: v for k, v in w.items() if k.startswith(h + "attention.")})
    pooled = attention(w[h + "probe"].expand(len(x), -1, -1), x, x)[0]
    pooled = pooled + mlp(w, h + "mlp.", norm(w, h + "layernorm", pooled))
    return x.reshape(-1, gh, gw, WIDTH), pooled[:, 0]


def texts(w, ids):
    """ids [N, LENGTH] -> [N, WIDTH]."""
    e = "text_model.embeddings."
    x = blocks(w, "text_model", w[e + "token_embedding.weight"][ids] + w[e + "position_embedding.weight"])
    return linear(w, "text_model.head", norm(w, "text_model.final_layer_norm", x)[:, -1])


def write(folder, kind, tokenizers, tokenizer, model, vocabulary, pad, linear_patches):
    folder.mkdir(parents=True, exist_ok=True)
    stored = weights(vocabulary, linear_patches)
    save(folder / "model.safetensors", stored)
    shutil.copy(tokenizers / f"{model}.model", folder / tokenizer)
    # As published configurations do, this one leaves out what has the family's usual value or follows from the tensors.
    vision_config = {"model_type": kind + "_vision_model", "num_attention_heads": HEADS, "hidden_size": WIDTH}
    if not linear_patches:
        vision_config["image_size"] = SIDE * PATCH
    vision_config["patch_size"] = PATCH
    text_config = {"model_type": kind + "_text_model", "num_attention_heads": HEADS, "vocab_size": vocabulary}
    config = {"architectures": ["SiglipModel"], "model_type": kind, "text_config": text_config, "vision_config": vision_config}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    w = {name: tensor.double() for name, tensor in stored.items()}
    expected = {}
    sizes = [(SIDE * PATCH, SIDE * PATCH), (3 * PATCH, 5 * PATCH), (7 * PATCH, 2 * PATCH)]
    with torch.no_grad():
        for height, width in sizes:
            pixels = torch.rand(2 if height == width else 1, 3, height, width) * 2 - 1
            tokens, images = vision(w, pixels.double(), linear_patches)
            key = f"vision.{height}x{width}.s{PATCH}."
            expected[key + "pixels"] = pixels
            expected[key + "patch_tokens"], expected[key + "image_embeddings"] = tokens, images
        lines = [json.loads(line) for line in (tokenizers / "sentencepiece.jsonl").read_text().splitlines()]
        lines = [line for line in lines if line["model"] == model][:: 9]
        ids = torch.tensor([(line["ids"][:LENGTH - 1] + [1] + [pad] * LENGTH)[:LENGTH] for line in lines])
        vectors = texts(w, ids)
        logits = F.normalize(images, dim=-1) @ F.normalize(vectors, dim=-1).T * w["logit_scale"].exp() + w["logit_bias"]
    expected["text.ids"], expected["text.embeddings"] = ids, vectors
    expected["logits"] = logits  # of the images of the last size
    save(folder.with_suffix(".expected.safetensors"), {k: v.float() if v.is_floating_point() else v for k, v in expected.items()})
    folder.with_suffix(".texts.json").write_text(json.dumps([line["text"] for line in lines], indent=1) + "\n")


def main():
    tokenizers, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    torch.manual_seed(11)
    write(out / "siglip", "siglip", tokenizers, "spiece.model", "unigram", 420, 1, False)
    write(out / "siglip2", "siglip2", tokenizers, "tokenizer.model", "bpe", 700, 0, True)


if __name__ == "__main__":
    main()
