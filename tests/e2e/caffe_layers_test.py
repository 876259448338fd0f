#!/usr/bin/python3
"""Caffe layers with a computation of their own, written here in numpy after the layer's definition, and OpenCV DNN beside it where it has the
layer: detections, regions, recurrence, unpooling, and those of BVLC Caffe and its forks that OpenCV reads otherwise or not at all. And the command
line's ways to name weights. Skips where OpenCV (python3-opencv) is absent."""
import os
import shutil
import sys

from harness import Case, main

try:
    import cv2
    import numpy as np
except ImportError:
    print("skipped: needs python3-opencv and python3-numpy (scripts/setup dev)")
    sys.exit(77)

from caffe_writer import caffemodel, inputs, layer, net  # noqa: E402

F = np.float32


def box_iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return F(0)
    area = [F(0) if c[2] < c[0] or c[3] < c[1] else (c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return F(w * h / (area[0] + area[1] - w * h))


def decode(code, prior, variance, loc):
    d = loc * variance
    w, h = prior[2] - prior[0], prior[3] - prior[1]
    if code == "CORNER":
        return prior + d
    if code == "CORNER_SIZE":
        return prior + d * np.array([w, h, w, h], F)
    x, y = d[0] * w + (prior[0] + prior[2]) / F(2), d[1] * h + (prior[1] + prior[3]) / F(2)
    w, h = np.exp(d[2]) * w / F(2), np.exp(d[3]) * h / F(2)
    return np.array([x - w, y - h, x + w, y + h], F)


def detection_output(loc, conf, prior, classes, code="CORNER", share=True, background=0, nms=0.3, top_k=-1, eta=1.0, keep=-1, least=-np.inf,
                     encoded=False):
    """As SSD's Caffe: rows image, label, score, box, by image and label and falling score."""
    images, n = loc.shape[0], prior.shape[2] // 4
    loc, conf = loc.reshape(images, n, 1 if share else classes, 4), conf.reshape(images, n, classes)
    corners, variances = prior[0, 0].reshape(n, 4), prior[0, 1].reshape(n, 4)
    rows = []
    for i in range(images):
        found = []
        for c in range(classes):
            if c == background:
                continue
            order = [p for p in np.argsort(-conf[i, :, c], kind="stable") if conf[i, p, c] > F(least)]
            order = order[:top_k] if top_k > -1 else order
            kept, threshold = [], F(nms)
            for p in order:
                box = decode(code, corners[p], np.ones(4, F) if encoded else variances[p], loc[i, p, 0 if share else c])
                if all(box_iou(box, k[3]) <= threshold for k in kept):
                    kept.append((c, conf[i, p, c], p, box))
                    if eta < 1 and threshold > 0.5:
                        threshold *= F(eta)
            found += kept
        if -1 < keep < len(found):
            found = sorted(sorted(found, key=lambda f: -f[1])[:keep], key=lambda f: (f[0], -f[1]))
        rows += [[i, c, s, *box] for c, s, _, box in found]
    if not rows:
        rows = [[i] + [-1] * 6 for i in range(images)]
    return np.array(rows, F).reshape(1, 1, -1, 7)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Layers(Case):
    def save(self, text, layers):
        self.write("n.prototxt", text)
        if layers:
            self.write("n.caffemodel", caffemodel(layers))
        elif os.path.exists(self.path("n.caffemodel")):
            os.remove(self.path("n.caffemodel"))

    def ours(self, arrays, *more, model="n.prototxt"):
        arguments = []
        for name, value in arrays.items():
            np.save(self.path(name + ".npy"), value)
            arguments += ["--input", f"{name}={self.path(name + '.npy')}"]
        shutil.rmtree(self.path("out"), ignore_errors=True)
        self.slipway("run", self.path(model), *arguments, "-o", self.path("out"), *more)
        return {f[:-4]: np.load(self.path("out", f)) for f in os.listdir(self.path("out"))}

    def opencv(self, arrays, names):
        other = cv2.dnn.readNetFromCaffe(*(p for p in (self.path("n.prototxt"), self.path("n.caffemodel")) if os.path.exists(p)))
        for name, value in arrays.items():
            other.setInput(value, name)
        return dict(zip(names, other.forward(names)))

    def close(self, got, want, what, tolerance=1e-4):
        self.assertEqual(got.size, want.size, f"{what}: {got.shape} and {want.shape}")
        span = max(float(np.abs(want).max()), 1e-6)
        self.assertLessEqual(float(np.abs(got.ravel() - want.ravel()).max()) / span, tolerance, what)

    def detections(self, arrays):
        """OpenCV's, in Caffe's order: OpenCV sorts by score alone and fills up with rows of zeros."""
        rows = self.opencv(arrays, ["y"])["y"].reshape(-1, 7)
        rows = rows[rows[:, 2] > 0]
        return rows[np.lexsort((-rows[:, 2], rows[:, 1], rows[:, 0]))].reshape(1, 1, -1, 7)

    # --- detectors ---

    def test_detection_output(self):
        random = np.random.default_rng(1)
        h, w, classes, images = 6, 10, 4, 2
        n = h * w
        cases = [
            (dict(code="CENTER_SIZE", nms=0.45, top_k=20, keep=12, least=0.3), True),
            (dict(code="CENTER_SIZE", nms=0.3, least=0.2), False),  # OpenCV writes past its output without keep_top_k
            (dict(code="CENTER_SIZE", nms=0.3, least=0.2, keep=500), True),
            (dict(code="CORNER", nms=0.5, top_k=30, keep=200, least=0.1, background=1), True),
            (dict(code="CENTER_SIZE", nms=0.9, eta=0.8, least=0.3, keep=40), False),  # OpenCV does not read eta
            (dict(code="CENTER_SIZE", share=False, nms=0.4, least=0.4, keep=25), True),
            (dict(code="CENTER_SIZE", encoded=True, nms=0.4, least=0.4, background=-1, keep=400), False),  # wants priors of one row there
            (dict(code="CORNER_SIZE", nms=0.4, top_k=50, least=0.4), False),  # OpenCV does not know it
        ]
        for case, opencv in cases:
            with self.subTest(str(case)):
                share = case.get("share", True)
                # One input (OpenCV takes no more of different shapes): maps of locations and scores, the priors a grid over it.
                moves = 4 * (1 if share else classes)
                x = np.empty((images, moves + classes, h, w), F)
                x[:, :moves] = random.normal(0, 1.5 if not case.get("encoded") else 0.2, (images, moves, h, w))
                # Scores that no rounding brings to a tie.
                x[:, moves:] = random.permutation(images * classes * n).reshape(images, classes, h, w) / (images * classes * n)
                loc, conf = (m.transpose(0, 2, 3, 1).reshape(images, -1) for m in (x[:, :moves], x[:, moves:]))
                i, j = (v.ravel() for v in np.meshgrid(np.arange(h), np.arange(w), indexing="ij"))
                middle = np.stack([(j + 0.5) / w, (i + 0.5) / h], 1)
                half = np.array([2.5 / w, 2.5 / h]) / 2
                prior = np.stack([np.hstack([middle - half, middle + half]).ravel(), np.tile([0.1, 0.1, 0.2, 0.2], n)])[None].astype(F)
                text = net(x.shape, layer("Slice", f"slice_param {{ axis: 1 slice_point: {moves} }}", tops=("m0", "m1"), name="s"))
                for k, name in enumerate(("loc", "conf")):
                    text += layer("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", (f"m{k}",), (f"p{k}",), f"p{k}")
                    text += layer("Flatten", "", (f"p{k}",), (name,), name)
                text += layer("PriorBox", "prior_box_param { min_size: 2.5 flip: false clip: false variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 }", ("x", "x"), ("prior",), "prior")
                params = f"num_classes: {classes} share_location: {str(share).lower()} background_label_id: {case.get('background', 0)} "
                params += f"nms_param {{ nms_threshold: {case['nms']} eta: {case.get('eta', 1.0)} top_k: {case.get('top_k', -1)} }} "
                params += f"code_type: {case['code']} keep_top_k: {case.get('keep', -1)} confidence_threshold: {case['least']} "
                params += f"variance_encoded_in_target: {str(case.get('encoded', False)).lower()} save_output_param {{ output_directory: \"d\" }}"
                self.save(text + layer("DetectionOutput", f"detection_output_param {{ {params} }}", ("loc", "conf", "prior")), [])
                arrays = {"x": x}
                want = detection_output(loc, conf, prior, classes, **case)
                self.assertGreater(want.shape[2], 4)
                for platform in ("interpreter", "x86"):
                    got = self.ours(arrays, "--platform", platform)["y"]
                    self.assertEqual(got.shape, want.shape, platform)
                    self.close(got, want, f"{case} on {platform}", 1e-5)
                if opencv:
                    theirs = self.detections(arrays)
                    self.assertEqual(theirs.shape, want.shape)
                    self.close(got, theirs, f"{case} in OpenCV", 1e-5)

    def test_a_whole_ssd(self):
        """Two scales with their heads, priors and all, as SSD's prototxts have them; the package at batch 1 and 3."""
        random = np.random.default_rng(2)
        text, weights = net((1, 3, 32, 32), ""), []

        def conv(name, source, out, channels, kernel=3, more="pad: 1"):
            weights.append((name, "Convolution", [random.normal(0, 0.3, (out, channels, kernel, kernel)), random.normal(0, 0.1, out)]))
            return layer("Convolution", f"convolution_param {{ num_output: {out} kernel_size: {kernel} {more} }}", (source,), (name,), name)

        text += conv("c1", "x", 8, 3, 3, "pad: 1 stride: 4") + layer("ReLU", "", ("c1",), ("c1",), "r1")
        text += layer("Normalize", "norm_param { across_spatial: false channel_shared: false }", ("c1",), ("n1",), "n1")
        weights.append(("n1", "Normalize", [np.full(8, 2.0)]))
        text += conv("c2", "c1", 8, 8, 3, "pad: 1 stride: 2") + layer("ReLU", "", ("c2",), ("c2",), "r2")
        for i, (source, sizes) in enumerate((("n1", "min_size: 6 max_size: 12"), ("c2", "min_size: 12 max_size: 20"))):
            for head, out in (("loc", 4 * 4), ("conf", 4 * 3)):
                name = f"{head}{i}"
                text += conv(name, source, out, 8)
                text += layer("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", (name,), (name + "p",), name + "p")
                text += layer("Flatten", "flatten_param { axis: 1 }", (name + "p",), (name + "f",), name + "f")
            text += layer("PriorBox", f"prior_box_param {{ {sizes} aspect_ratio: 2 flip: true clip: false variance: 0.1 variance: 0.1 variance: 0.2 "
                          "variance: 0.2 offset: 0.5 }", (source, "x"), (f"prior{i}",), f"prior{i}")
        for head in ("loc", "conf"):
            text += layer("Concat", "concat_param { axis: 1 }", (head + "0f", head + "1f"), (head,), head)
        text += layer("Concat", "concat_param { axis: 2 }", ("prior0", "prior1"), ("prior",), "prior")
        text += layer("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }", ("conf",), ("rows",), "rows")
        text += layer("Softmax", "softmax_param { axis: 2 }", ("rows",), ("soft",), "soft")
        text += layer("Flatten", "flatten_param { axis: 1 }", ("soft",), ("flat",), "flat")
        text += layer("DetectionOutput", "detection_output_param { num_classes: 3 share_location: true background_label_id: 0 nms_param { "
                      "nms_threshold: 0.45 top_k: 400 } code_type: CENTER_SIZE keep_top_k: 200 confidence_threshold: 0.4 }", ("loc", "flat", "prior"))
        self.save(text, weights)
        x = random.normal(0, 1, (1, 3, 32, 32)).astype(F)
        got = self.ours({"x": x})["y"]
        theirs = self.detections({"x": x})
        self.assertGreater(got.shape[2], 3)
        self.assertEqual(got.shape, theirs.shape)
        self.close(got, theirs, "SSD", 1e-3)
        # Compiled, with the batch left open: rows of the first image are those of the image alone.
        self.slipway("compile", self.path("n.prototxt"), "--shape", "x=N,3,32,32", "--platform", "x86", "-o", self.path("ssd.slip"))
        more = np.concatenate([x, random.normal(0, 1, (2, 3, 32, 32)).astype(F)])
        for batch in (x, more):
            rows = self.ours({"x": batch}, model="ssd.slip")["y"]
            first = rows[0, 0, rows[0, 0, :, 0] == 0]
            self.close(first, got, f"the package at batch {len(batch)}", 1e-3)

    def test_roi_pooling(self):
        random = np.random.default_rng(3)
        x = random.normal(0, 1, (1, 3, 14, 18)).astype(F)
        low = random.uniform(0, 120, (20, 2))
        rois = np.hstack([np.zeros((20, 1)), low, low + random.uniform(0, 180, (20, 2))]).astype(F)  # some end outside
        for scale, h, w in ((0.0625, 3, 4), (0.1, 7, 7)):
            self.save(inputs([("x", x.shape), ("rois", rois.shape)]) +
                      layer("ROIPooling", f"roi_pooling_param {{ pooled_h: {h} pooled_w: {w} spatial_scale: {scale} }}", ("x", "rois")), [])
            want = np.zeros((20, 3, h, w), F)
            for r, (_, *box) in enumerate(rois):
                x1, y1, x2, y2 = (int(np.floor(abs(v * F(scale)) + F(0.5))) for v in box)  # half away from zero
                bin_h, bin_w = F(max(y2 - y1 + 1, 1)) / F(h), F(max(x2 - x1 + 1, 1)) / F(w)
                for i in range(h):
                    top, bottom = (int(np.clip(v + y1, 0, 14)) for v in (np.floor(F(i) * bin_h), np.ceil(F(i + 1) * bin_h)))
                    for j in range(w):
                        left, right = (int(np.clip(v + x1, 0, 18)) for v in (np.floor(F(j) * bin_w), np.ceil(F(j + 1) * bin_w)))
                        if top < bottom and left < right:
                            want[r, :, i, j] = x[0, :, top:bottom, left:right].max(axis=(1, 2))
            arrays = {"x": x, "rois": rois}
            got = self.ours(arrays)["y"]
            self.close(got, want, "numpy", 0)
            self.close(got, self.opencv(arrays, ["y"])["y"], "OpenCV", 0)

    def test_unpooling(self):
        x = np.random.default_rng(4).normal(0, 1, (2, 3, 7, 8)).astype(F)
        for params, (h, w) in (("upsample_h: 7 upsample_w: 8", (7, 8)), ("scale: 2 pad_out_h: true", (7, 8)), ("scale: 2", (8, 8))):
            self.save(net(x.shape, layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", ("x",), ("p", "m"), "p") +
                          layer("Upsample", f"upsample_param {{ {params} }}", ("p", "m"))), [])
            want = np.zeros((2, 3, h * w), F)
            for n in range(2):
                for c in range(3):
                    for i in range(4):
                        for j in range(4):
                            part = x[n, c, 2 * i:2 * i + 2, 2 * j:2 * j + 2]
                            a, b = np.unravel_index(part.argmax(), part.shape)
                            want[n, c, (2 * i + a) * 8 + 2 * j + b] = part.max()  # the mask counts in the pooled plane's input
            for platform in ("interpreter", "x86"):
                self.close(self.ours({"x": x}, "--platform", platform)["y"], want, f"{params} on {platform}", 0)

    # --- recurrence ---

    def recurrent(self, kind, static, expose):
        random = np.random.default_rng(5)
        steps, streams, width, hidden = 6, 3, 4, 5
        gates = 4 * hidden if kind == "LSTM" else hidden
        x, cont = random.normal(0, 1, (steps, streams, width)).astype(F), (random.uniform(0, 1, (steps, streams)) > 0.3).astype(F)
        fixed = random.normal(0, 1, (streams, 2)).astype(F)
        h, c = (random.normal(0, 1, (1, streams, hidden)).astype(F) for _ in range(2))
        blobs = [random.normal(0, 0.5, (gates, width)), random.normal(0, 0.5, gates)]
        blobs += [random.normal(0, 0.5, (gates, 2))] if static else []
        blobs += [random.normal(0, 0.5, (gates, hidden))]
        blobs += [random.normal(0, 0.5, (hidden, hidden)), random.normal(0, 0.5, hidden)] if kind == "RNN" else []
        arrays = {"x": x, "cont": cont}
        arrays.update({"fixed": fixed} if static else {})
        states = (["h0", "c0"] if kind == "LSTM" else ["h0"]) if expose else []
        arrays.update(dict(zip(states, (h, c))))
        tops = ["y"] + [s.replace("0", "T") for s in states]
        self.save(inputs([(n, a.shape) for n, a in arrays.items()]) +
                  layer(kind, f"recurrent_param {{ num_output: {hidden} expose_hidden: {str(expose).lower()} }}", tuple(arrays), tuple(tops)),
                  [("y", kind, blobs)])
        h, c = (h[0], c[0]) if expose else (np.zeros((streams, hidden), F),) * 2
        rows = []
        for t in range(steps):
            keep = cont[t][:, None]
            g = x[t] @ blobs[0].T + blobs[1] + (h * keep) @ blobs[3 if static else 2].T
            g = g + fixed @ blobs[2].T if static else g
            if kind == "LSTM":
                i, f, o, u = np.split(g, 4, axis=1)
                c = keep * sigmoid(f) * c + sigmoid(i) * np.tanh(u)
                h = sigmoid(o) * np.tanh(c)
                rows.append(h)
            else:
                h = np.tanh(g)
                rows.append(np.tanh(h @ blobs[-2].T + blobs[-1]))
        want = dict(zip(tops, (np.stack(rows), h, c)))
        for platform in ("interpreter", "x86"):
            got = self.ours(arrays, "--platform", platform)
            self.assertEqual(sorted(got), sorted(tops))
            for top in tops:
                self.close(got[top], want[top], f"{kind} {static} {expose} {top} on {platform}")

    def test_lstm_and_rnn(self):
        for kind in ("LSTM", "RNN"):
            for static in (False, True):
                for expose in (False, True):
                    with self.subTest(f"{kind} static {static} exposed {expose}"):
                        self.recurrent(kind, static, expose)

    # --- the rest ---

    def test_against_numpy(self):
        random = np.random.default_rng(6)
        x = random.normal(0, 1, (2, 6, 5, 4)).astype(F)
        positive = np.abs(x) + F(0.1)
        w, b, m, v = (random.uniform(0.5, 1.5, 6).astype(F) for _ in range(4))
        wide = lambda a: a[None, :, None, None]  # noqa: E731
        log2, ln = np.log(2), np.log
        windows = np.pad(x * x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        within = sum(windows[:, :, i:i + 5, j:j + 4] for i in range(3) for j in range(3)) / 9
        mean, var = x.mean((2, 3), keepdims=True), x.var((2, 3), keepdims=True)
        zoomed = np.linspace(0, 4, 9), np.linspace(0, 3, 7)

        def bilinear(a, ys, xs):
            rows = np.stack([(a[:, :, int(y)] * (1 - y % 1) + a[:, :, min(int(y) + 1, a.shape[2] - 1)] * (y % 1)) for y in ys], 2)
            return np.stack([(rows[..., int(q)] * (1 - q % 1) + rows[..., min(int(q) + 1, a.shape[3] - 1)] * (q % 1)) for q in xs], 3)

        cases = [
            ("Log", "log_param { base: 2 scale: 3 shift: 1 }", [], positive, ln(3 * positive + 1) / log2),
            ("Log", "", [], positive, ln(positive)),
            ("Exp", "exp_param { base: 2 scale: 0.5 shift: -1 }", [], x, 2 ** (0.5 * x - 1)),
            ("Power", "power_param { power: 1.5 scale: 2 shift: 0.5 }", [], positive, (2 * positive + 0.5) ** 1.5),
            ("Bias", "", [b], x, x + wide(b)),
            ("Bias", "bias_param { axis: 2 num_axes: 2 }", [random.normal(0, 1, (5, 4)).astype(F)], x, None),
            ("Tile", "tile_param { axis: 1 tiles: 3 }", [], x, np.tile(x, (1, 3, 1, 1))),
            ("BN", "", [w.reshape(1, 6, 1, 1), b.reshape(1, 6, 1, 1)], x, x * wide(w) + wide(b)),
            ("BN", "bn_param { eps: 0.01 }", [w, b, m, v], x, (x - wide(m)) / np.sqrt(wide(v) + 0.01) * wide(w) + wide(b)),
            ("LRN", "lrn_param { local_size: 3 alpha: 0.7 beta: 0.6 norm_region: WITHIN_CHANNEL }", [], x, x * (1 + 0.7 * within) ** -0.6),
            ("LRN", "lrn_param { local_size: 3 alpha: 0.7 beta: 0.6 k: 2 }", [], x,
             x * (2 + 0.7 / 3 * sum(np.pad(x * x, ((0, 0), (1, 1), (0, 0), (0, 0)))[:, i:i + 6] for i in range(3))) ** -0.6),
            ("MVN", "mvn_param { eps: 0.01 }", [], x, (x - mean) / (np.sqrt(var) + 0.01)),
            ("MVN", "mvn_param { across_channels: true normalize_variance: false }", [], x, x - x.mean((1, 2, 3), keepdims=True)),
            ("Normalize", "norm_param { across_spatial: true channel_shared: true }", [np.array([3.0])], x,
             3 * x / np.sqrt((x * x).sum((1, 2, 3), keepdims=True) + 1e-10)),
            ("Reduction", "reduction_param { operation: SUMSQ axis: 2 coeff: 0.5 }", [], x, 0.5 * (x * x).sum((2, 3))),
            ("Reduction", "reduction_param { operation: ASUM axis: -1 }", [], x, np.abs(x).sum(3)),
            ("Interp", "interp_param { zoom_factor: 2 }", [], x, bilinear(x, *zoomed)),
            ("Interp", "interp_param { height: 7 width: 5 pad_beg: -1 pad_end: 0 }", [], x,
             bilinear(x[:, :, 1:, 1:], np.linspace(0, 3, 7), np.linspace(0, 2, 5))),
            ("Upsample", "upsample_param { scale: 3 }", [], x, x.repeat(3, 2).repeat(3, 3)),
            ("Threshold", "threshold_param { threshold: 0.3 }", [], x, (x > F(0.3)).astype(F)),
            ("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }", [], positive,
             np.stack([np.stack([(q := positive[:, :, 2 * i:2 * i + 2, 2 * j:2 * j + 2], (q * q).sum((2, 3)) / q.sum((2, 3)))[1] for j in range(2)], 2)
                       for i in range(3)], 2)),
        ]
        for kind, params, blobs, at, want in cases:
            with self.subTest(f"{kind} {params}"):
                want = at + blobs[0] if want is None else want
                self.save(net(at.shape, layer(kind, params)), [("y", kind, blobs)])
                for platform in ("interpreter", "x86"):
                    self.close(self.ours({"x": at}, "--platform", platform)["y"], want, f"{kind} {params} on {platform}")

    def test_two_bottoms_against_numpy(self):
        random = np.random.default_rng(7)
        x, y = (random.normal(0, 1, s).astype(F) for s in ((2, 3, 7, 6), (2, 3, 4, 4)))
        a, like = random.normal(0, 1, (2, 3, 1, 1)).astype(F), random.normal(0, 1, x.shape).astype(F)
        cases = [
            ("Crop", "crop_param { axis: 2 offset: 2 offset: 1 }", [x, y], x[:, :, 2:6, 1:5]),
            ("Axpy", "", [a, x, like], a * x + like),
            ("Scale", "scale_param { axis: 0 }", [x, a[:, :, 0, 0]], a * x),
            ("Bias", "bias_param { axis: 0 }", [x, a[:, :, 0, 0]], a + x),
            ("Eltwise", "eltwise_param { operation: SUM coeff: 0.5 coeff: -1 coeff: 2 }", [x, like, x * F(2)], 0.5 * x - like + 4 * x),
            ("Eltwise", "eltwise_param { operation: PROD }", [x, like], x * like),
            ("Filter", "", [x, np.array([0, 1], F)], x[1:]),
        ]
        for kind, params, arrays, want in cases:
            with self.subTest(f"{kind} {params}"):
                names = "abc"[:len(arrays)]
                self.save(inputs([(n, v.shape) for n, v in zip(names, arrays)]) + layer(kind, params, tuple(names)), [])
                self.close(self.ours(dict(zip(names, arrays)))["y"], want, kind)

    # --- the command line ---

    def test_weights_by_name_and_random_ones(self):
        random = np.random.default_rng(8)
        self.save(net((1, 3, 6, 6), layer("InnerProduct", "inner_product_param { num_output: 4 }")),
                  [("y", "InnerProduct", [random.normal(0, 1, (4, 108)), random.normal(0, 1, 4)])])
        os.rename(self.path("n.caffemodel"), self.path("other.caffemodel"))
        model, weights, x = self.path("n.prototxt"), self.path("other.caffemodel"), random.normal(0, 1, (1, 3, 6, 6)).astype(F)
        self.fails("inspect", model, says=("no weights", "--weights", "--random-weights"))
        named, drawn = ["--weights", weights], ["--random-weights"]
        np.savez(self.path("data.npz"), inputs=np.repeat(x, 8, 0), labels=np.arange(8) % 4)
        data = self.path("data.npz")
        for flags in (named, drawn):
            with self.subTest(flags[0]):
                self.slipway("inspect", model, *flags)
                self.slipway("optimize", model, *flags, "-o", self.path("o.onnx"))
                self.slipway("export", model, *flags, "-o", self.path("e.onnx"))
                self.slipway("compile", model, *flags, "--platform", "x86", "-o", self.path("c.slip"))
                self.slipway("verify", self.path("c.slip"), "--against", model, *flags)
                self.slipway("run", model, *flags, "--random", "-o", self.path("r"))
                self.slipway("bench", model, *flags, "--samples", "3", "--no-record")
                self.slipway("eval", model, *flags, "--data", data)
                self.slipway("quantize", model, *flags, "--platform", "x86-int8", "--calib", data, "-o", self.path("q.onnx"))
                self.slipway("deploy", model, *flags, "--platforms", "x86", "--no-record", "-o", self.path("d" + flags[0]))
                self.slipway("perfdb", "query", "--model", model, *flags, code=None)
                done = self.slipway("diff", model, self.path("e.onnx"), *flags, "--json").json
                self.assertFalse(done["weights_changed"])
        # Named weights compute what they would under the net's own name; the package says where they are from.
        want = x.reshape(1, -1)
        got = self.ours({"x": x}, *named)["y"]
        shutil.copyfile(weights, self.path("n.caffemodel"))
        self.close(got, self.ours({"x": x})["y"], "named weights", 0)
        self.assertEqual(want.shape, (1, 108))
        done = self.slipway("diff", model, model, "--second-weights", weights, "--json").json
        self.assertTrue(done["equal"])
        self.slipway("compile", model, *named, "--platform", "x86", "-o", self.path("c.slip"))
        provenance = self.slipway("inspect", self.path("c.slip"), "--json").json["provenance"]
        self.assertEqual(provenance["weights"], "other.caffemodel")
        # What does not fit.
        self.fails("inspect", model, *named, *drawn, says="exclude")
        self.fails("inspect", model, "--weights", self.path("none.caffemodel"), says="none.caffemodel")
        self.fails("inspect", self.path("e.onnx"), *named, says=".prototxt")
        self.fails("run", self.path("c.slip"), *drawn, "--random", says="package")
        self.fails("bench", self.path("c.slip"), *named, says="package")
        self.fails("inspect", weights, says="--weights")

    def test_deploy_knows_other_weights(self):
        """A second deployment with other weights must not take up the first one's stages."""
        random = np.random.default_rng(9)
        self.write("n.prototxt", net((1, 3, 6, 6), layer("InnerProduct", "inner_product_param { num_output: 4 }")))
        blobs = [random.normal(0, 1, (4, 108)), np.zeros(4)]
        self.write("a.caffemodel", caffemodel([("y", "InnerProduct", blobs)]))
        self.write("b.caffemodel", caffemodel([("y", "InnerProduct", [-blobs[0], blobs[1]])]))
        x = random.normal(0, 1, (64, 3, 6, 6)).astype(F)
        np.savez(self.path("data.npz"), inputs=x, labels=(x.reshape(64, -1) @ blobs[0].T).argmax(1))
        rows = {}
        for name in "aba":
            done = self.slipway("deploy", self.path("n.prototxt"), "--weights", self.path(name + ".caffemodel"), "--platforms", "x86-int8", "--calib",
                                self.path("data.npz"), "--eval", self.path("data.npz"), "--no-record", "-o", self.path("d"), "--json").json
            rows.setdefault(name, []).append(done)
        text = {k: str(v) for k, v in rows.items()}
        self.assertNotEqual(text["a"], text["b"])
        self.assertGreater(rows["a"][0]["reference_accuracy"], 0.9)
        self.assertLess(rows["b"][0]["reference_accuracy"], 0.5)
        self.assertEqual(rows["a"][0]["reference_accuracy"], rows["a"][1]["reference_accuracy"])

    def test_symbolic_sizes(self):
        random = np.random.default_rng(10)
        self.save(net((1, 3, 12, 12), layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 }", tops=("c",), name="c") +
                      layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", ("c",), ("p",), "p") + layer("Softmax", "", ("p",))),
                  [("c", "Convolution", [random.normal(0, 1, (4, 3, 3, 3)), random.normal(0, 1, 4)])])
        done = self.slipway("compile", self.path("n.prototxt"), "--shape", "x=N,3,H,W", "--range", "H=8..64", "--platform", "x86", "-o",
                            self.path("any.slip"), "--json").json
        self.assertFalse(done["static"])
        for shape in ((1, 3, 12, 12), (2, 3, 9, 31), (3, 3, 64, 8)):
            x = random.normal(0, 1, shape).astype(F)
            want = self.ours({"x": x}, "--shape", "x=" + ",".join(map(str, shape)))["y"]
            self.close(self.ours({"x": x}, model="any.slip")["y"], want, str(shape), 1e-5)
        self.fails("compile", self.path("n.prototxt"), "--shape", "x=N,,3", "--platform", "x86", "-o", self.path("z.slip"), says="dimension")
        self.fails("compile", self.path("n.prototxt"), "--shape", "x=N,C,H,W", "--platform", "x86", "-o", self.path("z.slip"),
                   says=("Convolution layer 'c'", "dimension 1"))


if __name__ == "__main__":
    main()
