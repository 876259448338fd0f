// Calls of operators that make tensors out of extents, move elements by rules, and multiply
// matrices of any type: what write_movement.cc and write_float.cc have no shorter form for.

#include <algorithm>

#include "engine/backends/csource/writer.h"
#include "model/ops/einsum.h"

namespace slipway::backends::csource {
namespace {

bool IsReal(DType t) { return t == DType::kFloat32 || t == DType::kFloat64; }
bool IsWide(DType t) { return IsWhole(t) && DTypeBits(t) >= 32; }

Status NoType(const SourceWriter& w, DType t) {
  return Unsupported(w.op.op + " of " + DTypeName(t));
}

std::string Bytes(DType t) { return Number(int64_t{DTypeBits(t) / 8}); }

// What sums of the type are kept in.
std::string Sum(DType t) { return IsReal(t) ? CType(t) : "uint64_t"; }

Status ShapeOf(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  std::vector<int64_t> values = {x.count()};
  if (w.op.op == "Shape") {
    const auto clip = [&](int64_t v) {
      return std::clamp<int64_t>(v < 0 ? v + x.rank() : v, 0, x.rank());
    };
    const int64_t first = clip(w.op.attributes.Int("start", 0)),
                  last = clip(w.op.attributes.Int("end", x.rank()));
    values.assign(x.begin() + first, x.begin() + std::max(first, last));
  }
  if (static_cast<int64_t>(values.size()) != y.count()) return InvalidArgument("a wrong length");
  w.Call("memcpy", {w.Output(0), w.Int64Array(values), Number(y.count() * 8)});
  return OkStatus();
}

Status Range(SourceWriter& w) {
  const DType t = w.Out().dtype;
  if (!IsReal(t) && !IsWhole(t)) return NoType(w, t);
  for (size_t i = 0; i < 3; ++i) {
    if (w.In(i).dtype != t || w.Shape(w.In(i)).count() != 1)
      return InvalidArgument("a Range of other than three numbers of one type");
  }
  w.Call(w.Instance("fillrange", "range_" + Suffix(t), {{"@X", CType(t)}, {"@S", Sum(t)}}),
         {Number(w.Shape(w.Out()).count()), w.Input(0), w.Input(2), w.Output(0)});
  return OkStatus();
}

// One number as an array of the type.
Result<std::string> Element(SourceWriter& w, DType t, double real, int64_t whole) {
  if (t == DType::kFloat32) return w.FloatArray(std::vector<float>{static_cast<float>(real)});
  std::vector<uint8_t> bytes(static_cast<size_t>(DTypeBits(t)) / 8);
  const auto put = [&](auto v) {
    const auto* p = reinterpret_cast<const uint8_t*>(&v);
    std::copy(p, p + sizeof(v), bytes.begin());
  };
  if (t == DType::kFloat64) {
    put(real);
  } else if (IsWhole(t) || t == DType::kBool) {
    if (t == DType::kBool) whole = whole != 0;
    for (size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<uint8_t>(static_cast<uint64_t>(whole) >> (8 * i));
  } else {
    return NoType(w, t);
  }
  return w.TypedArray(t, bytes);
}

Status ConstantOfShape(SourceWriter& w) {
  const DType t = w.Out().dtype;
  const auto& a = w.op.attributes;
  SLIPWAY_ASSIGN_OR_RETURN(
      const std::string value,
      Element(w, t, static_cast<double>(a.Float("value_float", 0)), a.Int("value_int", 0)));
  w.Need("fill");
  w.Call("sw_fill", {Number(w.Shape(w.Out()).count()), Bytes(t), value, w.Output("void")});
  return OkStatus();
}

Status EyeLike(SourceWriter& w) {
  const DType t = w.Out().dtype;
  const Dims y = w.Shape(w.Out());
  if (y.rank() != 2) return InvalidArgument("an EyeLike that is no matrix");
  const int64_t k = w.op.attributes.Int("k", 0), rows = y[0], columns = y[1];
  SLIPWAY_ASSIGN_OR_RETURN(const std::string one, Element(w, t, 1, 1));
  w.Call("memset", {w.Output("void"), "0", Number(y.count() * (DTypeBits(t) / 8))});
  const int64_t first = std::max<int64_t>(0, -k),
                count = std::min(rows, columns > k ? columns - k : 0) - first;
  if (k >= columns || k <= -rows || count <= 0) return OkStatus();
  const int64_t dims[] = {count}, to[] = {columns + 1}, from[] = {0};
  w.Need("copy");
  w.Call("sw_copy", {w.Struct("sw_nd", NdFields(dims, to, from)), Bytes(t),
                     Number(first * columns + first + k), "0", one, w.Output("void")});
  return OkStatus();
}

// y's element o along an axis is x's o - begin, brought inside by the mode.
void Border(SourceWriter& w, int mode, std::vector<int64_t> begin) {
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  const auto padded = [](std::vector<int64_t> v) {
    v.resize(kMostDims, 0);
    return List(v);
  };
  std::vector<int64_t> strides;
  for (int i = 0; i < x.rank(); ++i) strides.push_back(x.count(i + 1, x.rank()));
  w.Need("border");
  w.Call("sw_pad",
         {w.Struct("sw_border", Number(int64_t{x.rank()}) + ", " + Number(y.count()) + ", " +
                                    Number(int64_t{mode}) + ", " + padded({y.begin(), y.end()}) +
                                    ", " + padded({x.begin(), x.end()}) + ", " +
                                    padded(std::move(begin)) + ", " + padded(strides)),
          Bytes(w.In(0).dtype), w.Input(0, "void"), w.Output("void")});
}

Status Tile(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  if (x.rank() != y.rank()) return InvalidArgument("repeats that do not fit");
  Border(w, 3, std::vector<int64_t>(x.size(), 0));
  return OkStatus();
}

Status SpaceToDepth(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0));
  const int64_t b = w.op.attributes.Int("blocksize", 1);
  if (x.rank() != 4 || b < 1 || b > 16) return Unsupported("a SpaceToDepth with blocks over 16");
  const int64_t h = x[2] / b, v = x[3] / b, plane = h * v;
  const int64_t dims[] = {x[0], x[1], h, v}, to[] = {x[1] * x[2] * x[3], plane, v, 1},
                from[] = {x[1] * x[2] * x[3], x[2] * x[3], b * x[3], b};
  w.Need("copy");
  for (int64_t i = 0; i < b * b; ++i)
    w.Call("sw_copy", {w.Struct("sw_nd", NdFields(dims, to, from)), Bytes(w.In(0).dtype),
                       Number(i * x[1] * plane), Number(i / b * x[3] + i % b), w.Input(0, "void"),
                       w.Output("void")});
  return OkStatus();
}

Status ReverseSequence(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0));
  const DType i = w.In(1).dtype;
  const int64_t batch = w.op.attributes.Int("batch_axis", 1),
                time = w.op.attributes.Int("time_axis", 0);
  if ((i != DType::kInt64 && i != DType::kInt32) || x.rank() < 2 || batch < 0 || batch > 1 ||
      time != 1 - batch)
    return Unsupported("a ReverseSequence of other axes than the first two");
  w.Call(w.Instance("reverse", "reverse_" + Suffix(i), {{"@X", CType(i)}}),
         {Number(x[static_cast<size_t>(batch)]), Number(x[static_cast<size_t>(time)]),
          Number(batch == 0 ? x[1] : 1), Number(batch == 0 ? 1 : x[1]),
          Number(x.count(2, x.rank()) * (DTypeBits(w.In(0).dtype) / 8)), w.Input(1),
          w.Input(0, "void"), w.Output("void")});
  return OkStatus();
}

Status BitCopy(SourceWriter& w) {
  const int64_t bytes = w.Shape(w.Out()).count() * (DTypeBits(w.Out().dtype) / 8);
  if (w.Shape(w.In(0)).count() * (DTypeBits(w.In(0).dtype) / 8) != bytes)
    return InvalidArgument("a copy of another size");
  w.Call("memcpy", {w.Output("void"), w.Input(0, "void"), Number(bytes)});
  return OkStatus();
}

Status Einsum(SourceWriter& w) {
  const size_t inputs = w.step->inputs.size();
  const DType t = w.In(0).dtype;
  if (inputs > 2) return Unsupported("an Einsum of more than two inputs");
  if ((!IsReal(t) && !IsWide(t)) || w.In(inputs - 1).dtype != t) return NoType(w, t);
  std::vector<int> ranks;
  std::vector<Dims> dims;
  for (size_t i = 0; i < inputs; ++i) {
    dims.push_back(w.Shape(w.In(i)));
    ranks.push_back(dims.back().rank());
  }
  SLIPWAY_ASSIGN_OR_RETURN(const ops::EinsumPlan plan,
                           ops::ParseEinsum(w.op.attributes.String("equation", ""), ranks));
  // Steps of each label in both inputs; a label that is twice in one is its diagonal.
  std::vector<int64_t> extent(ops::kEinsumLabels, 0), step[2];
  for (auto& s : step) s.assign(ops::kEinsumLabels, 0);
  for (size_t i = 0; i < inputs; ++i) {
    for (int d = 0; d < plan.terms[i].rank; ++d) {
      const auto label = static_cast<size_t>(plan.terms[i].labels[static_cast<size_t>(d)]);
      const int64_t n = dims[i][static_cast<size_t>(d)];
      extent[label] = std::max(extent[label], n);
      if (n > 1) step[i][label] += dims[i].count(d + 1, dims[i].rank());
    }
  }
  std::vector<int64_t> kept[3], summed[3];
  const auto add = [&](std::vector<int64_t>* to, size_t label) {
    to[0].push_back(extent[label]);
    to[1].push_back(step[0][label]);
    to[2].push_back(step[1][label]);
  };
  std::vector<bool> out(ops::kEinsumLabels, false);
  for (int d = 0; d < plan.output.rank; ++d) {
    const auto label = static_cast<size_t>(plan.output.labels[static_cast<size_t>(d)]);
    out[label] = true;
    add(kept, label);
  }
  for (size_t label = 0; label < extent.size(); ++label) {
    if (extent[label] > 0 && !out[label]) add(summed, label);
  }
  if (kept[0].size() > kMostDims || summed[0].size() > kMostDims)
    return Unsupported("an Einsum that sums over more than 8 labels");
  const std::string sum = Sum(t), term = inputs > 1 ? "(" + sum + ")a[ia] * (" + sum + ")b[ib]"
                                                    : "(" + sum + ")a[ia]";
  w.Call(w.Instance("einsum", "einsum_" + Suffix(t), {{"@X", CType(t)}, {"@S", sum}, {"@E", term}}),
         {w.Struct("sw_nd", NdFields(kept[0], kept[1], kept[2])),
          w.Struct("sw_nd", NdFields(summed[0], summed[1], summed[2])), w.Input(0),
          inputs > 1 ? w.Input(1) : "0", w.Output(0)});
  return OkStatus();
}

Status Loss(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0));
  const DType i = w.In(1).dtype;
  const auto& a = w.op.attributes;
  if (w.In(0).dtype != DType::kFloat32 || (w.Has(2) && w.In(2).dtype != DType::kFloat32))
    return NoType(w, w.In(0).dtype);
  if ((i != DType::kInt64 && i != DType::kInt32) || x.rank() < 2) return NoType(w, i);
  const auto reduction = a.String("reduction", "mean");
  const bool soft = w.op.op == "SoftmaxCrossEntropyLoss";
  w.Call(w.Instance("loss", "loss_" + Suffix(i), {{"@X", CType(i)}}),
         {Number(x[0] * x.count(2, x.rank())), Number(x[1]), Number(x.count(2, x.rank())),
          soft ? "1" : "0",
          reduction == "none"  ? "0"
          : reduction == "sum" ? "1"
                               : "2",
          a.Has("ignore_index") ? "1" : "0", Number(a.Int("ignore_index", 0)), w.Input(0),
          w.Input(1), w.Input(2), w.Output(0), w.Output(1)});
  return OkStatus();
}

Status GridSample(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  if (w.In(0).dtype != DType::kFloat32 || w.In(1).dtype != DType::kFloat32)
    return NoType(w, w.In(0).dtype);
  const int spatial = x.rank() - 2;
  if (spatial < 1 || spatial > 3) return Unsupported("a GridSample of more than 3 dimensions");
  const auto& a = w.op.attributes;
  const auto mode = a.String("mode", "linear"), outside = a.String("padding_mode", "zeros");
  std::vector<int64_t> extent(3, 1);
  for (int d = 0; d < spatial; ++d)
    extent[static_cast<size_t>(3 - spatial + d)] = x[static_cast<size_t>(2 + d)];
  w.Need("grid");
  w.Call("sw_gridsample",
         {w.Struct("sw_grid",
                   Number(x[0]) + ", " + Number(x[1]) + ", " + Number(y.count(2, y.rank())) + ", " +
                       Number(int64_t{spatial}) + ", " +
                       (mode == "nearest"                      ? "0"
                        : mode == "cubic" || mode == "bicubic" ? "2"
                                                               : "1") +
                       ", " +
                       (outside == "border"       ? "1"
                        : outside == "reflection" ? "2"
                                                  : "0") +
                       ", " + (a.Int("align_corners", 0) != 0 ? "1" : "0") + ", " + List(extent)),
          w.Input(0), w.Input(1), w.Output(0)});
  return OkStatus();
}

Status MaxUnpool(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  const DType t = w.In(0).dtype;
  const auto& a = w.op.attributes;
  const auto kernel = a.Ints("kernel_shape"), pads = a.Ints("pads"), strides = a.Ints("strides");
  const size_t spatial = x.size() - 2;
  if (!IsReal(t) || w.In(1).dtype != DType::kInt64) return NoType(w, t);
  if (x.rank() < 3 || kernel.size() != spatial || y.rank() != x.rank() ||
      w.Shape(w.In(1)).count() != x.count())
    return InvalidArgument("a window that does not fit");
  std::vector<int64_t> inner = {x[0], x[1]};
  for (size_t i = 0; i < spatial; ++i) {
    const auto entry = [](const auto& list, size_t at, int64_t absent) {
      return at < list.size() ? list[at] : absent;
    };
    inner.push_back((x[i + 2] - 1) * entry(strides, i, 1) + kernel[i] - entry(pads, i, 0) -
                    entry(pads, spatial + i, 0));
    if (y[i + 2] < inner[i + 2] || inner[i + 2] < 1)
      return InvalidArgument("an output smaller than what the indices address");
  }
  w.Call(w.Instance("maxunpool", "maxunpool_" + Suffix(t), {{"@X", CType(t)}}),
         {Number(x.count()), Number(int64_t{x.rank()}), w.Int32Array(inner), w.Int32Array(y),
          w.Input(0), w.Input(1), w.Output(0)});
  return OkStatus();
}

constexpr Row kRows[] = {
    {"", "MaxUnpool", MaxUnpool},
    {"", "Shape", ShapeOf},
    {"", "Size", ShapeOf},
    {"", "Range", Range},
    {"", "ConstantOfShape", ConstantOfShape},
    {"", "EyeLike", EyeLike},
    {"", "Tile", Tile},
    {"", "SpaceToDepth", SpaceToDepth},
    {"", "ReverseSequence", ReverseSequence},
    {"", "BitCast", BitCopy},
    {format::kEngineDomain, "Copy", BitCopy},
    {"", "Einsum", Einsum},
    {"", "NegativeLogLikelihoodLoss", Loss},
    {"", "SoftmaxCrossEntropyLoss", Loss},
    {"", "GridSample", GridSample},
};

}  // namespace

std::span<const Row> ShapeRows() { return kRows; }

Status WriteBorder(SourceWriter& w, const std::vector<int64_t>& begin) {
  const auto mode = w.op.attributes.String("mode", "constant");
  if (mode != "edge" && mode != "reflect" && mode != "wrap")
    return InvalidArgument("an unknown mode");
  Border(w, mode == "edge" ? 1 : mode == "reflect" ? 2 : 3, begin);
  return OkStatus();
}

// A vector as one row or column.
Status WriteMatMul(SourceWriter& w) {
  Dims a = w.Shape(w.In(0)), b = w.Shape(w.In(1)), y = w.Shape(w.Out());
  const DType t = w.In(0).dtype;
  if ((!IsReal(t) && !IsWide(t)) || w.In(1).dtype != t) return NoType(w, t);
  std::vector<int64_t> outer(y.begin(), y.end());
  if (a.rank() == 1) {
    a = Dims{1, a[0]};
    outer.insert(outer.end() - (b.rank() > 1 ? 1 : 0), 1);
  }
  if (b.rank() == 1) {
    b = Dims{b[0], 1};
    outer.push_back(1);
  }
  y = Dims(std::span<const int64_t>(outer));
  std::vector<int64_t> offsets;
  MatrixOffsets(a, b, y, &offsets);
  w.Call(w.Instance("product", "matmul_" + Suffix(t), {{"@X", CType(t)}, {"@S", Sum(t)}}),
         {Number(static_cast<int64_t>(offsets.size() / 2)), w.Int32Array(offsets),
          Number(a[a.size() - 2]), Number(a.back()), Number(b.back()), w.Input(0), w.Input(1),
          w.Output(0)});
  return OkStatus();
}

Status WriteGemm(SourceWriter& w) {
  const Dims a = w.Shape(w.In(0)), b = w.Shape(w.In(1)), y = w.Shape(w.Out());
  const auto& at = w.op.attributes;
  const DType t = w.In(0).dtype;
  const float alpha = at.Float("alpha", 1), beta = at.Float("beta", 1);
  if ((!IsReal(t) && !IsWide(t)) || w.In(1).dtype != t) return NoType(w, t);
  if (!IsReal(t) && (alpha != 1 || beta != 1))
    return Unsupported("a Gemm of integers with alpha or beta");
  if (a.rank() != 2 || b.rank() != 2) return InvalidArgument("a Gemm of other than matrices");
  const bool ta = at.Int("transA", 0) != 0, tb = at.Int("transB", 0) != 0;
  const int64_t m = y[0], n = y[1], k = a[ta ? 0 : 1];
  int64_t row = 0, column = 0;
  if (w.Has(2)) {
    const Dims c = w.Shape(w.In(2));
    const int64_t width = c.rank() >= 1 ? c.back() : 1;
    column = width > 1 ? 1 : 0;
    row = c.rank() >= 2 && c[c.size() - 2] > 1 ? width : 0;
  }
  const int64_t steps[] = {ta ? 1 : k, ta ? m : 1, tb ? 1 : n, tb ? k : 1, row, column};
  w.Call(w.Instance("gemm", "gemm_" + Suffix(t), {{"@X", CType(t)}, {"@S", Sum(t)}}),
         {Number(m), Number(k), Number(n), w.Int32Array(steps), Number(alpha), Number(beta),
          w.Input(0), w.Input(1), w.Input(2), w.Output(0)});
  return OkStatus();
}

Status WriteMaxAt(SourceWriter& w, const std::string& window) {
  const DType t = w.In(0).dtype;
  if (!IsReal(t) && !IsCode(t)) return NoType(w, t);
  const std::string lowest = IsReal(t) ? "-INFINITY" : t == DType::kInt8 ? "-128" : "0";
  w.Call(w.Instance("max_at", "max_at_" + Suffix(t), {{"@X", CType(t)}, {"@I", lowest}}),
         {w.Struct("sw_window", window), w.op.attributes.Int("storage_order", 0) != 0 ? "1" : "0",
          w.Input(0), w.Output(0), w.Output(1)});
  return OkStatus();
}

}  // namespace slipway::backends::csource
