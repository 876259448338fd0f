// Calls of reductions and of operators on indices: Gather and its kin, ArgMax, TopK, running sums.

#include <algorithm>

#include "engine/backends/csource/writer.h"

namespace slipway::backends::csource {
namespace {

bool IsReal(DType t) { return t == DType::kFloat32 || t == DType::kFloat64; }

Status NoType(const SourceWriter& w, DType t) {
  return Unsupported(w.op.op + " of " + DTypeName(t));
}

std::string Bytes(DType t) { return Number(int64_t{DTypeBits(t) / 8}); }

bool IsIndex(DType t) { return t == DType::kInt64 || t == DType::kInt32; }

// The line along an axis as arguments: outer, extent, inner.
struct Line {
  std::string outer, count, inner;
  int64_t axis;
};
Result<Line> LineOf(const Dims& x, int64_t axis) {
  const int at = static_cast<int>(Axis(axis, x.rank()));
  if (at < 0 || at >= x.rank()) return InvalidArgument("an axis outside of the input");
  return Line{Number(x.count(0, at)), Number(x[static_cast<size_t>(at)]),
              Number(x.count(at + 1, x.rank())), at};
}

struct Reduction {
  const char *op, *start, *step, *end;
};
// Of float64 for floats, of uint64 for integers.
constexpr Reduction kFloats[] = {
    {"ReduceSum", "0.0", "acc += v", "acc"},
    {"ReduceMean", "0.0", "acc += v", "acc / r->count"},
    {"ReduceProd", "1.0", "acc *= v", "acc"},
    {"ReduceL1", "0.0", "acc += fabs(v)", "acc"},
    {"ReduceL2", "0.0", "acc += v * v", "sqrt(acc)"},
    {"ReduceSumSquare", "0.0", "acc += v * v", "acc"},
};
constexpr Reduction kWhole[] = {
    {"ReduceSum", "0", "acc += v", "acc"},
    {"ReduceMean", "0", "acc += v", "@M"},
    {"ReduceProd", "1", "acc *= v", "acc"},
    {"ReduceL1", "0", "@L", "acc"},
    {"ReduceL2", "0", "acc += v * v", "sqrt((double)acc)"},
    {"ReduceSumSquare", "0", "acc += v * v", "acc"},
};

Status Reduce(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0));
  const DType t = w.In(0).dtype;
  std::vector<int64_t> axes = w.Ints(1);
  if (w.Has(1) && axes.empty() && w.In(1).kind != format::TensorKind::kConstant)
    return Unsupported("axes that are no constant");
  if (axes.empty() && w.op.attributes.Int("noop_with_empty_axes", 0) == 0) {
    for (int i = 0; i < x.rank(); ++i) axes.push_back(i);
  }
  std::vector<bool> reduced(x.size(), false);
  for (const int64_t axis : axes) {
    const int64_t at = Axis(axis, x.rank());
    if (at < 0 || at >= x.rank()) return InvalidArgument("an axis outside of the input");
    reduced[static_cast<size_t>(at)] = true;
  }
  std::vector<int64_t> kept_dims, kept_strides, inner_dims, inner_strides, none_kept, none_inner;
  for (int i = 0; i < x.rank(); ++i) {
    const int64_t stride = x.count(i + 1, x.rank());
    (reduced[static_cast<size_t>(i)] ? inner_dims : kept_dims).push_back(x[static_cast<size_t>(i)]);
    (reduced[static_cast<size_t>(i)] ? inner_strides : kept_strides).push_back(stride);
  }
  none_kept.assign(kept_dims.size(), 0);
  none_inner.assign(inner_dims.size(), 0);
  const std::string& op = w.op.op;
  const std::string type = CType(t);
  std::map<std::string, std::string> places = {{"@X", type}, {"@Y", type}};
  if (op == "ReduceMax" || op == "ReduceMin") {
    if (!IsReal(t) && !IsWhole(t) && t != DType::kBool) return NoType(w, t);
    const std::string better = op == "ReduceMax" ? "v > acc" : "v < acc";
    places.insert({{"@S", type},
                   {"@I", t == DType::kBool ? "x[from] != 0" : "x[from]"},
                   {"@A", "if (" + better + (IsReal(t) ? " || v != v" : "") + ") acc = v"},
                   {"@E", "acc"}});
    if (t == DType::kBool) places["@A"] = op == "ReduceMax" ? "if (v) acc = 1" : "if (!v) acc = 0";
  } else {
    const bool whole = IsWhole(t) && DTypeBits(t) >= 32;
    if (!IsReal(t) && !whole) return NoType(w, t);
    const std::span<const Reduction> list =
        whole ? std::span<const Reduction>(kWhole) : std::span<const Reduction>(kFloats);
    const auto* rule = std::find_if(list.data(), list.data() + list.size(),
                                    [&](const Reduction& r) { return op == r.op; });
    if (rule == list.data() + list.size()) return Unsupported("an operator that is not known");
    places.insert({{"@S", whole ? "uint64_t" : "double"},
                   {"@I", rule->start},
                   {"@A", rule->step},
                   {"@E", rule->end}});
    const bool is_signed = IsSignedInteger(t);
    if (places["@A"] == "@L")
      places["@A"] = is_signed ? "acc += x[at] < 0 ? (uint64_t)0 - v : v" : "acc += v";
    if (places["@E"] == "@M")
      places["@E"] = is_signed ? "(int64_t)acc / r->count" : "acc / (uint64_t)r->count";
  }
  w.Call(w.Instance("reduce", op + "_" + Suffix(t), places),
         {w.Struct("sw_nd", NdFields(kept_dims, none_kept, kept_strides)),
          w.Struct("sw_nd", NdFields(inner_dims, none_inner, inner_strides)), w.Input(0),
          w.Output(0)});
  return OkStatus();
}

Status ArgBest(SourceWriter& w) {
  const DType t = w.In(0).dtype;
  if (!IsReal(t) && !IsWhole(t)) return NoType(w, t);
  SLIPWAY_ASSIGN_OR_RETURN(const Line line,
                           LineOf(w.Shape(w.In(0)), w.op.attributes.Int("axis", 0)));
  std::string better = w.op.op == "ArgMax" ? "v > best" : "v < best";
  if (w.op.attributes.Int("select_last_index", 0) != 0) better += " || v == best";
  w.Call(w.Instance("argbest", w.op.op + "_" + Suffix(t), {{"@X", CType(t)}, {"@E", better}}),
         {line.outer, line.count, line.inner, w.Input(0), w.Output(0)});
  return OkStatus();
}

Status Cumulate(SourceWriter& w) {
  const DType t = w.In(0).dtype;
  const auto axis = w.Ints(1);
  if (!IsReal(t) && !(IsWhole(t) && DTypeBits(t) >= 32)) return NoType(w, t);
  if (axis.size() != 1) return Unsupported("an axis that is no constant");
  SLIPWAY_ASSIGN_OR_RETURN(const Line line, LineOf(w.Shape(w.In(0)), axis[0]));
  const bool sum = w.op.op == "CumSum";
  const auto& a = w.op.attributes;
  w.Call(w.Instance("cumulate", w.op.op + "_" + Suffix(t),
                    {{"@X", CType(t)},
                     {"@S", IsReal(t) ? "double" : "uint64_t"},
                     {"@I", sum ? "0" : "1"},
                     {"@E", sum ? "+" : "*"}}),
         {line.outer, line.count, line.inner, a.Int("exclusive", 0) != 0 ? "1" : "0",
          a.Int("reverse", 0) != 0 ? "1" : "0", w.Input(0), w.Output(0)});
  return OkStatus();
}

Status TopK(SourceWriter& w) {
  const DType t = w.In(0).dtype;
  if (!IsReal(t) && !IsWhole(t)) return NoType(w, t);
  if (!w.HasOut(0) || !w.HasOut(1)) return Unsupported("a TopK with an output that is left out");
  SLIPWAY_ASSIGN_OR_RETURN(const Line line,
                           LineOf(w.Shape(w.In(0)), w.op.attributes.Int("axis", -1)));
  const int64_t k = w.Shape(w.Out())[static_cast<size_t>(line.axis)];
  if (k > w.Shape(w.In(0))[static_cast<size_t>(line.axis)])
    return InvalidArgument("k larger than the axis");
  const bool largest = w.op.attributes.Int("largest", 1) != 0;
  w.Call(w.Instance("topk", w.op.op + "_" + Suffix(t),
                    {{"@X", CType(t)}, {"@E", largest ? "v > w" : "v < w"}}),
         {line.outer, line.count, line.inner, Number(k), w.Input(0), w.Output(0), w.Output(1)});
  return OkStatus();
}

Status GatherElements(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), indices = w.Shape(w.In(1));
  const DType i = w.In(1).dtype, t = w.In(0).dtype;
  if (!IsIndex(i)) return Unsupported(std::string("indices of ") + DTypeName(i));
  SLIPWAY_ASSIGN_OR_RETURN(const Line line, LineOf(x, w.op.attributes.Int("axis", 0)));
  std::vector<int64_t> none(x.size(), 0), strides;
  for (int d = 0; d < x.rank(); ++d)
    strides.push_back(d == line.axis ? 0 : x.count(d + 1, x.rank()));
  for (int d = 0; d < x.rank(); ++d) {
    if (d != line.axis && indices[static_cast<size_t>(d)] > x[static_cast<size_t>(d)])
      return InvalidArgument("indices that reach beyond the data");
  }
  w.Call(w.Instance("elements", "gather_elements_" + Suffix(t),
                    {{"@X", CType(i)}, {"@Z", CType(t)}, {"@A", "y[i] = x[at]"}}),
         {w.Struct("sw_nd", NdFields(indices, none, strides)), line.count, line.inner, w.Input(1),
          w.Input(0), w.Output(0)});
  return OkStatus();
}

// What becomes of the element y[`at`] and the update v.
Result<std::string> Update(const SourceWriter& w, DType t, const std::string& at,
                           const std::string& v) {
  const auto mode = w.op.attributes.String("reduction", "none");
  const std::string y = "y[" + at + "]";
  if (mode == "none") return y + " = " + v;
  if (!IsReal(t) && !IsWhole(t)) return NoType(w, t);
  if (mode == "max") return "if (" + v + " > " + y + ") " + y + " = " + v;
  if (mode == "min") return "if (" + v + " < " + y + ") " + y + " = " + v;
  if (mode != "add" && mode != "mul") return InvalidArgument("an unknown reduction");
  const std::string join = mode == "add" ? " + " : " * ";
  const std::string type = CType(t);
  if (IsReal(t)) return y + " = " + y + join + v;
  return y + " = (" + type + ")((uint64_t)" + y + join + "(uint64_t)" + v + ")";
}

// x first, then the updates.
Status Scatter(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), indices = w.Shape(w.In(1)), updates = w.Shape(w.In(2));
  const DType i = w.In(1).dtype, t = w.In(0).dtype;
  if (!IsIndex(i)) return Unsupported(std::string("indices of ") + DTypeName(i));
  if (w.In(2).dtype != t) return InvalidArgument("updates of another type");
  const bool tuples = w.op.op == "ScatterND";
  const std::string bytes = Number(x.count() * (DTypeBits(t) / 8));
  const auto copy = [&] { w.Call("memcpy", {w.Output(0), w.Input(0), bytes}); };
  if (tuples) {
    const int depth = static_cast<int>(indices.back());
    const int64_t count = indices.count(0, indices.rank() - 1);
    if (depth > x.rank() || updates.count() != count * x.count(depth, x.rank()))
      return InvalidArgument("updates that do not fit");
    SLIPWAY_ASSIGN_OR_RETURN(const std::string text, Update(w, t, "at + k", "x[t * inner + k]"));
    copy();
    w.Call(w.Instance("tuples", "scatter_nd_" + Suffix(t),
                      {{"@X", CType(i)}, {"@Z", CType(t)}, {"@A", text}}),
           {"1", Number(count), Number(int64_t{depth}),
            w.Int32Array(std::span(x).first(static_cast<size_t>(std::max(1, depth)))), "0",
            Number(x.count(depth, x.rank())), w.Input(1), w.Input(2), w.Output(0)});
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(const Line line, LineOf(x, w.op.attributes.Int("axis", 0)));
  SLIPWAY_ASSIGN_OR_RETURN(const std::string text, Update(w, t, "at", "x[i]"));
  std::vector<int64_t> none(x.size(), 0), strides;
  for (int d = 0; d < x.rank(); ++d) {
    strides.push_back(d == line.axis ? 0 : x.count(d + 1, x.rank()));
    if (d != line.axis && indices[static_cast<size_t>(d)] > x[static_cast<size_t>(d)])
      return InvalidArgument("indices that reach beyond the data");
  }
  copy();
  w.Call(w.Instance("elements", "scatter_elements_" + Suffix(t),
                    {{"@X", CType(i)}, {"@Z", CType(t)}, {"@A", text}}),
         {w.Struct("sw_nd", NdFields(indices, none, strides)), line.count, line.inner, w.Input(1),
          w.Input(2), w.Output(0)});
  return OkStatus();
}

Status GatherND(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), indices = w.Shape(w.In(1));
  const DType i = w.In(1).dtype, t = w.In(0).dtype;
  if (!IsIndex(i)) return Unsupported(std::string("indices of ") + DTypeName(i));
  const int first = static_cast<int>(w.op.attributes.Int("batch_dims", 0));
  const int depth = static_cast<int>(indices.back());
  if (first < 0 || depth < 1 || first >= indices.rank() || first + depth > x.rank())
    return Unsupported("index tuples that do not fit");
  w.Call(
      w.Instance("tuples", "gather_nd_" + Suffix(t),
                 {{"@X", CType(i)}, {"@Z", CType(t)}, {"@A", "y[t * inner + k] = x[at + k]"}}),
      {Number(indices.count(0, first)), Number(indices.count(first, indices.rank() - 1)),
       Number(int64_t{depth}),
       w.Int32Array(std::span(x).subspan(static_cast<size_t>(first), static_cast<size_t>(depth))),
       Number(x.count(first, x.rank())), Number(x.count(first + depth, x.rank())), w.Input(1),
       w.Input(0), w.Output(0)});
  return OkStatus();
}

Status OneHot(SourceWriter& w) {
  const Dims y = w.Shape(w.Out());
  const DType i = w.In(0).dtype, t = w.In(2).dtype;
  if (!IsReal(i) && !IsWhole(i)) return NoType(w, i);
  if (w.Out().dtype != t || w.Shape(w.In(2)).count() != 2)
    return InvalidArgument("values that do not fit");
  SLIPWAY_ASSIGN_OR_RETURN(const Line line, LineOf(y, w.op.attributes.Int("axis", -1)));
  w.Call(w.Instance("onehot", "onehot_" + Suffix(t), {{"@X", CType(i)}, {"@Z", CType(t)}}),
         {Number(w.Shape(w.In(0)).count()), line.count, line.inner, w.Input(0), w.Input(2),
          w.Output(0)});
  return OkStatus();
}

Status Trilu(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0));
  if (x.rank() < 2) return InvalidArgument("a Trilu of less than 2 dimensions");
  std::string k = "0";
  if (w.Has(1)) {
    if (!IsIndex(w.In(1).dtype)) return NoType(w, w.In(1).dtype);
    k = "*" + w.Input(1);
  }
  w.Need("trilu");
  w.Call("sw_trilu", {Number(x.count() / x.back()), Number(x[x.size() - 2]), Number(x.back()),
                      Bytes(w.In(0).dtype), w.op.attributes.Int("upper", 1) != 0 ? "1" : "0", k,
                      w.Input(0), w.Output(0)});
  return OkStatus();
}

constexpr Row kRows[] = {
    {"", "ReduceSum", Reduce},  {"", "ReduceMean", Reduce},
    {"", "ReduceProd", Reduce}, {"", "ReduceMax", Reduce},
    {"", "ReduceMin", Reduce},  {"", "ReduceL1", Reduce},
    {"", "ReduceL2", Reduce},   {"", "ReduceSumSquare", Reduce},
    {"", "ArgMax", ArgBest},    {"", "ArgMin", ArgBest},
    {"", "CumSum", Cumulate},   {"", "CumProd", Cumulate},
    {"", "TopK", TopK},         {"", "GatherElements", GatherElements},
    {"", "GatherND", GatherND}, {"", "ScatterElements", Scatter},
    {"", "ScatterND", Scatter}, {"", "OneHot", OneHot},
    {"", "Trilu", Trilu},
};

}  // namespace

std::span<const Row> IndexRows() { return kRows; }

Status WriteGather(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0));
  const DType i = w.In(1).dtype;
  if (!IsIndex(i)) return Unsupported(std::string("indices of ") + DTypeName(i));
  SLIPWAY_ASSIGN_OR_RETURN(const Line line, LineOf(x, w.op.attributes.Int("axis", 0)));
  const int64_t inner = x.count(static_cast<int>(line.axis) + 1, x.rank());
  w.Call(w.Instance("gather", "gather_" + Suffix(i), {{"@X", CType(i)}}),
         {line.outer, line.count, Number(w.Shape(w.In(1)).count()),
          Number(inner * (DTypeBits(w.In(0).dtype) / 8)), w.Input(0, "void"), w.Input(1),
          w.Output("void")});
  return OkStatus();
}

}  // namespace slipway::backends::csource
