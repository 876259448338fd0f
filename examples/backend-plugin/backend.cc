// The run side: reads a program (npu.h), which comes from a file and may be damaged, and executes
// it in plain loops.

#include <algorithm>
#include <cmath>
#include <exception>
#include <memory>

#include "npu.h"

namespace acme {
namespace {

struct Layer {
  uint32_t kind = 0, reads = 0, dtype = 0;
  // kConv and kLinear
  int64_t cout = 0, cin = 0, kh = 1, kw = 1, sh = 1, sw = 1, top = 0, left = 0, bottom = 0,
          right = 0;
  int32_t x_zero = 0, y_zero = 0, q_min = 0, q_max = 0;
  std::vector<float> multiplier;
  std::vector<int32_t> bias;
  std::vector<int8_t> weights;
  // kGridMaxPool
  int64_t rows = 1, columns = 1;
};

struct Program {
  uint32_t inputs = 0;
  std::vector<uint32_t> outputs;  // values
  std::vector<Layer> layers;
};

int Damaged(slipway_error* error, const char* what) {
  return Fail(error, SLIPWAY_DATA_LOSS,
              std::string("NPU program: ") + what + "; compile the package again");
}

// The functions below come from C: nothing may leave them.
template <typename F>
int Catch(slipway_error* error, F&& f) {
  try {
    return f();
  } catch (const std::exception& e) {
    return Fail(error, SLIPWAY_RESOURCE_EXHAUSTED, e.what());
  }
}

bool ReadLayer(Reader& in, uint32_t known_values, Layer& l) {
  l.kind = in.U32();
  l.reads = in.U32();
  l.dtype = in.U32();
  if (l.reads >= known_values || (l.dtype != kInt8 && l.dtype != kUInt8)) return false;
  if (l.kind == kGridMaxPool) {
    l.rows = in.U32();
    l.columns = in.U32();
    return in.ok() && l.rows >= 1 && l.columns >= 1 && l.rows <= 4096 && l.columns <= 4096;
  }
  if (l.kind != kConv && l.kind != kLinear) return false;
  l.cout = in.U32();
  l.cin = in.U32();
  if (l.kind == kConv) {
    for (int64_t* v : {&l.kh, &l.kw, &l.sh, &l.sw, &l.top, &l.left, &l.bottom, &l.right})
      *v = in.U32();
  }
  for (const int64_t v : {l.cout, l.cin, l.kh, l.kw, l.sh, l.sw}) {
    if (v < 1 || v > 65536) return false;
  }
  for (const int64_t v : {l.top, l.left, l.bottom, l.right}) {
    if (v > 65536) return false;
  }
  // Each factor is at most 2^16: no product below overflows before it is compared.
  const auto per = static_cast<uint64_t>(l.cin * l.kh);
  if (per > kWeightMemory || per * static_cast<uint64_t>(l.kw) > kWeightMemory) return false;
  const uint64_t count = per * static_cast<uint64_t>(l.kw) * static_cast<uint64_t>(l.cout);
  if (count > kWeightMemory) return false;
  l.x_zero = in.I32();
  l.y_zero = in.I32();
  l.q_min = in.I32();
  l.q_max = in.I32();
  const int32_t low = l.dtype == kInt8 ? -128 : 0, high = low + 255;
  if (l.q_min < low || l.q_max > high || l.q_min > l.q_max || l.y_zero < low || l.y_zero > high ||
      l.x_zero < -128 || l.x_zero > 255)
    return false;
  l.multiplier = in.List<float>(static_cast<uint64_t>(l.cout));
  l.bias = in.List<int32_t>(static_cast<uint64_t>(l.cout));
  l.weights = in.List<int8_t>(count);
  return in.ok();
}

int Load(void*, const slipway_step* step, void** program, slipway_error* error) {
  return Catch(error, [&] {
    Reader in(step->blob, step->blob_size);
    char magic[4] = {};
    in.Bytes(magic, 4);
    if (std::memcmp(magic, "ANPU", 4) != 0 || in.U32() != kVersion)
      return Damaged(error, "is of another version");
    auto p = std::make_unique<Program>();
    p->inputs = in.U32();
    const uint32_t outputs = in.U32(), layers = in.U32();
    if (!in.ok() || p->inputs != step->num_inputs || outputs != step->num_outputs ||
        p->inputs > kMaxPorts || outputs > kMaxPorts || layers > kMaxLayers)
      return Damaged(error, "has other inputs and outputs than its step");
    p->outputs = in.List<uint32_t>(outputs);
    for (uint32_t i = 0; i < layers; ++i) {
      p->layers.emplace_back();
      if (!ReadLayer(in, p->inputs + i, p->layers.back()))
        return Damaged(error, "has a layer that cannot be");
    }
    if (!in.AtEnd()) return Damaged(error, "is cut off or too long");
    for (const uint32_t v : p->outputs) {
      if (v < p->inputs || v >= p->inputs + layers ||
          std::count(p->outputs.begin(), p->outputs.end(), v) > 1)
        return Damaged(error, "has an output that no layer makes");
    }
    *program = p.release();
    return static_cast<int>(SLIPWAY_OK);
  });
}

void Unload(void*, void* program) { delete static_cast<Program*>(program); }

struct Shape {
  uint32_t dtype = 0;
  int32_t rank = 0;
  int64_t dims[SLIPWAY_MAX_RANK] = {};
  int64_t count = 1;

  // False when it is too large or empty.
  bool Count() {
    count = 1;
    for (int32_t i = 0; i < rank; ++i) {
      if (dims[i] < 1 || dims[i] > (int64_t{1} << 40) / count) return false;
      count *= dims[i];
    }
    return true;
  }
};

struct Bound {
  const Program* program = nullptr;
  std::vector<Shape> shapes;         // of every value
  std::vector<int64_t> place;        // >= 0: offset in the workspace; < 0: output -1 - place
  std::vector<const uint8_t*> read;  // filled in every run: run allocates nothing
  std::vector<uint8_t*> write;
};

bool InferLayer(const Layer& l, const Shape& x, Shape& y) {
  if (x.dtype != kInt8 && x.dtype != kUInt8) return false;
  y = x;
  y.dtype = l.dtype;
  if (l.kind == kLinear) {
    if (x.rank < 1 || x.dims[x.rank - 1] != l.cin) return false;
    y.dims[x.rank - 1] = l.cout;
    return y.Count();
  }
  if (x.rank != 4) return false;
  if (l.kind == kGridMaxPool) {
    y.dims[2] = l.rows;
    y.dims[3] = l.columns;
    return l.dtype == x.dtype && y.Count();
  }
  if (x.dims[1] != l.cin) return false;
  const int64_t height = x.dims[2] + l.top + l.bottom - l.kh,
                width = x.dims[3] + l.left + l.right - l.kw;
  if (height < 0 || width < 0) return false;
  y.dims[1] = l.cout;
  y.dims[2] = height / l.sh + 1;
  y.dims[3] = width / l.sw + 1;
  return y.Count();
}

Shape ShapeOf(const slipway_tensor& t) {
  Shape s;
  s.dtype = t.dtype;
  s.rank = t.rank;
  std::copy(t.dims, t.dims + t.rank, s.dims);
  return s;
}

int Prepare(void*, void* program, const slipway_step* step, slipway_requirements* requirements,
            void** bound, slipway_error* error) {
  return Catch(error, [&] {
    const auto* p = static_cast<const Program*>(program);
    auto b = std::make_unique<Bound>();
    b->program = p;
    for (uint32_t i = 0; i < step->num_inputs; ++i) {
      b->shapes.push_back(ShapeOf(step->inputs[i]));
      if (!b->shapes.back().Count()) return Damaged(error, "an input is empty or too large");
    }
    for (const Layer& l : p->layers) {
      Shape y;
      if (!InferLayer(l, b->shapes[l.reads], y))
        return Damaged(error, "a layer does not fit what it reads");
      b->shapes.push_back(y);
    }
    int64_t workspace = 0;
    for (size_t v = p->inputs; v < b->shapes.size(); ++v) {
      const auto at = std::find(p->outputs.begin(), p->outputs.end(), v);
      if (at != p->outputs.end()) {
        const auto i = at - p->outputs.begin();
        const Shape want = ShapeOf(step->outputs[i]);
        if (want.dtype != b->shapes[v].dtype || want.rank != b->shapes[v].rank ||
            !std::equal(want.dims, want.dims + want.rank, b->shapes[v].dims))
          return Damaged(error, "makes another extent than the package says");
        b->place.push_back(-1 - i);
      } else {
        b->place.push_back(workspace);
        workspace += (b->shapes[v].count + 63) / 64 * 64;
        if (workspace > (int64_t{1} << 40)) return Damaged(error, "needs too much memory");
      }
    }
    b->read.resize(b->shapes.size());
    b->write.resize(p->layers.size());
    requirements->workspace_bytes = static_cast<uint64_t>(workspace);
    *bound = b.release();
    return static_cast<int>(SLIPWAY_OK);
  });
}

void Release(void*, void* bound) { delete static_cast<Bound*>(bound); }

uint8_t Requantize(const Layer& l, int64_t channel, int32_t acc) {
  acc = static_cast<int32_t>(static_cast<uint32_t>(acc) +
                             static_cast<uint32_t>(l.bias[static_cast<size_t>(channel)]));
  const float v = static_cast<float>(acc) * l.multiplier[static_cast<size_t>(channel)];
  const double q = std::nearbyint(static_cast<double>(v)) + l.y_zero;  // half to even
  return static_cast<uint8_t>(
      static_cast<int32_t>(std::min<double>(std::max<double>(q, l.q_min), l.q_max)));
}

template <typename X>
void ConvChannel(const Layer& l, const Shape& x, const Shape& y, const uint8_t* from, uint8_t* to,
                 int64_t image, int64_t channel) {
  const X* in = reinterpret_cast<const X*>(from) + image * l.cin * x.dims[2] * x.dims[3];
  const int8_t* w = l.weights.data() + channel * l.cin * l.kh * l.kw;
  for (int64_t r = 0; r < y.dims[2]; ++r) {
    for (int64_t c = 0; c < y.dims[3]; ++c) {
      uint32_t acc = 0;
      for (int64_t k = 0; k < l.cin; ++k) {
        for (int64_t i = 0; i < l.kh; ++i) {
          const int64_t row = r * l.sh + i - l.top;
          if (row < 0 || row >= x.dims[2])
            continue;  // padding is the zero point, which counts nothing
          for (int64_t j = 0; j < l.kw; ++j) {
            const int64_t column = c * l.sw + j - l.left;
            if (column < 0 || column >= x.dims[3]) continue;
            const int32_t code = in[(k * x.dims[2] + row) * x.dims[3] + column];
            acc += static_cast<uint32_t>((code - l.x_zero) * w[(k * l.kh + i) * l.kw + j]);
          }
        }
      }
      to[((image * l.cout + channel) * y.dims[2] + r) * y.dims[3] + c] =
          Requantize(l, channel, static_cast<int32_t>(acc));
    }
  }
}

template <typename X>
void LinearRow(const Layer& l, const uint8_t* from, uint8_t* to, int64_t row) {
  const X* in = reinterpret_cast<const X*>(from) + row * l.cin;
  for (int64_t o = 0; o < l.cout; ++o) {
    uint32_t acc = 0;
    for (int64_t k = 0; k < l.cin; ++k)
      acc += static_cast<uint32_t>((static_cast<int32_t>(in[k]) - l.x_zero) *
                                   l.weights[static_cast<size_t>(o * l.cin + k)]);
    to[row * l.cout + o] = Requantize(l, o, static_cast<int32_t>(acc));
  }
}

struct Work {
  const Layer& l;
  const Shape &x, &y;
  const uint8_t* from;
  uint8_t* to;

  static void Do(void* self, int64_t begin, int64_t end) {
    const auto& w = *static_cast<const Work*>(self);
    const bool is_signed = w.x.dtype == kInt8;
    for (int64_t i = begin; i < end; ++i) {
      if (w.l.kind == kConv) {
        (is_signed ? ConvChannel<int8_t> : ConvChannel<uint8_t>)(w.l, w.x, w.y, w.from, w.to,
                                                                 i / w.l.cout, i % w.l.cout);
      } else if (w.l.kind == kLinear) {
        (is_signed ? LinearRow<int8_t> : LinearRow<uint8_t>)(w.l, w.from, w.to, i);
      } else {
        const int64_t in = i * w.x.dims[2] * w.x.dims[3], out = i * w.y.dims[2] * w.y.dims[3];
        if (is_signed) {
          GridMaxPool(reinterpret_cast<const int8_t*>(w.from) + in,
                      reinterpret_cast<int8_t*>(w.to) + out, 1, w.x.dims[2], w.x.dims[3],
                      w.y.dims[2], w.y.dims[3]);
        } else {
          GridMaxPool(w.from + in, w.to + out, 1, w.x.dims[2], w.x.dims[3], w.y.dims[2],
                      w.y.dims[3]);
        }
      }
    }
  }
};

int Run(void*, void* bound, const slipway_tensor* inputs, const slipway_tensor* outputs,
        const slipway_execution* execution, slipway_error*) {
  auto* b = static_cast<Bound*>(bound);
  const Program& p = *b->program;
  for (uint32_t i = 0; i < p.inputs; ++i) b->read[i] = static_cast<const uint8_t*>(inputs[i].data);
  for (size_t i = 0; i < p.layers.size(); ++i) {
    const int64_t place = b->place[i];
    b->write[i] = place < 0 ? static_cast<uint8_t*>(outputs[-1 - place].data)
                            : static_cast<uint8_t*>(execution->workspace) + place;
    b->read[p.inputs + i] = b->write[i];
  }
  for (size_t i = 0; i < p.layers.size(); ++i) {
    const Layer& l = p.layers[i];
    const Shape &x = b->shapes[l.reads], &y = b->shapes[p.inputs + i];
    Work work{l, x, y, b->read[l.reads], b->write[i]};
    const int64_t pieces = l.kind == kLinear ? x.count / l.cin : y.dims[0] * y.dims[1];
    execution->parallel_for(execution->pool, pieces, 1, Work::Do, &work);
  }
  return SLIPWAY_OK;
}

constexpr slipway_backend kBackend = {sizeof(slipway_backend),
                                      SLIPWAY_BACKEND_ABI_VERSION,
                                      "npu",
                                      "1.2",
                                      nullptr,
                                      0,
                                      nullptr,
                                      Load,
                                      Unload,
                                      Prepare,
                                      Release,
                                      Run,
                                      nullptr,
                                      nullptr};

}  // namespace
}  // namespace acme

extern "C" __attribute__((visibility("default"))) const slipway_backend* slipway_backend_main(
    uint32_t host) {
  return host == SLIPWAY_BACKEND_ABI_VERSION ? &acme::kBackend : nullptr;
}
