#!/usr/bin/python3
"""Writes classifiers of one to two recurrent layers as PyTorch exports them, with random weights, for bench_peers.py:
a keyword spotter's GRU, speech and sensor LSTMs, one in both directions, one whose weights fit no cache, one of eight
sequences at once, and one step of a stream. Needs Debian's python3-torch.

usage: make_recurrent.py OUT_DIR
"""
import os
import sys
import warnings

import torch
from torch import nn

# name: kind, inputs, hidden, layers, both directions, steps, sequences
NETWORKS = {
    "gru64": ("GRU", 40, 64, 1, False, 49, 1),
    "gru256": ("GRU", 128, 256, 1, False, 100, 1),
    "lstm256": ("LSTM", 128, 256, 1, False, 100, 1),
    "lstm256x8": ("LSTM", 128, 256, 1, False, 100, 8),
    "lstm256step": ("LSTM", 128, 256, 2, False, 1, 1),
    "bilstm128": ("LSTM", 40, 128, 2, True, 100, 1),
    "lstm1024": ("LSTM", 512, 1024, 1, False, 20, 1),
    "rnn128": ("RNN", 64, 128, 1, False, 100, 1),
}


class Classifier(nn.Module):
    def __init__(self, kind, inputs, hidden, layers, both):
        super().__init__()
        self.body = getattr(nn, kind)(inputs, hidden, layers, bidirectional=both)
        self.head = nn.Linear(hidden * (2 if both else 1), 10)

    def forward(self, x):
        return self.head(self.body(x)[0][-1])


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    os.makedirs(sys.argv[1], exist_ok=True)
    warnings.simplefilter("ignore")  # that a variable batch needs initial states as inputs
    torch.manual_seed(0)
    for name, (kind, inputs, hidden, layers, both, steps, sequences) in NETWORKS.items():
        torch.onnx.export(Classifier(kind, inputs, hidden, layers, both).eval(), torch.zeros(steps, sequences, inputs),
                          os.path.join(sys.argv[1], name + ".onnx"), opset_version=14, input_names=["x"], output_names=["y"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
