// Upgrades of elementwise operators; those of opset 1 that were dropped (Affine, ImageScaler,
// ParametricSoftplus, Scale, ScaledTanh) become what replaced them.

#include <algorithm>
#include <array>

#include "model/frontends/onnx/tensor_proto.h"
#include "model/frontends/onnx/upgrade_ops.h"

namespace slipway::onnx {

using ir::Attributes;
using ir::Tensor;
using ir::Value;

Status Clip(OldNode& n, Upgrader& u) {
  if (n.opset >= 11) return OkStatus();
  n.inputs.resize(3, nullptr);
  const char* names[] = {"min", "max"};
  for (size_t i = 0; i < 2; ++i) {
    if (!n.attributes.Has(names[i])) continue;
    n.inputs[i + 1] = u.ScalarLike(n, names[i], n.input(0), n.attributes.Float(names[i], 0));
    n.attributes.Erase(names[i]);
  }
  return OkStatus();
}

namespace {

// Up to opset 5, Cast names its type.
constexpr struct {
  const char* name;
  DType type;
} kTypeNames[] = {
    {"FLOAT", DType::kFloat32},  {"UINT8", DType::kUInt8},   {"INT8", DType::kInt8},
    {"UINT16", DType::kUInt16},  {"INT16", DType::kInt16},   {"INT32", DType::kInt32},
    {"INT64", DType::kInt64},    {"BOOL", DType::kBool},     {"FLOAT16", DType::kFloat16},
    {"DOUBLE", DType::kFloat64}, {"UINT32", DType::kUInt32}, {"UINT64", DType::kUInt64},
    {"STRING", DType::kString},
};

}  // namespace

Status Cast(OldNode& n, Upgrader&) {
  if (const auto* v = n.attributes.Find("to"); v && std::holds_alternative<std::string>(*v)) {
    const std::string name = std::get<std::string>(*v);
    for (const auto& row : kTypeNames) {
      if (name == row.name) n.attributes.Set("to", static_cast<int64_t>(row.type));
    }
  }
  const auto to = n.attributes.Int("to", 0);
  if (to == static_cast<int64_t>(DType::kString)) {
    return Unsupported(n.Describe() + " casts to strings, which Slipway does not compute with");
  }
  if (to <= 0 || to > 255 || !IsKnown(static_cast<DType>(to))) {
    return InvalidArgument(n.Describe() + ": element type " + std::to_string(to) +
                           " in attribute 'to' is unknown");
  }
  return OkStatus();
}

Status CastLike(OldNode& n, Upgrader& u) {
  const DType to = u.FindType(n.input(1));
  if (!IsKnown(to)) {
    return Unsupported(
        n.Describe() +
        ": the type it should cast to is not known before the model runs; use Cast instead");
  }
  n.op = "Cast";
  n.inputs.resize(1);
  n.attributes.Set("to", static_cast<int64_t>(to));
  return OkStatus();
}

Status Dropout(OldNode& n, Upgrader&) {
  if (n.opset >= 12 && n.input(2)) {
    // In training mode with ratio 0 nothing is dropped: PyTorch exports functional dropout so.
    const Tensor* mode = n.input(2)->constant();
    const Tensor* ratio = n.input(1) ? n.input(1)->constant() : nullptr;
    const bool off = (mode && mode->ToInts() == std::vector<int64_t>{0}) ||
                     (ratio && ratio->ToDoubles() == std::vector<double>{0});
    if (!off && mode && (ratio || !n.input(1)))
      return Training(n, "dropout is active (training_mode)");
    if (!off) {  // known when the model runs: the kernel refuses then
      n.attributes.Erase("seed");
      return OkStatus();
    }
  }
  if (n.opset < 10 && n.used.size() > 1 && n.used[1]) return Training(n, "its mask output is used");
  if (n.opset < 7 && n.attributes.Int("is_test", 0) == 0) return Training(n, "is_test is 0");
  n.inputs.resize(1);
  n.attributes = {};
  return OkStatus();
}

// Before opset 7, broadcasting was asked for, and the second operand could be placed at an axis of
// the first.
Status Binary(OldNode& n, Upgrader& u) {
  if (n.opset >= 7) return OkStatus();
  const bool placed = n.attributes.Int("broadcast", 0) != 0 && n.attributes.Has("axis");
  int64_t axis = n.attributes.Int("axis", 0);
  for (const char* a : {"broadcast", "axis", "consumed_inputs"}) n.attributes.Erase(a);
  if (!placed) return OkStatus();
  const int64_t rank = u.RankOf(n.input(0)), other = u.RankOf(n.input(1));
  if (rank < 0 || other < 0) return NeedsKnownRank(n, 7);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis + other > rank)
    return InvalidArgument(n.Describe() + ": axis is out of range");
  std::vector<int64_t> axes;
  for (int64_t i = other; i < rank - axis; ++i) axes.push_back(i);
  if (!axes.empty()) n.inputs[1] = u.Emit(n, "Unsqueeze", {n.inputs[1], u.Ints(n, "axes", axes)});
  return OkStatus();
}

Status PRelu(OldNode& n, Upgrader& u) {
  if (n.opset >= 7 || u.RankOf(n.input(1)) != 1) return OkStatus();
  const int64_t rank = u.RankOf(n.input(0));
  if (rank < 0) return NeedsKnownRank(n, 7);
  if (n.input(1)->type().shape->front().Is(1) || rank < 2) return OkStatus();
  std::vector<int64_t> axes;  // the slope belongs to the channels
  for (int64_t i = 1; i < rank - 1; ++i) axes.push_back(i);
  if (!axes.empty()) n.inputs[1] = u.Emit(n, "Unsqueeze", {n.inputs[1], u.Ints(n, "axes", axes)});
  return OkStatus();
}

namespace {

Status NeedsInput(const OldNode& n) {
  return n.input(0) ? OkStatus() : InvalidArgument(n.Describe() + " has no input");
}

}  // namespace

Status Affine(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedsInput(n));
  Value* x = n.input(0);
  Value* alpha = u.ScalarLike(n, "alpha", x, n.attributes.Float("alpha", 1));
  Value* scaled = u.Emit(n, "Mul", {x, alpha});
  n.inputs = {scaled, u.ScalarLike(n, "beta", x, n.attributes.Float("beta", 0))};
  n.op = "Add";
  n.attributes = {};
  return OkStatus();
}

Status Scale(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedsInput(n));
  n.inputs = {n.input(0), u.ScalarLike(n, "scale", n.input(0), n.attributes.Float("scale", 1))};
  n.op = "Mul";
  n.attributes = {};
  return OkStatus();
}

// x * scale + bias[channel] of [N, C, H, W].
Status ImageScaler(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedsInput(n));
  const auto given = n.attributes.Floats("bias");
  const std::vector<float> bias(given.begin(), given.end());
  Value* x = n.input(0);
  Value* scaled =
      u.Emit(n, "Mul", {x, u.ScalarLike(n, "scale", x, n.attributes.Float("scale", 1))});
  Value* shift = u.Constant(
      n, "bias", Tensor::Of<float>({static_cast<int64_t>(bias.size()), 1, 1}, std::span(bias)));
  if (const DType t = u.TypeOf(x); t == DType::kFloat16 || t == DType::kFloat64)
    shift = u.Emit(n, "Cast", {shift}, {{"to", static_cast<int64_t>(t)}});
  n.inputs = {scaled, shift};
  n.op = "Add";
  n.attributes = {};
  return OkStatus();
}

// alpha * log(1 + exp(beta * x)) and alpha * tanh(beta * x).
static Status ScaledFunction(OldNode& n, Upgrader& u, const char* function) {
  SLIPWAY_RETURN_IF_ERROR(NeedsInput(n));
  Value* x = n.input(0);
  Value* beta = u.ScalarLike(n, "beta", x, n.attributes.Float("beta", 1));
  Value* y = u.Emit(n, function, {u.Emit(n, "Mul", {x, beta})});
  n.inputs = {y, u.ScalarLike(n, "alpha", x, n.attributes.Float("alpha", 1))};
  n.op = "Mul";
  n.attributes = {};
  return OkStatus();
}

Status ParametricSoftplus(OldNode& n, Upgrader& u) { return ScaledFunction(n, u, "Softplus"); }
Status ScaledTanh(OldNode& n, Upgrader& u) { return ScaledFunction(n, u, "Tanh"); }

// The defaults got more digits with opset 6.
Status Selu(OldNode& n, Upgrader&) {
  if (n.opset >= 6) return OkStatus();
  if (!n.attributes.Has("alpha")) n.attributes.Set("alpha", 1.6732f);
  if (!n.attributes.Has("gamma")) n.attributes.Set("gamma", 1.0507f);
  return OkStatus();
}

}  // namespace slipway::onnx
