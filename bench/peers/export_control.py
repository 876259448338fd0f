#!/usr/bin/python3
"""Writes small networks with control flow as torch.jit.script and PyTorch's exporter make them: loops with a trip count
from outside, while loops, branches on data and on sizes, lists that grow in a loop, caches that grow. Each at opset 11
and 17. Weights come from a fixed seed. Needs Debian's python3-torch and python3-onnx.

usage: export_control.py OUT_DIR [NAME ...]
"""
import os
import sys
import warnings
from typing import List

import torch
from torch import nn

OPSETS = (11, 17)


class Greedy(nn.Module):
    """A recurrent decoder that reads its own best word, n times."""

    def __init__(self):
        super().__init__()
        self.words, self.gate, self.new, self.out = nn.Embedding(20, 16), nn.Linear(32, 16), nn.Linear(32, 16), nn.Linear(16, 20)

    def forward(self, h, n: torch.Tensor):
        token = torch.zeros(h.size(0), dtype=torch.long)
        score = torch.zeros(h.size(0))
        for _ in range(int(n)):
            x = torch.cat([self.words(token), h], 1)
            z = torch.sigmoid(self.gate(x))
            h = z * h + (1 - z) * torch.tanh(self.new(x))
            best, token = self.out(h).log_softmax(-1).max(-1)
            score = score + best
        return token, score, h


class While(nn.Module):
    """As long as the data say."""

    def forward(self, x):
        steps = torch.zeros([], dtype=torch.long)
        while bool(x.abs().sum() > 1.0):
            x = x * 0.5
            steps = steps + 1
        return x, steps


class Branch(nn.Module):
    """One of two convolutions, by the image; a factor by its size."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)

    def forward(self, x):
        if bool(x.mean() > 0):
            y = self.a(x).relu()
        else:
            y = self.b(x)
            if x.size(2) > 8:
                y = y * 2
        return y.mean((2, 3))


class Cells(nn.Module):
    """A cell over a sequence of any length, results in a list."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(8, 8)

    def forward(self, x):
        h, c = torch.zeros(x.size(1), 8), torch.zeros(x.size(1), 8)
        out: List[torch.Tensor] = []
        for i in range(x.size(0)):
            h, c = self.cell(x[i], (h, c))
            out.append(h)
        return torch.stack(out)


class Chunks(nn.Module):
    """Pieces of an unknown number."""

    def forward(self, x):
        sums: List[torch.Tensor] = []
        for piece in torch.split(x, 2, dim=1):
            sums.append(piece.sum(1, keepdim=True))
        return torch.cat(sums, 1)


class Nested(nn.Module):
    """A branch in a loop in a loop."""

    def forward(self, x):
        total = torch.zeros(x.size(1))
        for i in range(x.size(0)):
            row = x[i]
            for _ in range(3):
                if bool(row.sum() > 0):
                    row = row - 0.5
                else:
                    row = row * 1.5
            total = total + row
        return total


class Cache(nn.Module):
    """Attention over what came before: the cache grows by one row a step."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x, n: torch.Tensor):
        keys, values = self.k(x), self.v(x)
        for _ in range(int(n)):
            weights = (self.q(x) @ keys.t()).softmax(-1)
            x = torch.tanh(weights @ values)
            keys, values = torch.cat([keys, self.k(x)]), torch.cat([values, self.v(x)])
        return x, keys


NETWORKS = {
    "greedy": (Greedy(), lambda: (torch.randn(2, 16), torch.tensor(5)), ["h", "n"], {"h": {0: "N"}}),
    "while": (While(), lambda: (torch.randn(6) * 3,), ["x"], {"x": {0: "N"}}),
    "branch": (Branch(), lambda: (torch.randn(1, 3, 16, 16),), ["x"], {"x": {0: "N", 2: "H", 3: "W"}}),
    "cells": (Cells(), lambda: (torch.randn(5, 2, 8),), ["x"], {"x": {0: "T", 1: "N"}}),
    "chunks": (Chunks(), lambda: (torch.randn(3, 7),), ["x"], {"x": {0: "N", 1: "K"}}),
    "nested": (Nested(), lambda: (torch.randn(4, 3),), ["x"], {"x": {0: "N"}}),
    "cache": (Cache(), lambda: (torch.randn(1, 8), torch.tensor(4)), ["x", "n"], {}),
}


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    os.makedirs(sys.argv[1], exist_ok=True)
    warnings.filterwarnings("ignore")
    for name in sys.argv[2:] or NETWORKS:
        torch.manual_seed(0)
        model, inputs, names, axes = NETWORKS[name]
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
        for opset in OPSETS:
            path = os.path.join(sys.argv[1], f"{name}_{opset}.onnx")
            torch.onnx.export(torch.jit.script(model.eval()), inputs(), path, opset_version=opset, input_names=names,
                              dynamic_axes=axes)
            print(path, os.path.getsize(path))


if __name__ == "__main__":
    main()
