#!/usr/bin/python3
"""Trains a GRU that reads the 28 rows of a picture of Fashion-MNIST one after another, and writes it as ONNX: a network
whose weights are recurrent ones nearly all, with real data, for docs/quantize.md.

Needs what train.py needs. The test images are used once, at the end.

usage: train_gru.py [-o gru_fashion.onnx] [--data FOLDER] [--epochs N] [--threads N] [--seed N]
"""
import sys
import time

import torch
from torch import nn
from torch.nn import functional

from train import average_of, run


class Rows(nn.Module):
    def __init__(self, hidden=64, classes=10):
        super().__init__()
        self.cell = nn.GRU(28, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x):
        return self.head(self.cell(x.squeeze(1))[0][:, -1])


def train(images, labels, epochs, batch, seed):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Rows()
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps, pct_start=0.2)
    average, step, begin = None, 0, time.time()
    for epoch in range(epochs):
        model.train()
        order, total = torch.randperm(len(images), generator=generator), 0.0
        for at in range(0, len(images) - batch + 1, batch):
            pick = order[at : at + batch]
            loss = functional.cross_entropy(model(images[pick]), labels[pick])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total, step = total + float(loss), step + 1
            if step > steps * 0.7 and step % 8 == 0:
                average = average_of(average, model)
        print(f"epoch {epoch + 1:2}/{epochs}  loss {total / (len(images) // batch):.4f}  "
              f"{time.time() - begin:.0f} s", flush=True)
    return average.eval()


if __name__ == "__main__":
    sys.exit(run(__doc__, "gru_fashion.onnx", train, opset=14))
