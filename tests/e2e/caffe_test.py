#!/usr/bin/python3
"""Caffe networks: every layer that OpenCV DNN has too, on generated prototxt + caffemodel with random weights; the real models of the shared data
against OpenCV and against the same network in ONNX. Skips where OpenCV (python3-opencv) is absent."""
import os
import shutil
import sys

from harness import BINARY, Case, ROOT, main, sanitized_build

try:
    import cv2
    import numpy as np
except ImportError:
    print("skipped: needs python3-opencv and python3-numpy (scripts/setup dev)")
    sys.exit(77)

from caffe_writer import caffemodel, layer, net  # noqa: E402

MODELS = os.path.join(ROOT, "..", "shared", "data", "models")


# (type, input, parameters, extents of the blobs)
CASES = [
    ("Convolution", (1, 4, 9, 8), "convolution_param { num_output: 6 kernel_size: 3 pad: 1 stride: 2 }", [(6, 4, 3, 3), (6,)]),
    ("Convolution", (2, 4, 9, 8), "convolution_param { num_output: 8 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0 group: 2 bias_term: false }", [(8, 2, 3, 1)]),
    ("Convolution", (1, 2, 12, 12), "convolution_param { num_output: 3 kernel_size: 3 dilation: 2 }", [(3, 2, 3, 3), (3,)]),
    ("Deconvolution", (1, 4, 5, 6), "convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 }", [(4, 3, 4, 4), (3,)]),
    ("Pooling", (1, 3, 9, 8), "pooling_param { pool: MAX kernel_size: 3 stride: 2 }", []),
    ("Pooling", (1, 3, 9, 8), "pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 }", []),
    ("Pooling", (1, 3, 8, 8), "pooling_param { pool: AVE kernel_size: 2 stride: 2 }", []),
    ("Pooling", (1, 3, 7, 6), "pooling_param { pool: AVE global_pooling: true }", []),
    ("InnerProduct", (2, 3, 4, 5), "inner_product_param { num_output: 7 }", [(7, 60), (7,)]),
    ("ReLU", (1, 3, 4, 4), "relu_param { negative_slope: 0.2 }", []),
    ("PReLU", (1, 3, 4, 4), "", [(3,)]),
    ("ELU", (1, 3, 4, 4), "", []),
    ("AbsVal", (1, 3, 4, 4), "", []),
    ("BNLL", (1, 3, 4, 4), "", []),
    ("Sigmoid", (1, 3, 4, 4), "", []),
    ("TanH", (1, 3, 4, 4), "", []),
    ("Power", (1, 3, 4, 4), "power_param { power: 2 scale: 0.5 shift: 1 }", []),
    ("Exp", (1, 3, 4, 4), "exp_param { base: 2 scale: 0.5 shift: 1 }", []),
    ("ReLU6", (1, 3, 4, 4), "", []),
    ("LRN", (1, 7, 4, 4), "lrn_param { local_size: 5 alpha: 0.5 beta: 0.75 }", []),
    ("LRN", (1, 3, 6, 6), "lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 norm_region: WITHIN_CHANNEL }", []),
    ("MVN", (1, 3, 6, 6), "", []),
    ("MVN", (1, 3, 6, 6), "mvn_param { normalize_variance: false across_channels: true }", []),
    ("Softmax", (1, 5, 3, 3), "", []),
    ("Softmax", (1, 5, 3, 4), "softmax_param { axis: 3 }", []),
    ("Flatten", (2, 3, 4, 5), "", []),
    ("Flatten", (2, 3, 4, 5), "flatten_param { axis: 1 end_axis: 2 }", []),
    ("Reshape", (2, 6, 4, 3), "reshape_param { shape { dim: 0 dim: 3 dim: -1 } }", []),
    ("Permute", (1, 3, 4, 5), "permute_param { order: 0 order: 2 order: 3 order: 1 }", []),
    ("Scale", (1, 3, 4, 4), "scale_param { bias_term: true }", [(3,), (3,)]),
    ("Normalize", (1, 4, 3, 3), "norm_param { across_spatial: false channel_shared: false }", [(4,)]),
    ("Dropout", (1, 3, 4, 4), "", []),
    ("ConvolutionDepthwise", (1, 3, 6, 6), "convolution_param { num_output: 3 kernel_size: 3 }", [(3, 1, 3, 3), (3,)]),
    ("Deconvolution", (1, 4, 5, 6), "convolution_param { num_output: 4 kernel_size: 3 stride: 2 group: 2 }", [(4, 2, 3, 3), (4,)]),
    ("Deconvolution", (1, 4, 5, 6), "convolution_param { num_output: 4 kernel_size: 2 stride: 2 group: 4 bias_term: false }", [(4, 1, 2, 2)]),
    ("Pooling", (1, 3, 9, 8), "pooling_param { pool: AVE kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 2 }", []),
    ("Exp", (1, 3, 4, 4), "", []),
    ("Power", (1, 3, 4, 4), "power_param { scale: -2 shift: 3 }", []),
    ("MVN", (1, 3, 6, 6), "mvn_param { across_channels: true }", []),
    ("Normalize", (1, 4, 3, 3), "norm_param { }", [(1,)]),
    ("Swish", (1, 3, 4, 4), "", []),
    ("Mish", (1, 3, 4, 4), "", []),
    ("HardSwish", (1, 3, 4, 4), "", []),
    ("Scale", (1, 3, 4, 4), "scale_param { axis: 1 num_axes: 2 }", [(3, 4)]),
]


def ultraface_corners(offsets):
    """The priors of UltraFace at 320 x 240, moved by what the network gives."""
    priors = []
    for step, sides in ((8, (10, 16, 24)), (16, (32, 48)), (32, (64, 96)), (64, (128, 192, 256))):
        for i in range(-(-240 // step)):
            for j in range(-(-320 // step)):
                priors += [((j + 0.5) / (320 / step), (i + 0.5) / (240 / step), s / 320, s / 240) for s in sides]
    priors = np.clip(np.array(priors), 0, 1)
    middle, size = priors[:, :2] + offsets[:, :2] * 0.1 * priors[:, 2:], priors[:, 2:] * np.exp(offsets[:, 2:] * 0.2)
    return np.hstack([middle - size / 2, middle + size / 2])


def suppress(boxes, scores, least=0.7, most=0.3):
    """The boxes kept, best first."""
    order, kept = [i for i in np.argsort(-scores) if scores[i] > least], []
    for i in order:
        low, high = np.maximum(boxes[i, :2], boxes[kept, :2]), np.minimum(boxes[i, 2:], boxes[kept, 2:])
        common = np.prod(np.maximum(high - low, 0), axis=1)
        area = np.prod(boxes[kept, 2:] - boxes[kept, :2], axis=1) + np.prod(boxes[i, 2:] - boxes[i, :2])
        if not np.any(common > most * (area - common)):
            kept.append(i)
    return boxes[kept]


class Caffe(Case):
    def both(self, stem, x, name="x", layers=None):
        """(ours by name, OpenCV's by name) for the pair STEM.prototxt and STEM.caffemodel; OpenCV calls an output by its layer."""
        np.save(self.path("in.npy"), x)
        os.makedirs(self.path("out"), exist_ok=True)
        done = self.slipway("run", self.path(stem + ".prototxt"), "--input", f"{name}={self.path('in.npy')}", "--platform", "interpreter",
                            "-o", self.path("out"), "--json").json
        ours = {o["name"]: np.load(o["file"]) for o in done["outputs"]}
        other = cv2.dnn.readNetFromCaffe(self.path(stem + ".prototxt"), self.path(stem + ".caffemodel"))
        other.setInput(x, name)
        names = list(ours)
        return ours, dict(zip(names, other.forward([(layers or {}).get(n, n) for n in names])))

    def close(self, got, want, what):
        self.assertEqual(got.size, want.size, f"{what}: {got.shape} and {want.shape}")
        span = max(float(np.abs(want).max()), 1e-6)
        self.assertLessEqual(float(np.abs(got.ravel() - want.ravel()).max()) / span, 1e-4, what)

    def write_net(self, text, layers):
        with open(self.path("n.prototxt"), "w") as f:
            f.write(text)
        with open(self.path("n.caffemodel"), "wb") as f:
            f.write(caffemodel(layers))

    def test_layers_against_opencv(self):
        random = np.random.default_rng(7)
        for kind, shape, params, extents in CASES:
            with self.subTest(f"{kind} {params}"):
                blobs = [random.uniform(0.1, 1, e).astype(np.float32) for e in extents]
                self.write_net(net(shape, layer(kind, params)), [("y", kind, blobs)])
                x = random.normal(0, 1, shape).astype(np.float32)
                ours, theirs = self.both("n", x)
                self.close(ours["y"], theirs["y"], kind)

    def test_several_bottoms_and_tops(self):
        random = np.random.default_rng(8)
        text = net((1, 6, 5, 5),
                   layer("Slice", "slice_param { axis: 1 slice_point: 2 }", tops=("a", "b"), name="s") +
                   layer("Concat", "", bottoms=("b", "a"), tops=("c",), name="c") +
                   layer("Eltwise", "eltwise_param { operation: SUM coeff: 2 coeff: -1 }", bottoms=("c", "x"), tops=("d",), name="e") +
                   layer("Eltwise", "eltwise_param { operation: MAX }", bottoms=("d", "x"), tops=("f",), name="m") +
                   layer("BatchNorm", "", bottoms=("f",), tops=("f",), name="bn") + layer("ReLU", "", bottoms=("f",), tops=("f",), name="r"))
        self.write_net(text, [("bn", "BatchNorm", [random.uniform(-1, 1, 6), random.uniform(0.5, 2, 6), np.array([2.0])])])
        ours, theirs = self.both("n", random.normal(0, 1, (1, 6, 5, 5)).astype(np.float32), layers={"f": "r"})
        self.close(ours["f"], theirs["f"], "in place")

    def test_slices_crops_and_priors(self):
        random = np.random.default_rng(12)
        text = net((1, 6, 6, 8),
                   layer("Slice", "slice_param { axis: 1 slice_point: 1 slice_point: 3 }", tops=("a", "b", "c"), name="s") +
                   layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", ("c",), ("p",), "p") +
                   layer("Crop", "crop_param { axis: 2 offset: 1 offset: 3 }", ("b", "p"), ("d",), "d") +
                   layer("Slice", "slice_param { axis: 2 }", ("a",), ("e", "f"), "t") +
                   layer("Eltwise", "eltwise_param { coeff: 2 coeff: -0.5 }", ("e", "f"), ("g",), "g") +
                   layer("PriorBox", "prior_box_param { min_size: 2 max_size: 3 aspect_ratio: 2 aspect_ratio: 3 flip: true clip: true variance: 0.1 "
                         "variance: 0.1 variance: 0.2 variance: 0.2 }", ("p", "x"), ("q",), "q"))
        self.write_net(text, [("zz", "ReLU", [np.zeros(1)]), ("d", "Crop", [np.zeros(1)])])
        ours, theirs = self.both("n", random.normal(0, 1, (1, 6, 6, 8)).astype(np.float32))
        self.assertEqual(sorted(ours), ["d", "g", "q"])
        for name in ours:
            self.close(ours[name], theirs[name], name)

    def test_real_models(self):
        if not os.path.isdir(MODELS):
            self.skipTest("no shared data")
        random = np.random.default_rng(9)
        for path, name, shape in (("mtcnn/det1", "data", (1, 3, 12, 12)), ("mtcnn/det2", "data", (1, 3, 24, 24)),
                                  ("ultraface/RFB-320", "input", (1, 3, 240, 320))):
            with self.subTest(path):
                for end in (".prototxt", ".caffemodel"):
                    shutil.copyfile(os.path.join(MODELS, path + end), self.path("m" + end))
                ours, theirs = self.both("m", random.uniform(-1, 1, shape).astype(np.float32), name)
                for o in ours:
                    self.close(ours[o], theirs[o], f"{path} {o}")

    def test_ultraface_is_the_same_network_in_onnx(self):
        """Scores, and on a photo the faces: decoded boxes after suppression."""
        folder, photos = os.path.join(MODELS, "ultraface"), os.path.join(MODELS, "..", "photos")
        if not os.path.isdir(folder) or not os.path.isdir(photos):
            self.skipTest("no shared data")
        for photo, faces in (("2.jpg", 4), ("3.jpg", 5), ("5.jpg", 1)):
            with self.subTest(photo):
                image = cv2.cvtColor(cv2.resize(cv2.imread(os.path.join(photos, photo)), (320, 240)), cv2.COLOR_BGR2RGB)
                np.save(self.path("in.npy"), ((image.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None])
                scores, boxes = [], []
                for file in ("RFB-320.prototxt", "version-RFB-320.onnx"):
                    done = self.slipway("run", os.path.join(folder, file), "--input", f"input={self.path('in.npy')}", "-o", self.path(file),
                                        "--json").json
                    out = {o["name"]: np.load(o["file"]) for o in done["outputs"]}
                    scores.append(out["scores"])
                    # The Caffe net gives offsets from priors, the ONNX model corners.
                    corners = out["boxes"][0] if file.endswith(".onnx") else ultraface_corners(out["boxes"][0])
                    boxes.append(suppress(corners, out["scores"][0, :, 1]))
                self.close(scores[0], scores[1], "scores")
                self.assertEqual(len(boxes[0]), len(boxes[1]))
                self.assertGreaterEqual(len(boxes[0]), faces)
                self.assertLessEqual(np.abs(boxes[0] - boxes[1]).max(), 1e-3)

    def test_mtcnn_finds_the_faces(self):
        """examples/mtcnn, built against the installed runtime by its own project."""
        photos, build = os.path.join(MODELS, "..", "photos"), os.environ.get("SLIPWAY_BUILD") or os.path.dirname(BINARY)
        if not os.path.isdir(photos):
            self.skipTest("no shared data")
        if not shutil.which("cmake"):
            self.skipTest("no cmake")
        if sanitized_build():
            self.skipTest("a library with a sanitizer needs a program with it")
        for command in (("cmake", "--install", build, "--component", "runtime", "--prefix", self.path("installed")),
                        ("cmake", "-S", os.path.join(ROOT, "examples", "mtcnn"), "-B", self.path("b"), "-DCMAKE_PREFIX_PATH=" + self.path("installed")),
                        ("cmake", "--build", self.path("b"))):
            done = self.call(*command)
            self.assertEqual(done.code, 0, str(done))
        detector = self.path("b", "mtcnn_detect")
        for name, shape in (("det1", "data=1,3,H,W"), ("det2", "data=N,3,24,24")):
            self.slipway("compile", os.path.join(MODELS, "mtcnn", name + ".prototxt"), "--shape", shape, "--platform", "x86", "-o", self.path(name + ".slip"))
        # The middle of every face, as seen by looking.
        faces = {"2.jpg": [(178, 176), (355, 166), (597, 145), (776, 200)], "3.jpg": [(220, 280), (340, 230), (445, 303), (590, 282), (793, 313)],
                 "5.jpg": [(584, 240)]}
        for photo, middles in faces.items():
            with self.subTest(photo):
                done = self.call(detector, os.path.join(photos, photo), self.path("det1.slip"), self.path("det2.slip"), self.path("boxes.png"))
                self.assertEqual(done.code, 0, str(done))
                boxes = [[float(v) for v in line.split()[1:5]] for line in done.out.splitlines() if line.startswith("face ")]
                self.assertEqual(len(boxes), len(middles), done.out)
                for x, y in middles:
                    self.assertTrue(any(b[0] < x < b[2] and b[1] < y < b[3] for b in boxes), f"{photo}: no box around {x}, {y}: {done.out}")
                picture, plain = (cv2.imread(f).astype(int) for f in (self.path("boxes.png"), os.path.join(photos, photo)))
                self.assertEqual(picture.shape, plain.shape)
                x1, y1, x2, _ = boxes[0]
                self.assertEqual(list(picture[max(int(y1), 0), int((x1 + x2) / 2)]), [0, 255, 0])
        self.assertEqual(self.call(detector, self.path("none.jpg"), self.path("det1.slip"), self.path("det2.slip")).code, 2)
        self.write("bad.jpg", b"\xff\xd8\xff nothing")
        self.assertEqual(self.call(detector, self.path("bad.jpg"), self.path("det1.slip"), self.path("det2.slip")).code, 2)

    def test_export_reads_back_here_and_in_opencv(self):
        random = np.random.default_rng(11)
        models = [os.path.join(MODELS, "ultraface", "version-RFB-320_simplified.onnx"), os.path.join(MODELS, "ultraface", "RFB-320.prototxt"),
                  os.path.join(MODELS, "mtcnn", "det2.prototxt")]
        models += [os.path.join(ROOT, ".cache", "models", n + ".onnx") for n in ("resnet18", "mobilenet_v2", "squeezenet1_1")]
        tried = 0
        for model in models:
            if not os.path.exists(model):
                continue
            with self.subTest(os.path.basename(model)):
                source = self.slipway("inspect", model, "--json").json["inputs"][0]
                dims = [d if isinstance(d, int) else 1 for d in source["shape"]]
                x = random.uniform(-1, 1, dims).astype(np.float32)
                self.slipway("optimize", model, "--shape", source["name"] + "=" + ",".join(map(str, dims)), "-o", self.path("static.onnx"))
                self.slipway("export", self.path("static.onnx"), "--to", "caffe", "-o", self.path("exported"))
                np.save(self.path("in.npy"), x)
                done = self.slipway("run", self.path("static.onnx"), "--input", f"{source['name']}={self.path('in.npy')}", "-o", self.path("want"),
                                    "--json").json
                want = {o["name"]: np.load(o["file"]) for o in done["outputs"]}
                ours, theirs = self.both("exported/static", x, source["name"])
                self.assertEqual(sorted(ours), sorted(want))
                for name, value in want.items():
                    self.close(ours[name], value, f"{model} {name} here")
                    self.close(theirs[name], value, f"{model} {name} in OpenCV")
                tried += 1
        if tried == 0:
            self.skipTest("no models")

    def test_export_names_what_caffe_lacks(self):
        model = os.path.join(MODELS, "vit_small_cifar10.onnx")
        if not os.path.exists(model):
            self.skipTest("no shared data")
        self.slipway("optimize", model, "--shape", "input=1,3,32,32", "-o", self.path("vit.onnx"))
        self.fails("export", self.path("vit.onnx"), "--to", "caffe", "-o", self.path("v"), says="node")


if __name__ == "__main__":
    main()
