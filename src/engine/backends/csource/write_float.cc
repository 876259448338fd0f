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
  if (w.op.op == "Gemm" && w.In(0).dtype != DType::kFloat32) return WriteGemm(w);
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  SLIPWAY_ASSIGN_OR_RETURN(const Act act, Activation(w));
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  const bool gemm = w.op.op == "Gemm";
  const auto& a = w.op.attributes;
  std::vector<float> weights = w.Floats(1);
  if (weights.empty() && gemm) return WriteGemm(w);
  if (weights.empty()) return Unsupported("weights that are no constant");
  if (gemm && (a.Float("alpha", 1) != 1 || a.Float("beta", 1) != 1 || a.Int("transA", 0) != 0 ||
               (w.Has(2) && w.Shape(w.In(2)).count() != y.back())))
    return WriteGemm(w);
  const int64_t k = x.back(), n = y.back();
  if (a.Int(gemm ? "transB" : "transW", 0) == 0) weights = Transposed(weights, k, n);
  w.Need("linear");
  w.Call("sw_linear", {Number(y.count() / n), Number(k), Number(n), act.kind, act.a, act.b,
                       w.Input(0, "float"), w.FloatArray(weights), w.InputOrNull(2, "float"),
                       gemm ? "0" : w.InputOrNull(3, "float"), w.Output("float")});
  return OkStatus();
}

// The activation of `x`, to the step's output.
void Apply(SourceWriter& w, const ops::Activation& activation, const std::string& x) {
  w.Need("apply");
  w.Call("sw_apply",
         {Number(w.Shape(w.Out()).count()), Number(static_cast<int64_t>(activation.kind)),
          Number(activation.a), Number(activation.b), x, w.Output("float")});
}

// slipway::Add: with an activation.
Status Add(SourceWriter& w) {
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation activation, ops::ParseActivation(w.op.attributes));
  SLIPWAY_RETURN_IF_ERROR(WriteBinary(w));
  if (activation.kind == ops::ActivationKind::kNone) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  Apply(w, activation, w.Pointer(w.Out(), "const float*"));
  return OkStatus();
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
  if (w.In(0).dtype != DType::kFloat32) {  // what has a form for other types too
    return w.op.op == "Clip" ? WriteClip(w) : WriteUnary(w);
  }
  const auto& attributes = w.op.attributes;
  ops::Activation activation;
  if (w.op.op == "Clip") {
    const auto lo = w.Floats(1), hi = w.Floats(2);
    if ((w.Has(1) && lo.empty()) || (w.Has(2) && hi.empty())) return WriteClip(w);
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
  if (global) {
    window = GlobalWindow(x);
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(window, WindowFields(w, {}, x[1], 1, &pad_end));
  }
  if (w.op.op.ends_with("LpPool")) {
    SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
    const int64_t p = w.op.attributes.Int("p", 2);
    if (p < 1) return InvalidArgument("a p that is not positive");
    w.Need("lppool");
    w.Call("sw_lppool",
           {w.Struct("sw_window", window), Number(p), w.Input(0, "float"), w.Output("float")});
    return OkStatus();
  }
  if (max && w.HasOut(1)) return WriteMaxAt(w, window);
  if (max) {
    const DType t = w.In(0).dtype;
    if (t != DType::kFloat32 && !IsCode(t))
      return Unsupported(std::string("MaxPool of ") + DTypeName(t));
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

constexpr Row kRows[] = {
    {"", "Conv", Conv},
    {"slipway", "Conv", Conv},
    {"slipway", "Linear", Linear},
    {"", "Gemm", Linear},
    {"", "MatMul", WriteMatMul},
    {"slipway", "Add", Add},
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
    {"", "LpPool", Pool},
    {"", "GlobalLpPool", Pool},
    {"", "GlobalAveragePool", Pool},
    {"", "Softmax", Softmax},
    {"", "BatchNormalization", BatchNorm},
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
