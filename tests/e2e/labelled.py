"""A small network, and data whose labels the network itself gave."""
import random

from harness import Case
import npy
import onnx_writer as ox

CLASSES = 4


class LabelledNet(Case):
    samples = 160

    @classmethod
    def setUpClass(cls):
        rng = random.Random(5)
        cls.inputs = []
        for _ in range(cls.samples):  # brightness and contrast differ, so that the classes do
            offset, scale = rng.uniform(-4, 4), rng.uniform(0.1, 4)
            cls.inputs += [offset + rng.gauss(0, scale) for _ in range(64)]

    def setUp(self):
        super().setUp()
        self.dims = [self.samples, 1, 8, 8]
        self.model = self.write("tiny.onnx", ox.tiny_cnn(classes=CLASSES, seed=7))
        npy.save(self.path("x.npy"), self.inputs, self.dims)
        scores = self.run_model(self.model, "--input", "x=" + self.path("x.npy"), "--platform", "interpreter")["y"][0]
        rows = [scores[i * CLASSES:(i + 1) * CLASSES] for i in range(self.samples)]
        self.labels = [max(range(CLASSES), key=row.__getitem__) for row in rows]
        self.data = self.path("data.npz")
        npy.save_npz(self.data, inputs=(self.inputs, self.dims, "<f4"), labels=(self.labels, [self.samples], "<i8"))
