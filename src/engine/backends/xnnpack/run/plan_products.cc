// Convolutions, linear layers and pools.

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/checked.h"
#include "engine/backends/xnnpack/run/planner.h"

namespace slipway::xnnpack {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// An image of one or two dimensions, channels last (anything of one position or channel may lie
// plain).
Status CheckImage(const slipway_tensor& t) {
  if (t.rank < 3 || t.rank > 4) return Unsupported("rank " + std::to_string(t.rank));
  if (t.layout != static_cast<uint32_t>(format::Layout::kChannelsLast))
    return Unsupported("images that do not have their channels last");
  return OkStatus();
}

// Sizes of the convolution of node inputs X, W (at `w`) to Y, in the stage.
Status SetConv(Planner& p, Stage& stage, size_t w_input, int64_t group) {
  const Dims x = p.In(0), w = p.In(w_input), y = p.Out();
  if (w.rank() != x.rank() || y.rank() != x.rank() || group < 1 || w[0] % group != 0 || w[1] < 1 ||
      w[1] * group != x[1] || y[1] != w[0] || y[0] != x[0] || w[0] < 1) {
    return InvalidArgument("X " + x.ToString() + ", W " + w.ToString() + " and Y " + y.ToString() +
                           " with group " + std::to_string(group) + " make no convolution");
  }
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Window window,
                           ops::ResolveWindow(p.attributes(), x, y, std::span(w).subspan(2)));
  stage.batch = x[0];
  stage.channels = x[1];
  stage.outputs = y[1];
  stage.group = group;
  stage.weights = static_cast<int>(w_input);
  stage.order = Weights::kConv;
  return p.SetWindow(stage, window, false);
}

Status SetBias(Planner& p, Stage& stage, size_t i, DType type, int64_t outputs) {
  if (!p.Has(i)) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(p.NeedConstant(i, type, outputs));
  stage.bias = static_cast<int>(i);
  return OkStatus();
}

Status CheckResidual(Planner& p, size_t i) {
  const slipway_tensor &z = p.input(i), &y = p.output();
  if (z.is_constant) return Unsupported("a residual that is a constant");
  if (z.dtype != y.dtype || z.layout != y.layout || !(p.In(i) == p.Out()))
    return Unsupported("a residual that is not like the output");
  return OkStatus();
}

// Clamp, residual and function of a fused operator behind `main`, which is the plan's last stage.
Status Finish(Planner& p, Stage& main, size_t residual) {
  Planner::Tail tail{-kInfinity, kInfinity, {}};
  if (p.op().domain == "slipway") {
    SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation a, ops::ParseActivation(p.attributes()));
    SLIPWAY_ASSIGN_OR_RETURN(tail, Planner::Split(a));
  }
  const int64_t count = p.Out().count();
  if (p.Has(residual)) {
    SLIPWAY_RETURN_IF_ERROR(CheckResidual(p, residual));
    const Dims all{count};
    p.AddBinary(Binary::kAdd, p.OutputAt(), all, p.InputAt(residual), all, p.OutputAt(), tail.low,
                tail.high);
  } else {
    main.low = tail.low;
    main.high = tail.high;
  }
  return p.AddTail(tail, p.OutputAt(), count);
}

}  // namespace

Status PlanConv(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(2, 1));
  SLIPWAY_RETURN_IF_ERROR(p.NeedFloats(4));
  SLIPWAY_RETURN_IF_ERROR(CheckImage(p.input(0)));
  SLIPWAY_RETURN_IF_ERROR(CheckImage(p.output()));
  SLIPWAY_RETURN_IF_ERROR(p.NeedConstant(1, DType::kFloat32, p.In(1).count()));
  Stage stage;  // stages move when more are added
  stage.kind = Kind::kConv;
  stage.a = p.InputAt(0);
  stage.y = p.OutputAt();
  SLIPWAY_RETURN_IF_ERROR(SetConv(p, stage, 1, p.attributes().Int("group", 1)));
  SLIPWAY_RETURN_IF_ERROR(SetBias(p, stage, 2, DType::kFloat32, stage.outputs));
  p.Add(Kind::kConv, DType::kFloat32, stage.a, stage.y) = stage;
  return p.FinishLast(Finish, 3);
}

Status PlanConvDepthwise(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(3, 1));
  SLIPWAY_RETURN_IF_ERROR(p.NeedFloats(5));
  SLIPWAY_RETURN_IF_ERROR(CheckImage(p.input(0)));
  SLIPWAY_RETURN_IF_ERROR(CheckImage(p.output()));
  const Dims x = p.In(0), w = p.In(1), v = p.In(2), y = p.Out();
  for (size_t i : {size_t{1}, size_t{2}})
    SLIPWAY_RETURN_IF_ERROR(p.NeedConstant(i, DType::kFloat32, p.In(i).count()));
  if (w.rank() != x.rank() || v.rank() != x.rank() || y.rank() != x.rank() || w[1] != x[1] ||
      w.count() != w[0] * w[1] || v[0] != w[0] || v[1] != 1 || y[1] != v[0] || y[0] != x[0])
    return InvalidArgument("the weights do not fit each other");
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation inner,
                           ops::ParseActivation(p.attributes(), "inner", "inner_params"));
  SLIPWAY_ASSIGN_OR_RETURN(const Planner::Tail tail, Planner::Split(inner));
  Dims between = x;
  between[1] = w[0];
  if (!CheckedBytes(DType::kFloat32, between)) return InvalidArgument("far too many elements");
  const Place middle = p.Workspace(static_cast<uint64_t>(between.count()) * 4);
  Stage first;
  first.kind = Kind::kConv;
  first.a = p.InputAt(0);
  first.y = middle;
  first.low = tail.low;
  first.high = tail.high;
  first.batch = x[0] * between.count(2, between.rank());
  first.channels = x[1];
  first.outputs = w[0];
  first.weights = 1;
  first.order = Weights::kConv;
  SLIPWAY_RETURN_IF_ERROR(SetBias(p, first, 3, DType::kFloat32, w[0]));
  p.Add(Kind::kConv, DType::kFloat32, first.a, first.y) = first;
  SLIPWAY_RETURN_IF_ERROR(p.AddTail(tail, middle, between.count()));
  Stage second;
  second.kind = Kind::kConv;
  second.a = middle;
  second.y = p.OutputAt();
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Window window,
                           ops::ResolveWindow(p.attributes(), between, y, std::span(v).subspan(2)));
  second.batch = x[0];
  second.channels = second.outputs = second.group = v[0];
  second.weights = 2;
  second.order = Weights::kConv;
  SLIPWAY_RETURN_IF_ERROR(p.SetWindow(second, window, false));
  SLIPWAY_RETURN_IF_ERROR(SetBias(p, second, 4, DType::kFloat32, v[0]));
  p.Add(Kind::kConv, DType::kFloat32, second.a, second.y) = second;
  return p.FinishLast(Finish, p.num_inputs());
}

Status PlanSqueezeExcite(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(3, 1));
  SLIPWAY_RETURN_IF_ERROR(p.NeedFloats(5));
  SLIPWAY_RETURN_IF_ERROR(CheckImage(p.input(0)));
  SLIPWAY_RETURN_IF_ERROR(CheckImage(p.output()));
  const Dims x = p.In(0), w1 = p.In(1), w2 = p.In(2);
  if (!(x == p.Out()) || w1.rank() < 2 || w2.rank() < 2 || w1[1] != x[1] || w2[0] != x[1] ||
      w1[0] != w2[1] || w1.count() != w1[0] * w1[1] || w2.count() != w2[0] * w2[1])
    return InvalidArgument("the weights do not fit");
  for (size_t i : {size_t{1}, size_t{2}})
    SLIPWAY_RETURN_IF_ERROR(p.NeedConstant(i, DType::kFloat32, p.In(i).count()));
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation a, ops::ParseActivation(p.attributes()));
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation g,
                           ops::ParseActivation(p.attributes(), "gate", "gate_params", "Sigmoid"));
  SLIPWAY_ASSIGN_OR_RETURN(const Planner::Tail inner, Planner::Split(a));
  SLIPWAY_ASSIGN_OR_RETURN(const Planner::Tail gate, Planner::Split(g));
  const int64_t n = x[0], c = x[1], h = w1[0], plane = x.count(2, x.rank());
  const Place means = p.Workspace(static_cast<uint64_t>(n * c) * 4),
              few = p.Workspace(static_cast<uint64_t>(n * h) * 4),
              gates = p.Workspace(static_cast<uint64_t>(n * c) * 4);
  Stage& mean = p.Add(Kind::kGlobalAveragePool, DType::kFloat32, p.InputAt(0), means);
  mean.batch = n;
  mean.in[1] = plane;
  mean.channels = c;
  const auto linear = [&](Place from, int64_t k, int weights, Place to, int64_t outputs,
                          const Planner::Tail& tail) -> Status {
    Stage s;
    s.kind = Kind::kLinear;
    s.a = from;
    s.y = to;
    s.low = tail.low;
    s.high = tail.high;
    s.batch = n;
    s.channels = k;
    s.outputs = outputs;
    s.weights = weights;
    SLIPWAY_RETURN_IF_ERROR(
        SetBias(p, s, static_cast<size_t>(weights) + 2, DType::kFloat32, outputs));
    p.Add(Kind::kLinear, DType::kFloat32, from, to) = s;
    return p.AddTail(tail, to, n * outputs);
  };
  SLIPWAY_RETURN_IF_ERROR(linear(means, c, 1, few, h, inner));
  SLIPWAY_RETURN_IF_ERROR(linear(few, h, 2, gates, c, gate));
  p.AddBinary(Binary::kMul, p.InputAt(0), {n, plane, c}, gates, {n, 1, c}, p.OutputAt(), -kInfinity,
              kInfinity);
  return OkStatus();
}

Status PlanDeconv(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(2, 1));
  SLIPWAY_RETURN_IF_ERROR(p.NeedFloats(3));
  SLIPWAY_RETURN_IF_ERROR(CheckImage(p.input(0)));
  SLIPWAY_RETURN_IF_ERROR(CheckImage(p.output()));
  SLIPWAY_RETURN_IF_ERROR(p.NeedConstant(1, DType::kFloat32, p.In(1).count()));
  const Dims x = p.In(0), w = p.In(1), y = p.Out();
  const int64_t group = p.attributes().Int("group", 1);
  if (w.rank() != x.rank() || y.rank() != x.rank() || group < 1 || w[0] != x[1] ||
      x[1] % group != 0 || w[1] < 1 || w[1] * group != y[1] || y[0] != x[0])
    return InvalidArgument("X " + x.ToString() + ", W " + w.ToString() + " and Y " + y.ToString() +
                           " make no transposed convolution");
  // Of the convolution from Y to X.
  SLIPWAY_ASSIGN_OR_RETURN(
      const ops::Window window,
      ops::ResolveTransposedWindow(p.attributes(), x, y, std::span(w).subspan(2)));
  Stage& s = p.Add(Kind::kDeconv, DType::kFloat32, p.InputAt(0), p.OutputAt());
  s.batch = x[0];
  s.channels = x[1];
  s.outputs = y[1];
  s.group = group;
  s.weights = 1;
  s.order = Weights::kDeconv;
  for (size_t i = 0; i < 2; ++i) {
    const size_t d = i + 1;
    s.in[i] = window.out[d];
    s.out[i] = window.in[d];
    s.kernel[i] = window.kernel[d];
    s.stride[i] = window.stride[d];
    s.dilation[i] = window.kernel[d] == 1 ? 1 : window.dilation[d];
    s.pad_begin[i] = window.pad_begin[d];
    s.pad_end[i] = window.pad_end[d];
    if (s.pad_begin[i] < 0 || s.pad_end[i] < 0) return Unsupported("negative padding");
    const int64_t span = (s.kernel[i] - 1) * s.dilation[i] + 1;
    if (s.kernel[i] > 1 << 12 || s.stride[i] > 1 << 12 || s.dilation[i] > 1 << 12 ||
        s.pad_begin[i] > 1 << 12 || s.pad_end[i] > 1 << 12)
      return Unsupported("a very large window");
    // XNNPACK's tables go astray beyond this.
    if (s.pad_begin[i] >= span || s.pad_end[i] >= span)
      return Unsupported("padding as wide as the window");
    s.adjust[i] = s.out[i] - ((s.in[i] - 1) * s.stride[i] + span - s.pad_begin[i] - s.pad_end[i]);
    if (s.adjust[i] < 0) {  // padded more at the end than is said
      s.pad_end[i] -= s.adjust[i];
      s.adjust[i] = 0;
      if (s.pad_end[i] >= span) return Unsupported("padding as wide as the window");
    }
    if (s.adjust[i] >= s.stride[i]) return Unsupported("output padding as wide as the stride");
  }
  if (window.in[0] != 1 || window.kernel[0] != 1) return Unsupported("three dimensions of space");
  return SetBias(p, s, 2, DType::kFloat32, s.outputs);
}

namespace {

// XNNPACK packs one operand as weights: in every run, where it is no constant.
void AddMatMul(Planner& p, Place a, Place b, Place y, int64_t matrices, int64_t group, int64_t rows,
               int64_t k, int64_t n, Weights order) {
  Stage& s = p.Add(Kind::kMatMul, DType::kFloat32, a, y);
  s.b = b;
  s.matrices = matrices;
  s.group = group;
  s.batch = rows;
  s.channels = k;
  s.outputs = n;
  s.order = order;
}

Status PlanMatMul(Planner& p) {
  const Dims a = p.In(0), b = p.In(1), y = p.Out();
  const int rank = a.rank();
  if (rank < 2 || b.rank() != rank || y.rank() != rank)
    return Unsupported("matrices of different ranks");
  const auto last = static_cast<size_t>(rank - 1);
  for (size_t i = 0; i + 1 < last; ++i) {
    if (a[i] != b[i] || a[i] != y[i]) return Unsupported("matrices that broadcast");
  }
  if (p.input(1).layout != 0 || p.input(0).layout != 0 || p.output().layout != 0)
    return Unsupported("rows that do not lie plain");
  const int64_t rows = a[last - 1], k = a[last], n = b[last];
  if (b[last - 1] != k || y[last - 1] != rows || y[last] != n)
    return InvalidArgument("A " + a.ToString() + ", B " + b.ToString() + " and Y " + y.ToString() +
                           " make no product");
  AddMatMul(p, p.InputAt(0), p.InputAt(1), p.OutputAt(), a.count(0, rank - 2), 1, rows, k, n,
            Weights::kTransposed);
  return OkStatus();
}

}  // namespace

// Heads as matrices of their own: scores, softmax, values.
Status PlanAttention(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(3, 1));
  SLIPWAY_RETURN_IF_ERROR(p.NeedFloats(3));
  for (size_t i = 4; i < p.num_inputs(); ++i) {
    if (p.Has(i)) return Unsupported("cached keys, or their number");
  }
  const ops::Attributes& a = p.attributes();
  if (a.Int("is_causal", 0) != 0 || a.Float("softcap", 0) != 0)
    return Unsupported("is_causal or softcap");
  const Dims q = p.In(0), k = p.In(1), v = p.In(2), y = p.Out();
  for (const slipway_tensor* t : {&p.input(0), &p.input(1), &p.input(2), &p.output()}) {
    if (t->rank != 4) return Unsupported("heads that lie inside of the rows");
    if (t->layout != 0) return Unsupported("rows that do not lie plain");
  }
  const int64_t heads = q[1], rows = q[2], size = q[3], keys = k[2], columns = v[3];
  if (k[0] != q[0] || v[0] != q[0] || k[1] < 1 || heads % k[1] != 0 || v[1] != k[1] ||
      k[3] != size || v[2] != keys || !(y == Dims{q[0], heads, rows, columns}) || size < 1)
    return InvalidArgument("Q " + q.ToString() + ", K " + k.ToString() + " and V " + v.ToString() +
                           " make no attention");
  const int64_t matrices = q[0] * heads, group = heads / k[1];
  const Dims scores{q[0], heads, rows, keys};
  if (!CheckedBytes(DType::kFloat32, scores)) return InvalidArgument("far too many scores");
  const float scale =
      a.Has("scale") ? a.Float("scale", 1) : 1 / std::sqrt(static_cast<float>(size));
  const Place scaled = p.Workspace(static_cast<uint64_t>(q.count()) * 4),
              middle = p.Workspace(static_cast<uint64_t>(scores.count()) * 4);
  p.AddBinary(Binary::kMul, p.InputAt(0), {q.count()}, p.Own({scale}), {1}, scaled, -kInfinity,
              kInfinity);
  AddMatMul(p, scaled, p.InputAt(1), middle, matrices, group, rows, size, keys, Weights::kAsIs);
  if (p.Has(3)) {
    // A query that may see no key gives 0, not what softmax makes of it.
    SLIPWAY_RETURN_IF_ERROR(p.NeedConstant(3, DType::kFloat32, p.In(3).count()));
    for (float f : p.Floats(3)) {
      if (!std::isfinite(f)) return Unsupported("a mask with infinities");
    }
    if (p.In(3).rank() < 2 || p.In(3).back() != keys) return Unsupported("a mask of fewer keys");
    SLIPWAY_ASSIGN_OR_RETURN(const Operands o, Broadcast(scores, p.In(3), scores));
    p.AddBinary(Binary::kAdd, middle, o.a, p.InputAt(3), o.b, middle, -kInfinity, kInfinity);
  }
  Stage& softmax = p.Add(Kind::kSoftmax, DType::kFloat32, middle, middle);
  softmax.channels = keys;
  softmax.batch = matrices * rows;
  AddMatMul(p, middle, p.InputAt(2), p.OutputAt(), matrices, group, rows, keys, columns,
            Weights::kTransposed);
  return OkStatus();
}

Status PlanLinear(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(2, 1));
  const bool fused = p.op().domain == "slipway", gemm = p.op().op == "Gemm";
  SLIPWAY_RETURN_IF_ERROR(p.NeedFloats(4));
  if (p.op().op == "MatMul" && !p.input(1).is_constant) return PlanMatMul(p);
  const ops::Attributes& a = p.attributes();
  const Dims x = p.In(0), w = p.In(1), y = p.Out();
  if (p.input(0).layout != 0 || p.output().layout != 0)
    return Unsupported("rows that do not lie plain");
  if (x.rank() < 1 || y.rank() < 1 || w.rank() != 2) return Unsupported("no matrix of weights");
  SLIPWAY_RETURN_IF_ERROR(p.NeedConstant(1, DType::kFloat32, w.count()));
  if (gemm) {
    if (a.Int("transA", 0) != 0) return Unsupported("transA");
    if (a.Float("alpha", 1) != 1 || (p.Has(2) && a.Float("beta", 1) != 1))
      return Unsupported("alpha or beta");
  }
  const bool rows = (fused && a.Int("transW", 0) != 0) || (gemm && a.Int("transB", 0) != 0);
  const int64_t k = w[rows ? 1 : 0], n = w[rows ? 0 : 1];
  if (k < 1 || n < 1 || x.back() != k || y.back() != n || x.count() / k != y.count() / n)
    return InvalidArgument("X " + x.ToString() + ", W " + w.ToString() + " and Y " + y.ToString() +
                           " make no product");
  Stage s;
  s.kind = Kind::kLinear;
  s.a = p.InputAt(0);
  s.y = p.OutputAt();
  s.batch = x.count() / k;
  s.channels = k;
  s.outputs = n;
  s.weights = 1;
  s.order = rows ? Weights::kAsIs : Weights::kTransposed;
  if (p.Has(2) && p.op().op != "MatMul") {
    if (p.In(2).rank() > 0 && p.In(2).back() != n) return Unsupported("a bias that is no row");
    if (p.In(2).count() != n) return Unsupported("a bias that is no row");
    SLIPWAY_RETURN_IF_ERROR(SetBias(p, s, 2, DType::kFloat32, n));
  }
  p.Add(Kind::kLinear, DType::kFloat32, s.a, s.y) = s;
  return p.FinishLast(Finish, fused ? 3 : p.num_inputs());
}

Status PlanPool(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(1, 1));
  SLIPWAY_RETURN_IF_ERROR(CheckImage(p.input(0)));
  SLIPWAY_RETURN_IF_ERROR(CheckImage(p.output()));
  const bool max = p.op().op == "MaxPool";
  const DType type = p.Type(0);
  if (type != p.OutputType() ||
      (type != DType::kFloat32 && !(max && (type == DType::kInt8 || type == DType::kUInt8))))
    return Unsupported(std::string(DTypeName(type)) + " input");
  const Dims x = p.In(0), y = p.Out();
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Window window, ops::ResolveWindow(p.attributes(), x, y));
  if (y.rank() != x.rank() || y[0] != x[0] || y[1] != x[1])
    return InvalidArgument("X " + x.ToString() + " and Y " + y.ToString() + " make no pool");
  Stage& s = p.Add(max ? Kind::kMaxPool : Kind::kAveragePool, type, p.InputAt(0), p.OutputAt());
  s.batch = x[0];
  s.channels = x[1];
  SLIPWAY_RETURN_IF_ERROR(p.SetWindow(s, window, true));
  if (s.kernel[0] * s.kernel[1] < 2) return Unsupported("a window of one position");
  const bool padded = s.pad_begin[0] + s.pad_begin[1] + s.pad_end[0] + s.pad_end[1] > 0;
  const bool dilated = s.dilation[0] > 1 || s.dilation[1] > 1;
  if (max && dilated && padded) return Unsupported("dilation with padding");
  if (!max && dilated) return Unsupported("dilation");
  if (!max && padded && p.attributes().Int("count_include_pad", 0) != 0)
    return Unsupported("padding that counts in the average");
  s.q_low = type == DType::kUInt8 ? 0 : -128;
  s.q_high = type == DType::kUInt8 ? 255 : 127;
  return OkStatus();
}

Status PlanGlobalPool(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(1, 1));
  const Dims x = p.In(0), y = p.Out();
  SLIPWAY_RETURN_IF_ERROR(CheckImage(p.input(0)));
  if (y.rank() < 2 || y[0] != x[0] || y[1] != x[1] || y.count() != x[0] * x[1])
    return InvalidArgument("the output is not one element a channel");
  if (p.op().op == "GlobalMaxPool") {
    const DType type = p.Type(0);
    if (type != p.OutputType() || type != DType::kFloat32)
      return Unsupported(std::string(DTypeName(type)) + " input");
    Stage& s = p.Add(Kind::kMaxPool, type, p.InputAt(0), p.OutputAt());
    s.batch = x[0];
    s.channels = x[1];
    s.in[0] = s.kernel[0] = x.rank() == 4 ? x[2] : 1;
    s.in[1] = s.kernel[1] = x.back();
    if (s.kernel[0] * s.kernel[1] < 2) return Unsupported("a window of one position");
    return OkStatus();
  }
  SLIPWAY_RETURN_IF_ERROR(p.NeedFloats(1));
  Stage& s = p.Add(Kind::kGlobalAveragePool, DType::kFloat32, p.InputAt(0), p.OutputAt());
  s.batch = x[0];
  s.channels = x[1];
  s.in[1] = x.count(2, x.rank());
  return OkStatus();
}

namespace {

// What QConv and QLinear share: weights of 8 bits, multipliers, bias, no function, no residual.
Status CheckProducts(Planner& p, int64_t outputs) {
  SLIPWAY_RETURN_IF_ERROR(p.NeedConstant(1, DType::kInt8, p.In(1).count()));
  const int64_t scales = p.In(2).count();
  if (scales != 1 && scales != outputs)
    return InvalidArgument("the multiplier must have one element or one an output");
  SLIPWAY_RETURN_IF_ERROR(p.NeedConstant(2, DType::kFloat32, scales));
  for (float m : p.Floats(2)) {
    if (!IsNormal(m) || m >= 256) return Unsupported("a multiplier of zero or of 256 and more");
  }
  if (p.Has(4)) return Unsupported("a residual added before rounding");
  if (p.attributes().String("activation", "none") != "none")
    return Unsupported("a function before rounding");
  return OkStatus();
}

Status FinishCodes(Planner& p, Stage& s, bool flip) {
  s.scales = 2;
  SLIPWAY_RETURN_IF_ERROR(SetBias(p, s, 3, DType::kInt32, s.outputs));
  p.Add(s.kind, s.type, s.a, s.y) = s;
  if (flip) p.AddFlip(p.OutputAt(), p.OutputAt(), p.Out().count());
  return OkStatus();
}

}  // namespace

Status PlanQConv(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(3, 1));
  SLIPWAY_RETURN_IF_ERROR(CheckImage(p.input(0)));
  SLIPWAY_RETURN_IF_ERROR(CheckImage(p.output()));
  Stage s;
  s.kind = Kind::kConv;
  s.type = DType::kInt8;
  s.y = p.OutputAt();
  SLIPWAY_RETURN_IF_ERROR(SetConv(p, s, 1, p.attributes().Int("group", 1)));
  SLIPWAY_RETURN_IF_ERROR(CheckProducts(p, s.outputs));
  SLIPWAY_ASSIGN_OR_RETURN(const bool flip, p.SetCodes(s));
  SLIPWAY_ASSIGN_OR_RETURN(const Planner::Codes x, p.Signed(0, "x_zero_point"));
  s.a = x.at;
  s.a_zero = x.zero;
  return FinishCodes(p, s, flip);
}

// As a convolution of one position: only those have a scale a channel.
Status PlanQLinear(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(3, 1));
  const Dims x = p.In(0), w = p.In(1), y = p.Out();
  if (p.input(0).layout != 0 || p.output().layout != 0)
    return Unsupported("rows that do not lie plain");
  if (x.rank() < 1 || y.rank() < 1 || w.rank() != 2) return Unsupported("no matrix of weights");
  const bool rows = p.attributes().Int("transW", 0) != 0;
  const int64_t k = w[rows ? 1 : 0], n = w[rows ? 0 : 1];
  if (k < 1 || n < 1 || x.back() != k || y.back() != n || x.count() / k != y.count() / n)
    return InvalidArgument("X " + x.ToString() + ", W " + w.ToString() + " and Y " + y.ToString() +
                           " make no product");
  SLIPWAY_RETURN_IF_ERROR(CheckProducts(p, n));
  Stage s;
  s.kind = Kind::kConv;
  s.type = DType::kInt8;
  s.y = p.OutputAt();
  s.batch = x.count() / k;
  s.channels = k;
  s.outputs = n;
  s.weights = 1;
  s.order = rows ? Weights::kAsIs : Weights::kTransposed;
  SLIPWAY_ASSIGN_OR_RETURN(const bool flip, p.SetCodes(s));
  SLIPWAY_ASSIGN_OR_RETURN(const Planner::Codes codes, p.Signed(0, "x_zero_point"));
  s.a = codes.at;
  s.a_zero = codes.zero;
  return FinishCodes(p, s, flip);
}

Status PlanQAveragePool(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(1, 1));
  if (p.attributes().Int("global", 0) == 0) return Unsupported("windows of codes");
  SLIPWAY_RETURN_IF_ERROR(CheckImage(p.input(0)));
  const Dims x = p.In(0), y = p.Out();
  if (y.rank() < 2 || y[0] != x[0] || y[1] != x[1] || y.count() != x[0] * x[1])
    return InvalidArgument("the output is not one element a channel");
  Stage s;
  s.kind = Kind::kGlobalAveragePool;
  s.type = DType::kInt8;
  s.y = p.OutputAt();
  s.batch = x[0];
  s.channels = x[1];
  s.in[1] = x.count(2, x.rank());
  s.a_scale = p.attributes().Float("multiplier", 1);
  if (!(s.a_scale >= 0x1p-8f && s.a_scale < 0x1p8f))
    return Unsupported("a multiplier below 1/256 or of 256 and more");
  if (s.in[1] > 1 << 22) return Unsupported("a very large plane");
  SLIPWAY_ASSIGN_OR_RETURN(const bool flip, p.SetCodes(s));
  SLIPWAY_ASSIGN_OR_RETURN(const Planner::Codes codes, p.Signed(0, "x_zero_point"));
  s.a = codes.at;
  s.a_zero = codes.zero;
  p.Add(s.kind, s.type, s.a, s.y) = s;
  if (flip) p.AddFlip(p.OutputAt(), p.OutputAt(), y.count());
  return OkStatus();
}

}  // namespace slipway::xnnpack
