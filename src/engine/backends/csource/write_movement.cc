// Calls of the operators that move elements, of any type: all are one strided copy.

#include <algorithm>

#include "engine/backends/csource/writer.h"
#include "model/ops/resize.h"

namespace slipway::backends::csource {
namespace {

std::string Size(const SourceWriter& w) { return Number(int64_t{DTypeBits(w.Out().dtype) / 8}); }

std::vector<int64_t> Strides(const Dims& d) {
  std::vector<int64_t> out;
  for (int i = 0; i < d.rank(); ++i) out.push_back(d.count(i + 1, d.rank()));
  return out;
}

// to, from: the first elements.
void Copy(SourceWriter& w, std::span<const int64_t> dims, std::span<const int64_t> to_strides,
          std::span<const int64_t> from_strides, int64_t to, int64_t from, const std::string& input,
          const std::string& output) {
  w.Need("copy");
  w.Call("sw_copy", {w.Struct("sw_nd", NdFields(dims, to_strides, from_strides)), Size(w),
                     Number(to), Number(from), input, output});
}

Status Whole(SourceWriter& w) {
  const std::string x = w.Input(0, "void"), y = w.Output("void");
  if (x.substr(x.find(')')) == y.substr(y.find(')'))) return OkStatus();  // the same memory
  const int64_t bytes = w.Shape(w.Out()).count() * (DTypeBits(w.Out().dtype) / 8);
  w.Call("memcpy", {y, x, Number(bytes)});
  return OkStatus();
}

// The identity, and a mask of ones.
Status Dropout(SourceWriter& w) {
  if (w.Has(2)) {
    const auto training = w.Ints(2);
    if (training.size() != 1 || training[0] != 0)
      return Unsupported("a Dropout in training mode, or which one is not constant");
  }
  if (w.HasOut(1))
    w.Call("memset", {w.Pointer(w.Out(1), "void*"), "1", Number(w.Shape(w.Out(1)).count())});
  return Whole(w);
}

Status Transpose(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  const auto perm = w.op.attributes.Ints("perm");
  const auto from = Strides(x);
  std::vector<int64_t> strides;
  for (int i = 0; i < x.rank(); ++i) {
    const int64_t axis = perm.empty() ? x.rank() - 1 - i : perm[static_cast<size_t>(i)];
    strides.push_back(from[static_cast<size_t>(axis)]);
  }
  Copy(w, y, Strides(y), strides, 0, 0, w.Input(0, "void"), w.Output("void"));
  return OkStatus();
}

Status Concat(SourceWriter& w) {
  const Dims y = w.Shape(w.Out());
  const auto axis = static_cast<size_t>(Axis(w.op.attributes.Int("axis", 0), y.rank()));
  const auto to = Strides(y);
  int64_t at = 0;
  for (size_t i = 0; i < w.step->inputs.size(); ++i) {
    const Dims x = w.Shape(w.In(i));
    if (x.count() > 0)
      Copy(w, x, to, Strides(x), at * to[axis], 0, w.Input(i, "void"), w.Output("void"));
    at += x[axis];
  }
  return OkStatus();
}

Status Split(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0));
  const auto axis = static_cast<size_t>(Axis(w.op.attributes.Int("axis", 0), x.rank()));
  const auto from = Strides(x);
  int64_t at = 0;
  for (size_t i = 0; i < w.step->outputs.size(); ++i) {
    if (w.step->outputs[i] < 0) return Unsupported("a Split with an output that is left out");
    const Dims y = w.Shape(w.Out(i));
    Copy(w, y, Strides(y), from, 0, at * from[axis], w.Input(0, "void"),
         w.Pointer(w.Out(i), "void*"));
    at += y[axis];
  }
  return OkStatus();
}

Status Slice(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  const auto starts = w.Ints(1);
  auto axes = w.Ints(3), steps = w.Ints(4);
  if (starts.empty() || (w.Has(3) && axes.empty()) || (w.Has(4) && steps.empty()))
    return Unsupported("a Slice whose parameters are no constants");
  if (axes.empty()) {
    for (size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  }
  steps.resize(starts.size(), 1);
  auto strides = Strides(x);
  int64_t from = 0;
  for (size_t i = 0; i < starts.size(); ++i) {
    const auto axis = static_cast<size_t>(Axis(axes[i], x.rank()));
    const int64_t extent = x[axis], start = starts[i] < 0 ? starts[i] + extent : starts[i];
    from +=
        std::clamp<int64_t>(start, 0, std::max<int64_t>(0, steps[i] < 0 ? extent - 1 : extent)) *
        strides[axis];
    strides[axis] *= steps[i];
  }
  Copy(w, y, Strides(y), strides, 0, from, w.Input(0, "void"), w.Output("void"));
  return OkStatus();
}

Status Pad(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  const auto pads = w.Ints(1);
  auto axes = w.Ints(3);
  if (axes.empty()) {
    for (int i = 0; i < x.rank(); ++i) axes.push_back(i);
  }
  if (pads.size() != 2 * axes.size()) return Unsupported("a Pad whose extents are no constants");
  if (w.op.attributes.String("mode", "constant") != "constant") {
    std::vector<int64_t> begin(x.size(), 0);
    for (size_t i = 0; i < axes.size(); ++i)
      begin[static_cast<size_t>(Axis(axes[i], x.rank()))] = pads[i];
    return WriteBorder(w, begin);
  }
  const auto to = Strides(y), own = Strides(x);
  int64_t first = 0, from = 0;
  std::vector<int64_t> dims(x.begin(), x.end());
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto axis = static_cast<size_t>(Axis(axes[i], x.rank()));
    const int64_t begin = pads[i], end = pads[i + axes.size()];
    first += std::max<int64_t>(0, begin) * to[axis];
    from += std::max<int64_t>(0, -begin) * own[axis];
    dims[axis] += std::min<int64_t>(0, begin) + std::min<int64_t>(0, end);
  }
  const DType t = w.Out().dtype;
  std::string value;
  if (w.Has(2)) {
    value = w.Input(2, "void");
  } else {
    value = w.TypedArray(t, std::vector<uint8_t>(static_cast<size_t>(DTypeBits(t)) / 8, 0));
  }
  w.Need("fill");
  w.Call("sw_fill", {Number(y.count()), Size(w), value, w.Output("void")});
  Copy(w, dims, to, own, first, from, w.Input(0, "void"), w.Output("void"));
  return OkStatus();
}

Status Expand(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  std::vector<int64_t> strides(y.size(), 0);
  const auto own = Strides(x);
  for (int i = 0; i < x.rank(); ++i) {
    if (x[static_cast<size_t>(i)] != 1)
      strides[y.size() - x.size() + static_cast<size_t>(i)] = own[static_cast<size_t>(i)];
  }
  Copy(w, y, Strides(y), strides, 0, 0, w.Input(0, "void"), w.Output("void"));
  return OkStatus();
}

// Few constant indices: a copy for each.
Status Gather(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0));
  const auto indices = w.Ints(1);
  const auto axis = static_cast<size_t>(Axis(w.op.attributes.Int("axis", 0), x.rank()));
  if (indices.empty() || indices.size() > 4) return WriteGather(w);
  const int64_t outer = x.count(0, static_cast<int>(axis)),
                inner = x.count(static_cast<int>(axis) + 1, x.rank());
  const auto count = static_cast<int64_t>(indices.size());
  for (int64_t i = 0; i < count; ++i) {
    const int64_t given = indices[static_cast<size_t>(i)], at = given < 0 ? given + x[axis] : given;
    if (at < 0 || at >= x[axis]) return InvalidArgument("an index outside of the input");
    const int64_t dims[] = {outer, inner}, to[] = {count * inner, 1}, from[] = {x[axis] * inner, 1};
    Copy(w, dims, to, from, i * inner, at * inner, w.Input(0, "void"), w.Output("void"));
  }
  return OkStatus();
}

// A copy for each place in a block.
Status DepthToSpace(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0));
  const int64_t b = w.op.attributes.Int("blocksize", 1);
  if (x.rank() != 4 || b < 1 || b > 16) return Unsupported("a DepthToSpace with blocks over 16");
  const bool crd = w.op.attributes.String("mode", "DCR") == "CRD";
  const int64_t plane = x[2] * x[3], depth = x[1] / (b * b), blocks = b * b;
  const int64_t dims[] = {x[0], depth, x[2], x[3]};
  const int64_t to[] = {depth * plane * blocks, plane * blocks, b * x[3] * b, b};
  const int64_t from[] = {x[1] * plane, crd ? blocks * plane : plane, x[3], 1};
  for (int64_t i = 0; i < blocks; ++i)
    Copy(w, dims, to, from, i / b * x[3] * b + i % b, i * (crd ? plane : depth * plane),
         w.Input(0, "void"), w.Output("void"));
  return OkStatus();
}

constexpr int64_t kMostEntries = 1 << 16;  // of an axis' table

// The fields of sw_resizing.
Result<std::string> ResizeFields(SourceWriter& w, bool* nearest) {
  std::vector<ops::TensorView> in(4);
  std::vector<Dims> dims(4);
  for (size_t i = 0; i < 4 && i < w.step->inputs.size(); ++i) {
    if (!w.Has(i)) continue;
    const format::PackageTensor& t = w.In(i);
    dims[i] = w.Shape(t);
    if (i > 0 && dims[i].count() == 0) continue;
    if (i > 0 && t.kind != format::TensorKind::kConstant)
      return Unsupported("scales or sizes that are no constants");
    in[i] = {t.dtype, dims[i], i > 0 ? const_cast<uint8_t*>(t.data.data()) : nullptr};
  }
  const ops::TensorView out{w.Out().dtype, w.Shape(w.Out()), nullptr};
  ops::OpContext c;
  c.inputs = in;
  c.outputs = {&out, 1};
  c.attributes = &w.op.attributes;
  SLIPWAY_ASSIGN_OR_RETURN(const ops::ResizeTables tables, ops::TabulateResize(c, kMostEntries));
  *nearest = tables.nearest;
  std::vector<int64_t> outs(kMostDims, 1), strides(kMostDims, 0), taps(kMostDims, 1);
  std::string index, weight;
  const auto own = Strides(dims[0]);
  int64_t last = dims[0].rank() - 1;
  while (last > 0 && tables.axes[static_cast<size_t>(last)].identity) --last;
  for (size_t d = 0; d < kMostDims; ++d) {
    const char* const comma = d > 0 ? ", " : "";
    const ops::ResizeAxis* a = d < tables.axes.size() ? &tables.axes[d] : nullptr;
    if (a) outs[d] = a->out, strides[d] = own[d], taps[d] = a->taps;
    index += comma + (a && !a->identity ? w.Int32Array(a->index) : "0");
    weight += comma + (a && !a->weight.empty() ? w.FloatArray(a->weight) : "0");
  }
  return Number(int64_t{dims[0].rank()}) + ", " + Number(out.dims.count()) + ", " + Number(last) +
         ", " + List(outs) + ", " + List(strides) + ", " + List(taps) + ", {" + index + "}, {" +
         weight + "}";
}

// Floats, and the nearest of anything.
Status Resize(SourceWriter& w) {
  bool nearest = false;
  SLIPWAY_ASSIGN_OR_RETURN(const std::string fields, ResizeFields(w, &nearest));
  if (!nearest && w.Out().dtype != DType::kFloat32)
    return Unsupported("a Resize between codes; quantize the model so that it becomes QResize");
  w.Need(nearest ? "resize_nearest" : "resize");
  if (nearest) {
    w.Call("sw_resize_nearest",
           {w.Struct("sw_resizing", fields), Size(w), w.Input(0, "void"), w.Output("void")});
  } else {
    w.Call("sw_resize", {w.Struct("sw_resizing", fields), w.Input(0, "float"), w.Output("float")});
  }
  return OkStatus();
}

Status QResize(SourceWriter& w) {
  bool nearest = false;
  const DType x = w.In(0).dtype, y = w.Out().dtype;
  if (!IsCode(x) || (!IsCode(y) && y != DType::kFloat32))
    return Unsupported(std::string("a QResize of ") + DTypeName(x) + " to " + DTypeName(y));
  SLIPWAY_ASSIGN_OR_RETURN(const std::string fields, ResizeFields(w, &nearest));
  const auto& a = w.op.attributes;
  w.Need("qresize");
  w.Call("sw_qresize",
         {w.Struct("sw_resizing", fields), Number(Flip(x)),
          Number(a.Int("x_zero_point", 0) + Flip(x)), Number(a.Float("multiplier", 1)),
          w.Struct("sw_target", Target(w)), w.Input(0, "uint8_t"), w.Output("void")});
  return OkStatus();
}

constexpr Row kRows[] = {
    {"", "Reshape", Whole},
    {"", "Flatten", Whole},
    {"", "Squeeze", Whole},
    {"", "Unsqueeze", Whole},
    {"", "Identity", Whole},
    {"", "Dropout", Dropout},
    {"", "Transpose", Transpose},
    {"", "Concat", Concat},
    {"", "Split", Split},
    {"", "Slice", Slice},
    {"", "Pad", Pad},
    {"", "Expand", Expand},
    {"", "Gather", Gather},
    {"", "Resize", Resize},
    {"slipway", "QResize", QResize},
    {"", "DepthToSpace", DepthToSpace},
};

}  // namespace

std::span<const Row> MovementRows() { return kRows; }

}  // namespace slipway::backends::csource
