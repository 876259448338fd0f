// Calls of the float32 operators.

#include <algorithm>
#include <limits>

#include "engine/backends/csource/writer.h"
#include "model/ops/activation.h"

namespace slipway::backends::csource {
namespace {

Status NeedFloats(const SourceWriter& w) {
  for (size_t i = 0; i < w.step->inputs.size(); ++i) {
    if (w.Has(i) && w.In(i).dtype != DType::kFloat32 &&
        w.In(i).kind != format::TensorKind::kConstant)
      return Unsupported(std::string(DTypeName(w.In(i).dtype)) + " inputs");
  }
  if (w.Out().dtype != DType::kFloat32)
    return Unsupported(std::string(DTypeName(w.Out().dtype)) + " outputs");
  return OkStatus();
}

struct Act {
  std::string kind, a, b;
};
Result<Act> Activation(const SourceWriter& w) {
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation activation, ops::ParseActivation(w.op.attributes));
  return Act{Number(static_cast<int64_t>(activation.kind)), Number(activation.a),
             Number(activation.b)};
}

Status Conv(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  const Dims weights = w.Shape(w.In(1));
  SLIPWAY_ASSIGN_OR_RETURN(const Act act, Activation(w));
  SLIPWAY_ASSIGN_OR_RETURN(
      const std::string window,
      WindowFields(w, std::span(weights).subspan(2), weights[0], w.op.attributes.Int("group", 1)));
  w.Need("conv");
  w.Call("sw_conv", {w.Struct("sw_window", window), act.kind, act.a, act.b, w.Input(0, "float"),
                     w.Input(1, "float"), w.InputOrNull(2, "float"), w.InputOrNull(3, "float"),
                     w.Output("float")});
  return OkStatus();
}

std::vector<float> Transposed(const std::vector<float>& v, int64_t rows, int64_t columns) {
  std::vector<float> out(v.size());
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j)
      out[static_cast<size_t>(j * rows + i)] = v[static_cast<size_t>(i * columns + j)];
  }
  return out;
}

Status Linear(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  SLIPWAY_ASSIGN_OR_RETURN(const Act act, Activation(w));
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  const bool gemm = w.op.op == "Gemm";
  const auto& a = w.op.attributes;
  std::vector<float> weights = w.Floats(1);
  if (weights.empty()) return Unsupported("weights that are no constant");
  if (gemm && (a.Float("alpha", 1) != 1 || a.Float("beta", 1) != 1 || a.Int("transA", 0) != 0 ||
               (w.Has(2) && w.Shape(w.In(2)).count() != y.back())))
    return Unsupported("a Gemm with alpha, beta, transA or a bias for each row");
  const int64_t k = x.back(), n = y.back();
  if (a.Int(gemm ? "transB" : "transW", 0) == 0) weights = Transposed(weights, k, n);
  w.Need("linear");
  w.Call("sw_linear", {Number(y.count() / n), Number(k), Number(n), act.kind, act.a, act.b,
                       w.Input(0, "float"), w.FloatArray(weights), w.InputOrNull(2, "float"),
                       gemm ? "0" : w.InputOrNull(3, "float"), w.Output("float")});
  return OkStatus();
}

Status MatMul(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  const Dims a = w.Shape(w.In(0)), b = w.Shape(w.In(1)), y = w.Shape(w.Out());
  if (a.rank() < 2 || b.rank() < 2) return Unsupported("a MatMul of vectors");
  std::vector<int64_t> offsets;
  MatrixOffsets(a, b, y, &offsets);
  w.Need("matmul");
  w.Call("sw_matmul", {Number(static_cast<int64_t>(offsets.size() / 2)), w.Int32Array(offsets),
                       Number(a[a.size() - 2]), Number(a.back()), Number(b.back()),
                       w.Input(0, "float"), w.Input(1, "float"), w.Output("float")});
  return OkStatus();
}

struct Expression {
  const char *op, *text;
};
constexpr Expression kBinary[] = {{"Add", "a + b"},         {"Sub", "a - b"},
                                  {"Mul", "a * b"},         {"Div", "a / b"},
                                  {"Max", "a > b ? a : b"}, {"Min", "a < b ? a : b"},
                                  {"Pow", "powf(a, b)"},    {"PRelu", "a < 0.0f ? a * b : a"}};
constexpr Expression kUnary[] = {
    {"Exp", "expf(x)"},         {"Log", "logf(x)"},
    {"Sqrt", "sqrtf(x)"},       {"Neg", "-x"},
    {"Abs", "fabsf(x)"},        {"Erf", "erff(x)"},
    {"Reciprocal", "1.0f / x"}, {"Floor", "floorf(x)"},
    {"Ceil", "ceilf(x)"},       {"Sin", "sinf(x)"},
    {"Cos", "cosf(x)"},         {"Softplus", "x > 0.0f ? x + log1pf(expf(-x)) : log1pf(expf(x))"}};

// The activation of `x`, to the step's output.
void Apply(SourceWriter& w, const ops::Activation& activation, const std::string& x) {
  w.Need("apply");
  w.Call("sw_apply",
         {Number(w.Shape(w.Out()).count()), Number(static_cast<int64_t>(activation.kind)),
          Number(activation.a), Number(activation.b), x, w.Output("float")});
}

Status Binary(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  for (size_t i : {size_t{0}, size_t{1}}) {
    if (!w.Has(i) || w.In(i).dtype != DType::kFloat32)
      return Unsupported(w.op.op + " of another type than float32");
  }
  if (w.step->inputs.size() > 2) return Unsupported(w.op.op + " of more than two inputs");
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation activation, ops::ParseActivation(w.op.attributes));
  for (const Expression& e : kBinary) {
    if (w.op.op != e.op) continue;
    const std::string name = e.op;
    w.Need("binary:" + name + ":" + e.text);
    w.Call(
        "sw_" + name,
        {w.Struct("sw_nd", BroadcastFields(w.Shape(w.Out()), w.Shape(w.In(0)), w.Shape(w.In(1)))),
         w.Input(0, "float"), w.Input(1, "float"), w.Output("float")});
    if (activation.kind != ops::ActivationKind::kNone)
      Apply(w, activation, w.Pointer(w.Out(), "const float*"));
    return OkStatus();
  }
  return Unsupported("an operator that is not known");
}

Status Unary(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  for (const Expression& e : kUnary) {
    if (w.op.op != e.op) continue;
    w.Need("unary:" + w.op.op + ":" + e.text);
    w.Call("sw_" + w.op.op,
           {Number(w.Shape(w.In(0)).count()), w.Input(0, "float"), w.Output("float")});
    return OkStatus();
  }
  return Unsupported("an operator that is not known");
}

// Operators that are an activation, with their attributes.
struct Function {
  const char* op;
  ops::ActivationKind kind;
  const char* a = nullptr;
  float a_default = 0;
  const char* b = nullptr;
  float b_default = 0;
};
constexpr Function kFunctions[] = {
    {"Relu", ops::ActivationKind::kRelu},
    {"LeakyRelu", ops::ActivationKind::kLeakyRelu, "alpha", 0.01f},
    {"Sigmoid", ops::ActivationKind::kSigmoid},
    {"HardSigmoid", ops::ActivationKind::kHardSigmoid, "alpha", 0.2f, "beta", 0.5f},
    {"HardSwish", ops::ActivationKind::kHardSwish},
    {"Swish", ops::ActivationKind::kSwish, "alpha", 1},
    {"Gelu", ops::ActivationKind::kGelu},
    {"Tanh", ops::ActivationKind::kTanh},
    {"Elu", ops::ActivationKind::kElu, "alpha", 1},
};

Status Activated(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  const auto& attributes = w.op.attributes;
  ops::Activation activation;
  if (w.op.op == "Clip") {
    const auto lo = w.Floats(1), hi = w.Floats(2);
    if ((w.Has(1) && lo.empty()) || (w.Has(2) && hi.empty()))
      return Unsupported("a Clip whose limits are no constant");
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    activation = {ops::ActivationKind::kClip, lo.empty() ? -kInfinity : lo[0],
                  hi.empty() ? kInfinity : hi[0]};
  }
  for (const Function& f : kFunctions) {
    if (w.op.op != f.op) continue;
    activation = {f.kind, f.a ? attributes.Float(f.a, f.a_default) : 0,
                  f.b ? attributes.Float(f.b, f.b_default) : 0};
    if (f.kind == ops::ActivationKind::kGelu && attributes.String("approximate", "none") == "tanh")
      activation.kind = ops::ActivationKind::kGeluTanh;
  }
  Apply(w, activation, w.Input(0, "float"));
  return OkStatus();
}

Status Pool(SourceWriter& w) {
  const bool global = w.op.op.starts_with("Global"), max = w.op.op.ends_with("MaxPool");
  const Dims x = w.Shape(w.In(0));
  std::string window, pad_end = "{0, 0, 0}";
  if (w.step->outputs.size() > 1 && w.step->outputs[1] >= 0)
    return Unsupported("MaxPool with indices");
  if (global) {
    window = GlobalWindow(x);
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(window, WindowFields(w, {}, x[1], 1, &pad_end));
  }
  if (max) {
    const DType t = w.In(0).dtype;
    const std::string suffix = t == DType::kFloat32 ? "_f32" : t == DType::kInt8 ? "_s8" : "_u8";
    const std::string type = t == DType::kFloat32 ? "float"
                             : t == DType::kInt8  ? "int8_t"
                                                  : "uint8_t";
    w.Need("max" + suffix);
    w.Call("sw_max" + suffix, {w.Struct("sw_window", window), w.Input(0, type), w.Output(type)});
    return OkStatus();
  }
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  w.Need("average");
  w.Call("sw_average",
         {w.Struct("sw_window", window), Number(w.op.attributes.Int("count_include_pad", 0)),
          w.Array("int32_t", pad_end, 3, 4), w.Input(0, "float"), w.Output("float")});
  return OkStatus();
}

Status Softmax(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  const Dims x = w.Shape(w.In(0));
  const int axis = static_cast<int>(Axis(w.op.attributes.Int("axis", -1), x.rank()));
  if (axis < 0 || axis >= x.rank()) return InvalidArgument("an axis outside of the input");
  w.Need("softmax");
  w.Call("sw_softmax",
         {Number(x.count(0, axis)), Number(x[static_cast<size_t>(axis)]),
          Number(x.count(axis + 1, x.rank())), w.Input(0, "float"), w.Output("float")});
  return OkStatus();
}

Status LayerNorm(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  const Dims x = w.Shape(w.In(0));
  const int axis = static_cast<int>(Axis(w.op.attributes.Int("axis", -1), x.rank()));
  if (axis < 0 || axis >= x.rank()) return InvalidArgument("an axis outside of the input");
  const int64_t count = x.count(axis, x.rank());
  for (size_t i : {size_t{1}, size_t{2}}) {
    if (w.Has(i) && w.Shape(w.In(i)).count() != count)
      return Unsupported("LayerNormalization whose scale is broadcast");
  }
  for (size_t i = 1; i < w.step->outputs.size(); ++i) {
    if (w.step->outputs[i] >= 0)
      return Unsupported("LayerNormalization with the mean as an output");
  }
  w.Need("layernorm");
  w.Call("sw_layernorm", {Number(x.count(0, axis)), Number(count),
                          Number(w.op.attributes.Float("epsilon", 1e-5f)), w.Input(0, "float"),
                          w.InputOrNull(1, "float"), w.InputOrNull(2, "float"), w.Output("float")});
  return OkStatus();
}

Status BatchNorm(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  const Dims x = w.Shape(w.In(0));
  const int64_t channels = x.rank() > 1 ? x[1] : 1;
  w.Need("batchnorm");
  w.Call("sw_batchnorm",
         {Number(x[0]), Number(channels), Number(x.count(2, std::max(2, x.rank()))),
          Number(w.op.attributes.Float("epsilon", 1e-5f)), w.Input(0, "float"), w.Input(1, "float"),
          w.Input(2, "float"), w.Input(3, "float"), w.Input(4, "float"), w.Output("float")});
  return OkStatus();
}

Status Mean(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  const Dims x = w.Shape(w.In(0));
  std::vector<int64_t> axes = w.Ints(1);
  if (w.Has(1) && axes.empty() && w.In(1).kind != format::TensorKind::kConstant)
    return Unsupported("axes that are no constant");
  if (axes.empty()) {
    if (w.op.attributes.Int("noop_with_empty_axes", 0) != 0)
      return Unsupported("ReduceMean without axes");
    for (int i = 0; i < x.rank(); ++i) axes.push_back(i);
  }
  std::vector<bool> reduced(x.size(), false);
  for (const int64_t axis : axes) reduced[static_cast<size_t>(Axis(axis, x.rank()))] = true;
  std::vector<int64_t> kept_dims, kept_strides, inner_dims, inner_strides, none_kept, none_inner;
  for (int i = 0; i < x.rank(); ++i) {
    const int64_t stride = x.count(i + 1, x.rank());
    (reduced[static_cast<size_t>(i)] ? inner_dims : kept_dims).push_back(x[static_cast<size_t>(i)]);
    (reduced[static_cast<size_t>(i)] ? inner_strides : kept_strides).push_back(stride);
  }
  none_kept.assign(kept_dims.size(), 0);
  none_inner.assign(inner_dims.size(), 0);
  w.Need("mean");
  w.Call("sw_mean", {w.Struct("sw_nd", NdFields(kept_dims, none_kept, kept_strides)),
                     w.Struct("sw_nd", NdFields(inner_dims, none_inner, inner_strides)),
                     w.Input(0, "float"), w.Output("float")});
  return OkStatus();
}

constexpr Row kRows[] = {
    {"", "Conv", Conv},
    {"slipway", "Conv", Conv},
    {"slipway", "Linear", Linear},
    {"", "Gemm", Linear},
    {"", "MatMul", MatMul},
    {"", "Add", Binary},
    {"slipway", "Add", Binary},
    {"", "Sub", Binary},
    {"", "Mul", Binary},
    {"", "Div", Binary},
    {"", "Max", Binary},
    {"", "Min", Binary},
    {"", "Pow", Binary},
    {"", "PRelu", Binary},
    {"", "Exp", Unary},
    {"", "Log", Unary},
    {"", "Sqrt", Unary},
    {"", "Neg", Unary},
    {"", "Abs", Unary},
    {"", "Erf", Unary},
    {"", "Reciprocal", Unary},
    {"", "Floor", Unary},
    {"", "Ceil", Unary},
    {"", "Sin", Unary},
    {"", "Cos", Unary},
    {"", "Softplus", Unary},
    {"", "Relu", Activated},
    {"", "Clip", Activated},
    {"", "LeakyRelu", Activated},
    {"", "Sigmoid", Activated},
    {"", "HardSigmoid", Activated},
    {"", "HardSwish", Activated},
    {"", "Swish", Activated},
    {"", "Gelu", Activated},
    {"", "Tanh", Activated},
    {"", "Elu", Activated},
    {"", "MaxPool", Pool},
    {"", "AveragePool", Pool},
    {"", "GlobalMaxPool", Pool},
    {"", "GlobalAveragePool", Pool},
    {"", "Softmax", Softmax},
    {"", "LayerNormalization", LayerNorm},
    {"", "BatchNormalization", BatchNorm},
    {"", "ReduceMean", Mean},
};

}  // namespace

std::span<const Row> FloatRows() { return kRows; }

void MatrixOffsets(const Dims& a, const Dims& b, const Dims& y, std::vector<int64_t>* offsets) {
  const auto outer = [](const Dims& d) { return Dims(std::span(d).first(d.size() - 2)); };
  const Dims ya = outer(y), aa = outer(a), bb = outer(b);
  const int64_t batch = ya.count();
  for (int64_t t = 0; t < batch; ++t) {
    for (const auto* operand : {&aa, &bb}) {
      const Dims& whole = operand == &aa ? a : b;
      int64_t rest = t, at = 0, step = whole[whole.size() - 2] * whole.back();
      for (int i = ya.rank() - 1; i >= 0; --i) {
        const int64_t index = rest % ya[static_cast<size_t>(i)];
        rest /= ya[static_cast<size_t>(i)];
        const int own = i - (ya.rank() - operand->rank());
        if (own < 0) continue;
        const int64_t d = (*operand)[static_cast<size_t>(own)];
        at += d == 1 ? 0 : index * step;
        step *= d;
      }
      offsets->push_back(at);
    }
  }
}

std::string GlobalWindow(const Dims& x) {
  const int64_t plane = x.count(2, x.rank());
  return Number(x[0]) + ", " + Number(x[1]) + ", " + Number(x[1]) + ", 1, {1, 1, " + Number(plane) +
         "}, {1, 1, 1}, {1, 1, " + Number(plane) + "}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}";
}

}  // namespace slipway::backends::csource
