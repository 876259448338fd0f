// Activations, arithmetic and normalisation as Caffe layers.

#include <algorithm>
#include <cmath>

#include "model/frontends/caffe/export_context.h"

namespace slipway::caffe {
namespace {

using Ints = std::vector<int64_t>;

template <const char* kType>
Status Plain(ExportContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  c.Layer(kType, {x}, {c.Top()});
  return OkStatus();
}
constexpr char kReLU[] = "ReLU", kSigmoid[] = "Sigmoid", kTanH[] = "TanH", kAbsVal[] = "AbsVal",
               kBnll[] = "BNLL", kExp[] = "Exp", kSplit[] = "Split", kMish[] = "Mish",
               kLog[] = "Log";

Status PowerOf(ExportContext& c, double power, double scale, double shift) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  c.Power(x, power, scale, shift, c.Top());
  return OkStatus();
}
Status Sqrt(ExportContext& c) { return PowerOf(c, 0.5, 1, 0); }
Status Neg(ExportContext& c) { return PowerOf(c, 1, -1, 0); }
Status Reciprocal(ExportContext& c) { return PowerOf(c, -1, 1, 0); }
Status Pow(ExportContext& c) {
  const auto power = ExportContext::Scalar(c.node().constant_input(1));
  if (!power || c.In() != c.Out()) return c.No("Caffe raises to one constant power");
  return PowerOf(c, static_cast<double>(*power), 1, 0);
}

// One number set in a layer's parameters.
Status WithNumber(ExportContext& c, const char* type, const char* group, const char* field,
                  float v) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  c.Layer(type, {x}, {c.Top()}).AddMessage(group).Add(field, Number(static_cast<double>(v)));
  return OkStatus();
}
Status LeakyRelu(ExportContext& c) {
  return WithNumber(c, "ReLU", "relu_param", "negative_slope", c.A().Float("alpha", 0.01f));
}
Status Elu(ExportContext& c) {
  return WithNumber(c, "ELU", "elu_param", "alpha", c.A().Float("alpha", 1));
}

Status Clip(ExportContext& c) {
  const auto low = ExportContext::Scalar(c.node().constant_input(1)),
             high = ExportContext::Scalar(c.node().constant_input(2));
  if ((c.node().input(1) && !low) || (c.node().input(2) && !high))
    return c.No("its bounds are computed");
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  if (low == 0.0f && (!high || std::isinf(*high) || high == 6.0f)) {
    c.Layer(high == 6.0f ? "ReLU6" : "ReLU", {x}, {c.Top()});
    return OkStatus();
  }
  constexpr float kAll = 3.4028234663852886e38f;
  Message& p = c.Layer("Clip", {x}, {c.Top()}).AddMessage("clip_param");
  p.Add("min", Number(std::clamp(low.value_or(-kAll), -kAll, kAll)));
  p.Add("max", Number(std::clamp(high.value_or(kAll), -kAll, kAll)));
  return OkStatus();
}

// clamp(alpha * x + beta, 0, 1) by ReLU6, which more readers have than Clip.
std::string Gate(ExportContext& c, const std::string& x, double alpha, double beta,
                 const std::string& to) {
  const std::string moved = c.Power(x, 1, 6 * alpha, 6 * beta, c.Fresh(to + "_moved"));
  const std::string clipped = c.Fresh(to + "_clipped");
  c.Layer("ReLU6", {moved}, {clipped});
  return c.Power(clipped, 1, 1.0 / 6, 0, to);
}
Status HardSigmoid(ExportContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  Gate(c, x, static_cast<double>(c.A().Float("alpha", 0.2f)),
       static_cast<double>(c.A().Float("beta", 0.5f)), c.Top());
  return OkStatus();
}
Status HardSwish(ExportContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  const std::string gate = Gate(c, x, 1.0 / 6, 0.5, c.Fresh(c.Top() + "_gate"));
  c.Eltwise("PROD", {x, gate}, c.Top());
  return OkStatus();
}
Status Swish(ExportContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  const double alpha = static_cast<double>(c.A().Float("alpha", 1));
  const std::string in = alpha == 1 ? x : c.Power(x, 1, alpha, 0, c.Fresh(c.Top() + "_scaled"));
  const std::string gate = c.Fresh(c.Top() + "_gate");
  c.Layer("Sigmoid", {in}, {gate});
  c.Eltwise("PROD", {x, gate}, c.Top());
  return OkStatus();
}

Status PRelu(ExportContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const ir::Tensor* slope, c.Weight(1, "the slope"));
  const Dims x = c.In();
  // One number a channel: [C, 1, ...] or with a batch of 1 before it.
  Dims s = slope->dims();
  while (s.rank() >= x.rank() && s.rank() > 0 && s[0] == 1)
    s = Dims(std::span<const int64_t>(s.begin() + 1, s.end()));
  if (slope->count() != 1 &&
      (x.rank() < 2 || slope->count() != x[1] || s.rank() != x.rank() - 1 || s[0] != x[1]))
    return c.No("the slope must be one number for each channel");
  SLIPWAY_ASSIGN_OR_RETURN(const std::string bottom, c.Bottom(0));
  Message& layer = c.Layer("PReLU", {bottom}, {c.Top()});
  if (slope->count() == 1) layer.AddMessage("prelu_param").Add("channel_shared", "true");
  c.Blobs(c.Top(), "PReLU", {{Dims{slope->count()}, slope->bytes()}});
  return OkStatus();
}

// --- two operands ---

enum class Op { kAdd, kSub, kMul, kDiv };

// `t`, which broadcasts over x, as a Scale layer's blob over [axis, axis + rank of the blob).
struct Spread {
  int axis = 0;
  Dims dims;
  std::vector<float> values;
};

std::optional<Spread> SpreadOver(const ir::Tensor& t, const Dims& x) {
  const int shift = x.rank() - t.dims().rank();
  if (shift < 0) return std::nullopt;
  int first = x.rank(), last = -1;
  for (int i = shift; i < x.rank(); ++i) {
    const int64_t d = t.dims()[static_cast<size_t>(i - shift)];
    if (d != 1 && d != x[static_cast<size_t>(i)]) return std::nullopt;
    if (d == 1) continue;
    first = std::min(first, i);
    last = i;
  }
  Spread s;
  s.axis = first > last ? 0 : first;
  for (int i = s.axis; i <= std::max(last, s.axis); ++i)
    s.dims.push_back(x[static_cast<size_t>(i)]);
  if (s.dims.count() > 1 << 26) return std::nullopt;
  const ir::Tensor from = t.Aligned();
  const int64_t n = s.dims.count();
  s.values.resize(static_cast<size_t>(n));
  for (int64_t k = 0; k < n; ++k) {
    int64_t rest = k, at = 0, stride = 1;
    for (int i = s.dims.rank() - 1; i >= 0; --i) {
      const int64_t index = rest % s.dims[static_cast<size_t>(i)];
      rest /= s.dims[static_cast<size_t>(i)];
      const int own = s.axis + i - shift;
      if (own >= 0 && t.dims()[static_cast<size_t>(own)] != 1) {
        at += index * stride;
        stride *= t.dims()[static_cast<size_t>(own)];
      }
    }
    s.values[static_cast<size_t>(k)] = from.data<float>()[at];
  }
  return s;
}

// A Scale layer with blobs: x * scale, and + shift where there is one.
void ScaleBy(ExportContext& c, const std::string& x, int axis, const Dims& dims,
             std::span<const uint8_t> scale, std::span<const uint8_t> shift,
             const std::string& to) {
  Message& p = c.Layer("Scale", {x}, {to}).AddMessage("scale_param");
  p.Add("axis", std::to_string(axis));
  p.Add("num_axes", std::to_string(dims.rank()));
  p.Add("bias_term", shift.empty() ? "false" : "true");
  std::vector<std::pair<Dims, std::span<const uint8_t>>> blobs{{dims, scale}};
  if (!shift.empty()) blobs.emplace_back(dims, shift);
  c.Blobs(to, "Scale", blobs);
}

// x op constant, or constant op x.
Status WithConstant(ExportContext& c, Op op, size_t at) {
  const ir::Tensor& t = *c.node().constant_input(at);
  SLIPWAY_ASSIGN_OR_RETURN(std::string x, c.Bottom(1 - at));
  const bool first = at == 0;
  if (const auto number = ExportContext::Scalar(&t); number && c.In(1 - at) == c.Out()) {
    const double v = static_cast<double>(*number);
    if (op == Op::kAdd) c.Power(x, 1, 1, v, c.Top());
    if (op == Op::kSub) c.Power(x, 1, first ? -1 : 1, first ? v : -v, c.Top());
    if (op == Op::kMul) c.Power(x, 1, v, 0, c.Top());
    if (op == Op::kDiv && !first) c.Power(x, 1, 1 / v, 0, c.Top());
    if (op == Op::kDiv && first) c.Power(x, v == 0 ? 1 : -1, v == 0 ? 0 : 1 / v, 0, c.Top());
    return OkStatus();
  }
  auto s = c.In(1 - at) == c.Out() ? SpreadOver(t, c.In(1 - at)) : std::nullopt;
  if (!s)
    return c.No("the constant " + t.dims().ToString() + " does not spread over " +
                c.In(1 - at).ToString());
  const int64_t n = s->dims.count();
  if (op == Op::kDiv && first) x = c.Power(x, -1, 1, 0, c.Fresh(c.Top() + "_inverse"));
  if (op == Op::kDiv && !first) {
    for (float& v : s->values) v = 1 / v;
  }
  if (op == Op::kSub && !first) {
    for (float& v : s->values) v = -v;
  }
  const auto values = c.Own(std::move(s->values));
  if (op == Op::kMul || op == Op::kDiv) {
    ScaleBy(c, x, s->axis, s->dims, values, {}, c.Top());
  } else {
    ScaleBy(c, x, s->axis, s->dims, c.Filled(n, op == Op::kSub && first ? -1.0f : 1.0f), values,
            c.Top());
  }
  return OkStatus();
}

// Two values of which one, `small`, broadcasts over the other.
Status Broadcast(ExportContext& c, Op op, size_t small) {
  const Dims x = c.In(1 - small), s = c.In(small);
  const int shift = x.rank() - s.rank();
  if (x != c.Out() || shift < 0)
    return c.No("Caffe lets one value broadcast over the other; here both would over " +
                c.Out().ToString());
  int first = x.rank(), last = -1;
  for (int i = shift; i < x.rank(); ++i) {
    if (s[static_cast<size_t>(i - shift)] == 1 && x[static_cast<size_t>(i)] != 1) continue;
    if (s[static_cast<size_t>(i - shift)] == 1) continue;
    first = std::min(first, i);
    last = i;
  }
  Dims run;
  bool whole = true;
  for (int i = first; i <= last; ++i) {
    run.push_back(x[static_cast<size_t>(i)]);
    whole &= s[static_cast<size_t>(i - shift)] == x[static_cast<size_t>(i)];
  }
  if (first > last) {
    first = 0;
    run = {1};
    whole = x.rank() > 0 && x[0] == 1;
  }
  if (!whole)
    return c.No("Caffe broadcasts over leading and trailing dimensions only; " + s.ToString() +
                " over " + x.ToString() + " is neither");
  SLIPWAY_ASSIGN_OR_RETURN(std::string big, c.Bottom(1 - small));
  SLIPWAY_ASSIGN_OR_RETURN(std::string little, c.Bottom(small));
  if (s != run) little = c.Reshape(little, run, c.Fresh(c.Top() + "_spread"));
  // big - little, little - big, big / little, little / big
  std::string& turned = small == 1 ? little : big;
  if (op == Op::kSub) turned = c.Power(turned, 1, -1, 0, c.Fresh(c.Top() + "_negative"));
  if (op == Op::kDiv) turned = c.Power(turned, -1, 1, 0, c.Fresh(c.Top() + "_inverse"));
  const bool product = op == Op::kMul || op == Op::kDiv;
  Message& p = c.Layer(product ? "Scale" : "Bias", {big, little}, {c.Top()})
                   .AddMessage(product ? "scale_param" : "bias_param");
  p.Add("axis", std::to_string(first));
  return OkStatus();
}

template <Op kOp>
Status Binary(ExportContext& c) {
  const ir::Value *a = c.node().input(0), *b = c.node().input(1);
  for (const size_t at : {size_t{1}, size_t{0}}) {
    const ir::Tensor* t = c.node().constant_input(at);
    if (t && t->dtype() == DType::kFloat32 && !c.node().input(1 - at)->is_constant() &&
        c.In(1 - at) == c.Out()) {
      return WithConstant(c, kOp, at);
    }
  }
  const Dims x = c.Shape(a), y = c.Shape(b);
  if (x != y)
    return Broadcast(
        c, kOp, y.count() < x.count() || (y.count() == x.count() && y.rank() < x.rank()) ? 1 : 0);
  SLIPWAY_ASSIGN_OR_RETURN(const std::string first, c.Bottom(0));
  SLIPWAY_ASSIGN_OR_RETURN(std::string second, c.Bottom(1));
  if (kOp == Op::kDiv) second = c.Power(second, -1, 1, 0, c.Fresh(c.Top() + "_inverse"));
  if (kOp == Op::kSub) {
    c.Eltwise("SUM", {first, second}, c.Top(), {1, -1});
  } else {
    c.Eltwise(kOp == Op::kAdd ? "SUM" : "PROD", {first, second}, c.Top());
  }
  return OkStatus();
}

// Sum, Max, Min of any number of values of one shape.
Status Many(ExportContext& c, const char* operation, bool negative) {
  Names bottoms;
  for (size_t i = 0; i < c.node().inputs().size(); ++i) {
    if (c.In(i) != c.Out())
      return c.No("Caffe takes values of one shape here; got " + c.In(i).ToString() + " for " +
                  c.Out().ToString());
    SLIPWAY_ASSIGN_OR_RETURN(std::string b, c.Bottom(i));
    if (negative) b = c.Power(b, 1, -1, 0, c.Fresh(c.Top() + "_negative"));
    bottoms.push_back(std::move(b));
  }
  if (!negative) {
    c.Eltwise(operation, bottoms, c.Top());
    return OkStatus();
  }
  c.Power(c.Eltwise(operation, bottoms, c.Fresh(c.Top() + "_most")), 1, -1, 0, c.Top());
  return OkStatus();
}
Status Sum(ExportContext& c) { return Many(c, "SUM", false); }
Status Max(ExportContext& c) { return Many(c, "MAX", false); }
Status Min(ExportContext& c) { return Many(c, "MAX", true); }

// --- normalisation ---

Status BatchNormalization(ExportContext& c) {
  const ir::Tensor* t[4];
  for (size_t i = 0; i < 4; ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(t[i], c.Weight(i + 1, "a parameter"));
  }
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  const std::string inner = c.Fresh(c.Top() + "_norm");
  Message& p = c.Layer("BatchNorm", {x}, {inner}).AddMessage("batch_norm_param");
  p.Add("use_global_stats", "true");
  p.Add("eps", Number(static_cast<double>(c.A().Float("epsilon", 1e-5f))));
  c.Blobs(
      inner, "BatchNorm",
      {{t[2]->dims(), t[2]->bytes()}, {t[3]->dims(), t[3]->bytes()}, {Dims{1}, c.Filled(1, 1)}});
  ScaleBy(c, inner, 1, t[0]->dims(), t[0]->bytes(), t[1]->bytes(), c.Top());
  return OkStatus();
}

// Taken apart: MVN adds its epsilon outside the root.
Status InstanceNormalization(ExportContext& c) {
  const Dims x = c.In();
  if (x.rank() != 4) return c.No("Caffe normalises images of four dimensions");
  SLIPWAY_ASSIGN_OR_RETURN(const ir::Tensor* scale, c.Weight(1, "the scale"));
  SLIPWAY_ASSIGN_OR_RETURN(const ir::Tensor* shift, c.Weight(2, "the bias"));
  SLIPWAY_ASSIGN_OR_RETURN(const std::string bottom, c.Bottom(0));
  const std::string top = c.Top(), centred = c.Fresh(top + "_centred"),
                    mean = c.Fresh(top + "_mean");
  c.Layer("MVN", {bottom}, {centred}).AddMessage("mvn_param").Add("normalize_variance", "false");
  const std::string square = c.Eltwise("PROD", {centred, centred}, c.Fresh(top + "_square"));
  Message& p = c.Layer("Pooling", {square}, {mean}).AddMessage("pooling_param");
  p.Add("pool", "AVE");
  p.Add("global_pooling", "true");
  const std::string root = c.Power(
      mean, -0.5, 1, static_cast<double>(c.A().Float("epsilon", 1e-5f)), c.Fresh(top + "_root"));
  const std::string flat = c.Reshape(root, {x[0], x[1]}, c.Fresh(top + "_flat"));
  const std::string norm = c.Fresh(top + "_norm");
  c.Layer("Scale", {centred, flat}, {norm}).AddMessage("scale_param").Add("axis", "0");
  ScaleBy(c, norm, 1, scale->dims(), scale->bytes(), shift->bytes(), top);
  return OkStatus();
}

Status Lrn(ExportContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  if (c.A().Int("size", 5) % 2 == 0) return c.No("Caffe's LRN needs an odd size");
  Message& p = c.Layer("LRN", {x}, {c.Top()}).AddMessage("lrn_param");
  p.Add("local_size", std::to_string(c.A().Int("size", 5)));
  p.Add("alpha", Number(static_cast<double>(c.A().Float("alpha", 1e-4f))));
  p.Add("beta", Number(static_cast<double>(c.A().Float("beta", 0.75f))));
  p.Add("k", Number(static_cast<double>(c.A().Float("bias", 1))));
  return OkStatus();
}

Status Softmax(ExportContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  c.Layer("Softmax", {x}, {c.Top()})
      .AddMessage("softmax_param")
      .Add("axis", std::to_string(c.Axis(-1)));
  return OkStatus();
}
Status LogSoftmax(ExportContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  const std::string soft = c.Fresh(c.Top() + "_softmax");
  c.Layer("Softmax", {x}, {soft})
      .AddMessage("softmax_param")
      .Add("axis", std::to_string(c.Axis(-1)));
  c.Layer("Log", {soft}, {c.Top()});
  return OkStatus();
}

constexpr ExportEntry kEntries[] = {
    {"", "Abs", Plain<kAbsVal>},
    {"", "Add", Binary<Op::kAdd>},
    {"", "BatchNormalization", BatchNormalization},
    {"", "Clip", Clip},
    {"", "Div", Binary<Op::kDiv>},
    {"", "Dropout", Plain<kSplit>},
    {"", "Elu", Elu},
    {"", "Exp", Plain<kExp>},
    {"", "HardSigmoid", HardSigmoid},
    {"", "HardSwish", HardSwish},
    {"", "Identity", Plain<kSplit>},
    {"", "InstanceNormalization", InstanceNormalization},
    {"", "LRN", Lrn},
    {"", "LeakyRelu", LeakyRelu},
    {"", "Log", Plain<kLog>},
    {"", "LogSoftmax", LogSoftmax},
    {"", "Max", Max},
    {"", "Min", Min},
    {"", "Mish", Plain<kMish>},
    {"", "Mul", Binary<Op::kMul>},
    {"", "Neg", Neg},
    {"", "PRelu", PRelu},
    {"", "Pow", Pow},
    {"", "Reciprocal", Reciprocal},
    {"", "Relu", Plain<kReLU>},
    {"", "Sigmoid", Plain<kSigmoid>},
    {"", "Softmax", Softmax},
    {"", "Softplus", Plain<kBnll>},
    {"", "Sqrt", Sqrt},
    {"", "Sub", Binary<Op::kSub>},
    {"", "Sum", Sum},
    {"", "Swish", Swish},
    {"", "Tanh", Plain<kTanH>},
};

}  // namespace

std::span<const ExportEntry> ElementwiseExports() { return kEntries; }

}  // namespace slipway::caffe
