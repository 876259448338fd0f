#!/usr/bin/python3
"""Writes small networks of the kinds that people deploy, as PyTorch's exporter takes them apart: encoder and decoder
transformers with masks, rotary embeddings and grouped queries, detection heads, U-Nets, ConvNeXt and MobileViT blocks,
super-resolution, recurrent classifiers and norms and activations written by hand. Each at opset 11 and 17, some with
dynamic axes, some with their modules as functions. src/model/passes/patterns_test.cc asserts that the passes put them together again. Weights come from a
fixed seed. Needs Debian's python3-torch and python3-onnx.

usage: export_patterns.py OUT_DIR [NAME ...]
"""
import math
import os
import sys
import warnings

import torch
import torch.nn.functional as F
from torch import nn

OPSETS = (11, 17)
WIDTH, HEADS, SEQUENCE, WORDS = 32, 4, 10, 50


class BertLayer(nn.Module):
    """As in Hugging Face's BertLayer."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)

    def heads(self, x):
        return x.view(x.size()[:-1] + (HEADS, WIDTH // HEADS)).permute(0, 2, 1, 3)

    def forward(self, x, mask):
        q, k, v = self.heads(self.q(x)), self.heads(self.k(x)), self.heads(self.v(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(WIDTH // HEADS)
        p = F.dropout(F.softmax(scores + mask, dim=-1), 0.1, self.training)
        c = torch.matmul(p, v).permute(0, 2, 1, 3).contiguous()
        c = c.view(c.size()[:-2] + (WIDTH,))
        x = self.norm1(self.out(c) + x)
        return self.norm2(self.down(F.gelu(self.up(x))) + x)


class Bert(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(64, WIDTH)
        self.register_buffer("position_ids", torch.arange(64).expand((1, -1)))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(BertLayer() for _ in range(2))
        self.pooler = nn.Linear(WIDTH, WIDTH)

    def forward(self, ids, attention_mask):
        mask = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * -10000.0
        x = self.norm(self.words(ids) + self.places(self.position_ids[:, : ids.size(1)]))
        for layer in self.layers:
            x = layer(x, mask)
        return x, torch.tanh(self.pooler(x[:, 0]))


class Conv1D(nn.Module):
    """GPT-2's linear layer: the weight is [in, out]."""

    def __init__(self, out, width):
        super().__init__()
        self.n = out
        self.weight, self.bias = nn.Parameter(torch.randn(width, out) * 0.1), nn.Parameter(torch.randn(out) * 0.1)

    def forward(self, x):
        size = x.size()[:-1] + (self.n,)
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(size)


def gelu_new(x):
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


class Gpt2Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = Conv1D(3 * WIDTH, WIDTH), Conv1D(WIDTH, WIDTH)
        self.up, self.down = Conv1D(4 * WIDTH, WIDTH), Conv1D(WIDTH, 4 * WIDTH)
        self.register_buffer("tril", torch.tril(torch.ones(64, 64, dtype=torch.uint8)).view(1, 1, 64, 64).bool())

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).split(WIDTH, dim=2)
        q, k, v = (t.view(t.size()[:-1] + (HEADS, WIDTH // HEADS)).permute(0, 2, 1, 3) for t in (q, k, v))
        scores = torch.matmul(q, k.transpose(-1, -2))
        scores = scores / torch.full([], v.size(-1) ** 0.5, dtype=scores.dtype)
        n, m = q.size(-2), k.size(-2)
        causal = self.tril[:, :, m - n : m, :m]
        scores = torch.where(causal, scores, torch.full([], torch.finfo(scores.dtype).min, dtype=scores.dtype))
        y = torch.matmul(F.softmax(scores, dim=-1), v).permute(0, 2, 1, 3).contiguous()
        x = x + self.out(y.view(y.size()[:-2] + (WIDTH,)))
        return x + self.down(gelu_new(self.up(self.norm2(x))))


class Gpt2(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(64, WIDTH)
        self.blocks = nn.ModuleList(Gpt2Block() for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, ids):
        x = self.words(ids) + self.places(torch.arange(ids.size(1)).unsqueeze(0))
        for block in self.blocks:
            x = block(x)
        return torch.matmul(self.norm(x), self.words.weight.t())


class RmsNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(WIDTH) + 0.5)

    def forward(self, x):
        x = x.to(torch.float32)
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def rotate_half(x):
    a, b = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat((-b, a), dim=-1)


class LlamaBlock(nn.Module):
    KV = 2

    def __init__(self):
        super().__init__()
        size = WIDTH // HEADS
        self.norm1, self.norm2 = RmsNorm(), RmsNorm()
        self.q, self.out = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.k, self.v = (nn.Linear(WIDTH, self.KV * size, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(WIDTH, 2 * WIDTH, bias=False) for _ in range(2))
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=False)
        self.register_buffer("inv", 1.0 / (10000 ** (torch.arange(0, size, 2).float() / size)))

    def repeat(self, x):
        b, h, n, d = x.shape
        x = x[:, :, None, :, :].expand(b, h, HEADS // self.KV, n, d)
        return x.reshape(b, h * (HEADS // self.KV), n, d)

    def forward(self, x):
        b, n, _ = x.size()
        h = self.norm1(x)
        q = self.q(h).view(b, n, HEADS, -1).transpose(1, 2)
        k = self.k(h).view(b, n, self.KV, -1).transpose(1, 2)
        v = self.v(h).view(b, n, self.KV, -1).transpose(1, 2)
        angles = torch.arange(n)[:, None].float() * self.inv[None, :]
        emb = torch.cat((angles, angles), dim=-1)[None, None]
        cos, sin = emb.cos(), emb.sin()
        q = q * cos + rotate_half(q) * sin
        k = k * cos + rotate_half(k) * sin
        k, v = self.repeat(k), self.repeat(v)
        scores = torch.matmul(q, k.transpose(2, 3)) / math.sqrt(WIDTH // HEADS)
        mask = torch.full((n, n), torch.finfo(torch.float32).min)
        mask = mask * (torch.arange(n)[None, :] > torch.arange(n)[:, None])
        mask = mask[None, None]
        p = F.softmax(scores + mask, dim=-1, dtype=torch.float32).to(q.dtype)
        y = torch.matmul(p, v).transpose(1, 2).contiguous().reshape(b, n, WIDTH)
        x = x + self.out(y)
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class TimmAttention(nn.Module):
    """Combined queries, keys and values as in timm's vision transformers, then nn.MultiheadAttention."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.torch_one = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.scale = (WIDTH // HEADS) ** -0.5

    def forward(self, x):
        b, n, c = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(b, n, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        y = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        x = x + self.proj(y.transpose(1, 2).reshape(b, n, c))
        h = self.norm2(x)
        return x + self.torch_one(h, h, h, need_weights=False)[0]


def conv_bn(inputs, outputs, kernel=3, activation=nn.ReLU, stride=1, groups=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
                         nn.BatchNorm2d(outputs), activation())


class Detector(nn.Module):
    """Two levels of an anchor-based head with decoding."""

    def __init__(self):
        super().__init__()
        self.stem, self.down = conv_bn(3, 16, stride=2), conv_bn(16, 16, stride=2)
        self.heads = nn.ModuleList(nn.Conv2d(16, 3 * (5 + 4), 1) for _ in range(2))
        self.register_buffer("anchors", torch.rand(1, 320 * 3, 4) + 0.5)

    def forward(self, image):
        features = [self.stem(image)]
        features.append(self.down(features[0]))
        outputs = []
        for head, feature in zip(self.heads, features):
            y = head(feature)
            b, _, h, w = y.shape
            y = y.view(b, 3, 9, h, w).permute(0, 1, 3, 4, 2).contiguous()
            outputs.append(y.view(b, -1, 9))
        y = torch.cat(outputs, 1)
        xy = (y[..., 0:2].sigmoid() * 2.0 - 0.5) * self.anchors[..., 2:] + self.anchors[..., :2]
        wh = y[..., 2:4].exp() * self.anchors[..., 2:]
        boxes = torch.cat((xy - wh / 2, xy + wh / 2), -1)
        return boxes, y[..., 4:5].sigmoid() * F.softmax(y[..., 5:], -1)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv_bn(3, 8), conv_bn(8, 16), conv_bn(16, 16, activation=nn.LeakyReLU)
        self.up1, self.up2 = nn.ConvTranspose2d(16, 16, 2, 2), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.d, self.e, self.out = conv_bn(32, 16), conv_bn(24, 8), nn.Conv2d(8, 2, 1)

    def join(self, up, skip):
        dy, dx = skip.size(2) - up.size(2), skip.size(3) - up.size(3)
        up = F.pad(up, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return torch.cat([skip, up], dim=1)

    def forward(self, x):
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        c = self.c(F.max_pool2d(b, 2))
        y = self.d(self.join(self.up1(c), b))
        return torch.sigmoid(self.out(self.e(self.join(self.up2(y), a))))


class ConvNext(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.depthwise = nn.ModuleList(nn.Conv2d(16, 16, 7, padding=3, groups=16) for _ in range(2))
        self.norm = nn.ModuleList(nn.LayerNorm(16, eps=1e-6) for _ in range(4))
        self.up, self.down = (nn.ModuleList(nn.Linear(a, b) for _ in range(2)) for a, b in ((16, 64), (64, 16)))
        self.gamma = nn.Parameter(torch.rand(16))
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        x = self.norm[2](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        for i in range(2):
            y = self.norm[i](self.depthwise[i](x).permute(0, 2, 3, 1))
            y = self.gamma * self.down[i](F.gelu(self.up[i](y)))
            x = x + y.permute(0, 3, 1, 2)
        return self.head(self.norm[3](x.mean([-2, -1])))


class MobileVit(nn.Module):
    """Unfold to patches, a transformer layer, fold again."""

    def __init__(self):
        super().__init__()
        self.stem = conv_bn(3, WIDTH, activation=nn.SiLU, stride=2)
        self.local = conv_bn(WIDTH, WIDTH, activation=nn.Hardswish, groups=WIDTH)
        self.encoder = TimmAttention()
        self.fuse = conv_bn(2 * WIDTH, WIDTH, activation=nn.SiLU)

    def forward(self, x):
        x = self.stem(x)
        y = self.local(x)
        b, c, h, w = y.shape
        nh, nw = h // 2, w // 2
        y = y.reshape(b * c * nh, 2, nw, 2).transpose(1, 2).reshape(b, c, nh * nw, 4).transpose(1, 3)
        y = self.encoder(y.reshape(b * 4, nh * nw, c))
        y = y.contiguous().view(b, 4, nh * nw, c).transpose(1, 3).reshape(b * c * nh, nw, 2, 2)
        y = y.transpose(1, 2).reshape(b, c, h, w)
        return F.adaptive_avg_pool2d(self.fuse(torch.cat((x, y), 1)), 1).flatten(1)


class SuperResolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(12, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(4, 27, 3, padding=1)
        self.prelu = nn.PReLU(16)

    def forward(self, x):
        b, c, h, w = x.shape
        x = x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(b, c * 4, h // 2, w // 2)
        x = self.prelu(self.a(x))
        x = F.pixel_shuffle(self.b(x), 2)
        x = self.c(x)
        b, c, h, w = x.shape
        x = x.view(b, c // 9, 3, 3, h, w).permute(0, 1, 4, 2, 5, 3).contiguous()
        return x.view(b, c // 9, h * 3, w * 3)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.lstm = nn.Embedding(WORDS, 16), nn.LSTM(16, 12, batch_first=True, bidirectional=True)
        self.out = nn.Linear(24, 3)

    def forward(self, ids):
        y, _ = self.lstm(self.words(ids))
        return F.log_softmax(self.out(y[:, -1]), -1)


class ByHand(nn.Module):
    """Norms, activations and shuffles that people write themselves."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(16, 16, 1) for _ in range(8))
        self.group, self.instance = nn.GroupNorm(4, 16), nn.InstanceNorm2d(16, affine=True)
        self.weight, self.bias = nn.Parameter(torch.rand(1, 16, 1, 1)), nn.Parameter(torch.rand(1, 16, 1, 1))
        self.slope = nn.Parameter(torch.rand(16, 1, 1))
        nn.init.uniform_(self.group.weight), nn.init.uniform_(self.instance.weight)

    def forward(self, x):
        x = self.group(self.convs[0]((x - 0.45) / 0.225))
        x = self.instance(self.convs[1](x * torch.sigmoid(1.702 * x)))
        x = self.convs[2](x * torch.tanh(F.softplus(x)))
        x = self.convs[3](x * F.relu6(x + 3) / 6)
        x = self.convs[4](torch.where(x > 0, x, 0.1 * x))
        x = self.convs[5](F.relu(x) - self.slope * F.relu(-x))
        b, c, h, w = x.shape
        x = x.view(b, 2, c // 2, h, w).transpose(1, 2).contiguous().view(b, c, h, w)  # channel shuffle
        x = self.convs[6](torch.max(x, 0.2 * x))
        mean = x.mean((2, 3), keepdim=True)
        x = self.weight * (x - mean) / torch.sqrt((x - mean).pow(2).mean((2, 3), keepdim=True) + 1e-5) + self.bias
        x = x[:, :, :, None, :, None].expand(b, c, h, 2, w, 2).reshape(b, c, 2 * h, 2 * w)  # nearest upsampling
        x = self.convs[7](x)
        e = torch.exp(x - x.max(1, keepdim=True)[0])
        return e / e.sum(1, keepdim=True)


def ids(batch=2):
    return torch.randint(0, WORDS, (batch, SEQUENCE))


NETWORKS = {
    "bert": (Bert, lambda: (ids(), (torch.rand(2, SEQUENCE) > 0.2).long()), {"ids": {0: "N", 1: "S"}, "mask": {0: "N", 1: "S"}}),
    "gpt2": (Gpt2, lambda: (ids(),), {"ids": {0: "N"}}),
    "llama": (LlamaBlock, lambda: (torch.randn(2, SEQUENCE, WIDTH),), {"x": {0: "N"}}),
    "timm": (TimmAttention, lambda: (torch.randn(2, SEQUENCE, WIDTH),), {"x": {0: "N"}}),
    "detector": (Detector, lambda: (torch.randn(1, 3, 32, 32),), {"x": {0: "N"}}),
    "unet": (UNet, lambda: (torch.randn(1, 3, 20, 20),), {"x": {0: "N", 2: "H", 3: "W"}}),
    "convnext": (ConvNext, lambda: (torch.randn(1, 3, 32, 32),), {"x": {0: "N"}}),
    "mobilevit": (MobileVit, lambda: (torch.randn(1, 3, 16, 16),), None),
    "superres": (SuperResolution, lambda: (torch.randn(1, 3, 16, 16),), {"x": {0: "N"}}),
    "lstm": (Recurrent, lambda: (ids(1),), None),
    "byhand": (ByHand, lambda: (torch.randn(1, 16, 8, 8),), None),
}


WITH_FUNCTIONS = ("timm", "convnext", "byhand")  # also with every module a function of the model, at the newest opset


def export(name, out_dir):
    make, inputs, dynamic = NETWORKS[name]
    torch.manual_seed(0)
    model, args = make().eval(), inputs()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 1.5)
    names = ["ids", "mask"][: len(args)] if args[0].dtype == torch.int64 else ["x"]
    for opset in OPSETS:
        for axes in (None, dynamic):
            path = os.path.join(out_dir, f"{name}_{opset}{'_dynamic' if axes else ''}.onnx")
            torch.onnx.export(model, args, path, opset_version=opset, input_names=names, output_names=["y"],
                              dynamic_axes=axes)
            print(path, os.path.getsize(path))
            if dynamic is None:
                break
    if name in WITH_FUNCTIONS:
        path = os.path.join(out_dir, f"{name}_{OPSETS[-1]}_functions.onnx")
        torch.onnx.export(model, args, path, opset_version=OPSETS[-1], input_names=names, output_names=["y"],
                          export_modules_as_functions=True)
        print(path, os.path.getsize(path))


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    os.makedirs(sys.argv[1], exist_ok=True)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(2)
    for name in sys.argv[2:] or NETWORKS:
        export(name, sys.argv[1])


if __name__ == "__main__":
    main()
