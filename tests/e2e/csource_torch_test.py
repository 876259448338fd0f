#!/usr/bin/python3
"""Models of many families as PyTorch exports them, as C programs, against PyTorch itself. Skips where PyTorch
(python3-torch) is absent.

usage: csource_torch_test.py [--write FOLDER]   (the models as ONNX files, no tests)"""
import os
import sys
import warnings

from c_program import CCase
from harness import BINARY, main

try:
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError:
    print("skipped: needs python3-torch and python3-numpy (scripts/setup dev)")
    sys.exit(77)


class Keywords(nn.Module):
    """Keyword spotting: features of some frames, a convolution, a recurrent layer, log-probabilities."""

    def __init__(self, cell, features=10, hidden=24, **options):
        super().__init__()
        self.conv = nn.Conv1d(features, hidden, 3, padding=1)
        self.cell = cell(hidden, hidden, batch_first=True, **options)
        self.head = nn.Linear(hidden * (2 if options.get("bidirectional") else 1), 12)

    def forward(self, x):
        y, _ = self.cell(torch.relu(self.conv(x)).transpose(1, 2))
        return F.log_softmax(self.head(y[:, -1]), dim=1)


class Streaming(nn.Module):
    """One frame and the state before it, the state after it out."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(10, 20, num_layers=2)
        self.head = nn.Linear(20, 3)

    def forward(self, x, h, c):
        y, (h, c) = self.cell(x, (h, c))
        return torch.sigmoid(self.head(y)), h, c


class Text(nn.Module):
    """A classifier of token ids; 0 pads."""

    def __init__(self, causal=False):
        super().__init__()
        self.table, self.place = nn.Embedding(50, 32), nn.Embedding(12, 32)
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)
        self.head = nn.Linear(32, 5)
        self.causal = causal

    def forward(self, ids):
        n = ids.shape[1]
        keep = ids != 0
        x = self.table(ids) + self.place(torch.arange(n))
        q, k, v = self.qkv(self.norm1(x)).reshape(ids.shape[0], n, 3, 4, 8).permute(2, 0, 3, 1, 4)
        scores = torch.matmul(q, k.transpose(-1, -2)) / 8 ** 0.5
        scores = scores.masked_fill(~keep[:, None, None, :], float("-inf"))
        if self.causal:
            scores = scores + torch.triu(torch.full((n, n), -1e4), diagonal=1)
        x = x + self.out(torch.matmul(torch.softmax(scores, -1), v).transpose(1, 2).reshape(ids.shape[0], n, 32))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        weight = keep.float().unsqueeze(-1)
        return self.head((x * weight).sum(1) / weight.sum(1).clamp(min=1)), torch.argmax(self.head(x), -1)


class GroupResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.a, self.b = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(4, 16) for _ in range(3))
        self.head = nn.Linear(16, 7)

    def forward(self, x):
        x = torch.relu(self.norms[0](self.stem(x)))
        x = torch.relu(x + self.norms[2](self.b(torch.relu(self.norms[1](self.a(x))))))
        return F.normalize(self.head(x.amax(dim=(2, 3))), dim=1)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(24, 8, 3, padding=1)
        self.norm = nn.InstanceNorm2d(8, affine=True)
        self.up = nn.ConvTranspose2d(16, 16, 3, stride=2, padding=1, output_padding=1, groups=2)
        self.out = nn.ConvTranspose2d(8, 2, 4, stride=2, padding=1)

    def forward(self, x):
        a = F.selu(self.norm(self.a(F.pad(x, (1, 1, 1, 1), mode="reflect"))))
        b = F.softplus(self.b(F.max_pool2d(a, 2)))
        x = F.mish(self.c(torch.cat([self.up(b), a], 1)))
        return torch.softmax(self.out(x), 1), F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False).mean((2, 3))


class Speech(nn.Module):
    """Dilated convolutions with gates over raw samples, batch statistics, attention pooling."""

    def __init__(self):
        super().__init__()
        self.front = nn.Conv1d(1, 16, 9, stride=4, padding=4)
        self.gate, self.norm = nn.Conv1d(8, 16, 3, dilation=2, padding=2), nn.BatchNorm1d(8)
        self.up, self.score = nn.ConvTranspose1d(8, 4, 4, stride=2), nn.Linear(4, 1)

    def forward(self, x):
        x = F.glu(self.front(x), 1)
        x = x + F.glu(self.gate(self.norm(x)), 1)
        x = self.up(x).transpose(1, 2)
        weight = torch.softmax(self.score(x), 1)
        mean = (x * weight).sum(1)
        return torch.cat([mean, ((x * x * weight).sum(1) - mean * mean).clamp(min=1e-6).sqrt()], 1)


class Head(nn.Module):
    """Scores and boxes of a detector, the best ones picked by their indices."""

    def __init__(self):
        super().__init__()
        self.score, self.box = nn.Conv2d(8, 6, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        scores = torch.sigmoid(self.score(x)).flatten(2).transpose(1, 2)
        boxes = self.box(x).flatten(2).transpose(1, 2)
        best, label = scores.max(-1)
        top, at = torch.topk(best, 5, dim=1)
        centre, size = boxes[..., :2], boxes[..., 2:].exp()
        corners = torch.cat([centre - size / 2, centre + size / 2], -1)
        picked = corners.gather(1, at.unsqueeze(-1).expand(-1, -1, 4))
        return top, label.gather(1, at), torch.where(top.unsqueeze(-1) > 0.5, picked, torch.zeros_like(picked)), (best > 0.6).int().sum(1)


class Reductions(nn.Module):
    def forward(self, x):
        return (torch.logsumexp(x, 2), torch.cumsum(x, 1), x.prod(2), x.norm(dim=1), x.abs().sum((1, 2)), x.amin(2), x.std(2, unbiased=False),
                torch.fmod(x, 0.3), torch.round(x * 4), torch.sign(x), torch.argmin(x, 1), torch.tril(x), x.floor().long() % 3)


class Moves(nn.Module):
    """Einsum, tiles, pixel shuffles, pads, one-hot codes, flips."""

    def forward(self, x):
        y = F.pixel_unshuffle(x, 2)
        z = torch.einsum("bchw,bdhw->bcd", x, x)
        hot = F.one_hot(torch.argmax(x, 1), 4).float()
        return (y, z, hot.mean((1, 2)), x.repeat(1, 2, 1, 1), F.pad(x, (2, 1, 1, 2), mode="replicate"), torch.flip(x, [3]),
                F.adaptive_avg_pool2d(x, 3), x.matmul(x[:, :, :, :1].squeeze(-1).unsqueeze(-1)))


def floats(*shape):
    count = int(np.prod(shape))
    return (((np.arange(count) * 7919) % 2003) / 1000 - 1).astype(np.float32).reshape(shape)


TOKENS = np.array([[3, 17, 42, 8, 49, 1, 25, 6, 11, 0, 0, 0]], np.int64)
MODELS = {
    "keywords_gru": (lambda: Keywords(nn.GRU, 40, 64), [floats(1, 40, 49)]),
    "keywords_lstm": (lambda: Keywords(nn.LSTM, 40, 64), [floats(1, 40, 49)]),
    "gru": (lambda: Keywords(nn.GRU), [floats(1, 10, 40)]),
    "gru_both": (lambda: Keywords(nn.GRU, bidirectional=True, num_layers=2), [floats(2, 10, 12)]),
    "lstm": (lambda: Keywords(nn.LSTM), [floats(1, 10, 40)]),
    "lstm_both": (lambda: Keywords(nn.LSTM, bidirectional=True, num_layers=2), [floats(2, 10, 12)]),
    "rnn": (lambda: Keywords(nn.RNN, nonlinearity="relu"), [floats(1, 10, 20)]),
    "streaming": (Streaming, [floats(1, 1, 10), floats(2, 1, 20), floats(2, 1, 20) * 0.5]),
    "text": (Text, [TOKENS]),
    "text_causal": (lambda: Text(True), [TOKENS]),
    "groupnorm": (GroupResNet, [floats(1, 3, 16, 16)]),
    "unet": (UNet, [floats(1, 1, 14, 14)]),
    "speech": (Speech, [floats(1, 1, 400)]),
    "head": (Head, [floats(1, 8, 6, 6)]),
    "reductions": (Reductions, [floats(2, 5, 7)]),
    "moves": (Moves, [floats(1, 4, 6, 6)]),
}


def write(name, path):
    """(inputs, outputs of PyTorch) of the model, which becomes the ONNX file `path`."""
    make, inputs = MODELS[name]
    torch.manual_seed(11)
    module = make().eval()
    given = [torch.from_numpy(v) for v in inputs]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = module(*given)
        torch.onnx.export(module, tuple(given), path, opset_version=16, input_names=[f"in{i}" for i in range(len(given))])
    return inputs, [v.numpy() for v in (want if isinstance(want, tuple) else (want,))]


class Torch(CCase):

    def compare(self, raw, want, tolerance, label):
        at = 0
        for i, expected in enumerate(want):
            got = np.frombuffer(raw[at:at + expected.nbytes], expected.dtype).reshape(expected.shape)
            at += expected.nbytes
            if expected.dtype.kind == "f":
                worst = np.abs(got - expected).max()
                self.assertLessEqual(worst, tolerance * max(1e-3, np.abs(expected).max()), f"{label}: output {i}")
            else:
                self.assertTrue(np.array_equal(got, expected), f"{label}: output {i}: {got} for {expected}")
        self.assertEqual(at, len(raw), label)

    def test_families(self):
        for name in MODELS:
            with self.subTest(model=name):
                path = self.path(name + ".onnx")
                inputs, want = write(name, path)
                stem = self.export(path, name=name)
                raw = self.run_c(stem, [(v.flatten(), {"f": "<f4", "i": "<i8"}[v.dtype.kind]) for v in inputs])
                self.compare(raw, want, 3e-5, name)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--write":
        os.makedirs(sys.argv[2], exist_ok=True)
        for model in MODELS:
            write(model, os.path.join(sys.argv[2], model + ".onnx"))
        sys.exit(0)
    if not os.path.exists(BINARY):
        raise SystemExit(f"{BINARY} is not there; run scripts/build")
    main()
