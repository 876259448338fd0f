#include "model/frontends/onnx/upgrade.h"

#include <algorithm>
#include <array>
#include <limits>

#include "model/frontends/onnx/contrib.h"
#include "model/frontends/onnx/tensor_proto.h"
#include "model/frontends/onnx/upgrade_quantize.h"
#include "model/ir/infer.h"
#include "model/ir/schema.h"
#include "model/ops/quantize.h"

namespace slipway::onnx {

using ir::Attributes;
using ir::Tensor;
using ir::Value;

std::string OldNode::Describe() const { return op + " node " + Quote(name); }

void OldNode::SetResult(size_t i, Value* value) {
  if (i >= outputs.size() || outputs[i].empty()) return;
  results.resize(outputs.size(), nullptr);
  results[i] = value;
}

std::string Upgrader::FreshName(const OldNode& node, std::string_view hint) {
  std::string base = node.name + "/" + std::string(hint);
  std::string name = base;
  int& next = suffixes_[base];  // remembered, so that many equal names do not cost a search each
  while (is_taken_(name) || graph_->FindValue(name)) name = base + "_" + std::to_string(++next);
  return name;
}

Value* Upgrader::Constant(const OldNode& node, std::string_view hint, Tensor tensor) {
  return graph_->AddConstant(FreshName(node, hint), std::move(tensor));
}

Value* Upgrader::Ints(const OldNode& node, std::string_view hint, std::span<const int64_t> values) {
  return Constant(node, hint, Tensor::Of<int64_t>({static_cast<int64_t>(values.size())}, values));
}

Value* Upgrader::Emit(const OldNode& node, std::string_view op, std::vector<Value*> inputs,
                      Attributes attributes, std::string_view domain) {
  ir::Node* made = graph_->AddNode({.op = std::string(op),
                                    .inputs = std::move(inputs),
                                    .attributes = std::move(attributes),
                                    .domain = std::string(domain),
                                    .name = node.name + "/" + std::string(op),
                                    .outputs = {FreshName(node, op)}});
  made->sources = {node.name};
  return made->output();
}

std::vector<Value*> Upgrader::EmitMany(const OldNode& node, std::string_view op,
                                       std::vector<Value*> inputs, size_t count,
                                       Attributes attributes, std::string_view domain) {
  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i)
    names.push_back(FreshName(node, std::string(op) + ":" + std::to_string(i)));
  ir::Node* made = graph_->AddNode({.op = std::string(op),
                                    .inputs = std::move(inputs),
                                    .attributes = std::move(attributes),
                                    .domain = std::string(domain),
                                    .name = node.name + "/" + std::string(op),
                                    .outputs = std::move(names)});
  made->sources = {node.name};
  std::vector<Value*> out;
  for (size_t i = 0; i < count; ++i) out.push_back(made->output(i));
  return out;
}

DType Upgrader::TypeOf(const Value* value) const {
  constexpr int kFar = 256;  // bounds the walk on long chains
  for (int step = 0; value && step < kFar; ++step) {
    if (value->dtype() != DType::kUndefined) return value->dtype();
    const ir::Node* n = value->producer();
    if (!n) return DType::kUndefined;
    const std::string& op = n->op();
    if (n->domain() == ir::kSlipwayDomain) {
      if (op == "Dequantize") {
        value = n->input(1);
        continue;
      }
      if (op != "Quantize") return DType::kUndefined;
      if (const DType small = ops::SmallFloatKind(n->attributes.String("kind", "affine"));
          small != DType::kUndefined)
        return small;
      const bool is_signed = n->attributes.Int("signed", 1) != 0;
      return n->attributes.Int("bits", 8) <= 8 ? (is_signed ? DType::kInt8 : DType::kUInt8)
                                               : (is_signed ? DType::kInt16 : DType::kUInt16);
    }
    if (op == "Cast") return static_cast<DType>(n->attributes.Int("to", 0));
    if (op == "ConstantOfShape") return static_cast<DType>(n->attributes.Int("dtype", 1));
    if (op == "ConvInteger" || op == "MatMulInteger") return DType::kInt32;
    if (op == "DynamicQuantizeLinear")
      return value->producer_index() == 1 ? DType::kFloat32 : DType::kUInt8;
    if (op == "Shape" || op == "Size" || op == "ArgMax" || op == "ArgMin") return DType::kInt64;
    if (op == "Equal" || op == "Less" || op == "Greater" || op == "LessOrEqual" ||
        op == "GreaterOrEqual" || op == "Not" || op == "And" || op == "Or" || op == "Xor") {
      return DType::kBool;
    }
    if ((op == "TopK" || op == "MaxPool") && value->producer_index() == 1) return DType::kInt64;
    if (op == "Dropout" && value->producer_index() == 1) return DType::kBool;
    value = n->input(op == "Where" ? 1 : op == "OneHot" ? 2 : 0);
  }
  return DType::kUndefined;
}

int64_t Upgrader::RankOf(const Value* value) {
  constexpr int kMostInferences = 64;
  if (!value) return -1;
  if (!value->type().shape && inferences_++ < kMostInferences) (void)ir::InferShapes(*graph_).ok();
  return value->type().shape ? static_cast<int64_t>(value->type().shape->size()) : -1;
}

namespace {

// Towards zero, held in the range of T; NaN becomes 0.
template <typename T>
T Saturate(float value) {
  if (!(value == value)) return 0;
  const auto low = static_cast<double>(std::numeric_limits<T>::min());
  const auto high = static_cast<double>(std::numeric_limits<T>::max());
  if (value <= low) return std::numeric_limits<T>::min();
  if (value >= high) return std::numeric_limits<T>::max();
  return static_cast<T>(value);
}

}  // namespace

Value* Upgrader::ScalarLike(const OldNode& node, std::string_view hint, const Value* x,
                            float value) {
  switch (TypeOf(x)) {
    case DType::kFloat64:
      return Constant(node, hint, Tensor::Scalar<double>(value));
    case DType::kInt32:
      return Constant(node, hint, Tensor::Scalar<int32_t>(Saturate<int32_t>(value)));
    case DType::kInt64:
      return Constant(node, hint, Tensor::Scalar<int64_t>(Saturate<int64_t>(value)));
    case DType::kInt8:
      return Constant(node, hint, Tensor::Scalar<int8_t>(Saturate<int8_t>(value)));
    case DType::kUInt8:
      return Constant(node, hint, Tensor::Scalar<uint8_t>(Saturate<uint8_t>(value)));
    case DType::kInt16:
      return Constant(node, hint, Tensor::Scalar<int16_t>(Saturate<int16_t>(value)));
    case DType::kUInt16:
      return Constant(node, hint, Tensor::Scalar<uint16_t>(Saturate<uint16_t>(value)));
    case DType::kUInt32:
      return Constant(node, hint, Tensor::Scalar<uint32_t>(Saturate<uint32_t>(value)));
    case DType::kUInt64:
      return Constant(node, hint, Tensor::Scalar<uint64_t>(Saturate<uint64_t>(value)));
    case DType::kFloat16:
    case DType::kBFloat16: {
      Value* wide = Constant(node, hint, Tensor::Scalar<float>(value));
      return Emit(node, "Cast", {wide}, {{"to", static_cast<int64_t>(TypeOf(x))}});
    }
    default:
      return Constant(node, hint, Tensor::Scalar<float>(value));
  }
}

namespace {

Status Training(const OldNode& n, const std::string& what) {
  return Unsupported(n.Describe() + ": " + what +
                     "; export the model in inference mode (model.eval())");
}

// Moves an ints attribute to input `index`; false when the attribute is absent.
bool IntsToInput(OldNode& n, Upgrader& u, const char* attribute, size_t index) {
  if (!n.attributes.Has(attribute)) return false;
  const auto values = n.attributes.Ints(attribute);
  if (n.inputs.size() <= index) n.inputs.resize(index + 1, nullptr);
  n.inputs[index] = u.Ints(n, attribute, values);
  n.attributes.Erase(attribute);
  return true;
}

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

Status Slice(OldNode& n, Upgrader& u) {
  if (n.opset >= 10) return OkStatus();
  const size_t count = n.attributes.Ints("starts").size();
  if (n.attributes.Ints("ends").size() != count || count == 0) {
    return InvalidArgument(n.Describe() +
                           ": 'starts' and 'ends' must be given and of equal length");
  }
  IntsToInput(n, u, "starts", 1);
  IntsToInput(n, u, "ends", 2);
  IntsToInput(n, u, "axes", 3);
  return OkStatus();
}

Status Pad(OldNode& n, Upgrader& u) {
  if (n.opset >= 11) return OkStatus();
  if (!IntsToInput(n, u, "pads", 1))
    return InvalidArgument(n.Describe() + ": attribute 'pads' is missing");
  const float value = n.attributes.Float("value", 0);
  n.attributes.Erase("value");
  n.inputs.resize(3, nullptr);
  if (value != 0) n.inputs[2] = u.ScalarLike(n, "value", n.input(0), value);
  return OkStatus();
}

Status Squeeze(OldNode& n, Upgrader& u) {
  if (n.opset < 13) IntsToInput(n, u, "axes", 1);
  return OkStatus();
}

Status Unsqueeze(OldNode& n, Upgrader& u) {
  if (n.opset < 13 && !IntsToInput(n, u, "axes", 1)) {
    return InvalidArgument(n.Describe() + ": attribute 'axes' is missing");
  }
  return OkStatus();
}

Status Reduce(OldNode& n, Upgrader& u) {
  if (n.opset < (n.op == "ReduceSum" ? 13 : 18)) IntsToInput(n, u, "axes", 1);
  return OkStatus();
}

// log(sum(x)) and log(sum(exp(x))), the second shifted by the maximum so that it does not overflow.
Status ReduceLog(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(Reduce(n, u));
  if (n.inputs.empty() || !n.inputs[0]) return InvalidArgument(n.Describe() + " has no input");
  Value* axes = n.input(1);
  if (n.attributes.Int("noop_with_empty_axes", 0) != 0 &&
      (!axes || !axes->constant() || axes->constant()->count() == 0)) {
    return Unsupported(n.Describe() + ": noop_with_empty_axes without known axes");
  }
  if (n.op == "ReduceLogSum") {
    Value* sum = u.Emit(n, "ReduceSum", n.inputs, n.attributes);
    n.op = "Log";
    n.inputs = {sum};
    n.attributes = {};
    return OkStatus();
  }
  Attributes keep = n.attributes;
  keep.Set("keepdims", int64_t{1});
  Value* largest = u.Emit(n, "ReduceMax", {n.inputs[0], axes}, keep);
  Value* shifted = u.Emit(n, "Sub", {n.inputs[0], largest});
  Value* sum = u.Emit(n, "ReduceSum", {u.Emit(n, "Exp", {shifted}), axes}, keep);
  Value* log = u.Emit(n, "Log", {sum});
  if (n.attributes.Int("keepdims", 1) != 0) {
    n.op = "Add";
    n.inputs = {log, largest};
  } else {
    Value* y = u.Emit(n, "Add", {log, largest});
    n.op = axes ? "Squeeze" : "Reshape";
    n.inputs = {y, axes ? axes : u.Ints(n, "scalar", {})};
  }
  n.attributes = {};
  return OkStatus();
}

Status Split(OldNode& n, Upgrader& u) {
  if (n.opset < 13) IntsToInput(n, u, "split", 1);
  if (!n.input(1) && !n.attributes.Has("num_outputs")) {
    n.attributes.Set("num_outputs", static_cast<int64_t>(n.outputs.size()));
  }
  if (n.input(1)) n.attributes.Erase("num_outputs");
  return OkStatus();
}

Status Dropout(OldNode& n, Upgrader&) {
  if (n.opset >= 12 && n.input(2)) {
    // In training mode with ratio 0 nothing is dropped: PyTorch exports functional dropout so.
    const Tensor* mode = n.input(2)->constant();
    const Tensor* ratio = n.input(1) ? n.input(1)->constant() : nullptr;
    const bool off = (mode && mode->ToInts() == std::vector<int64_t>{0}) ||
                     (ratio && ratio->ToDoubles() == std::vector<double>{0});
    if (!off) return Training(n, "dropout is active (training_mode)");
  }
  if (n.opset < 10 && n.used.size() > 1 && n.used[1]) return Training(n, "its mask output is used");
  if (n.opset < 7 && n.attributes.Int("is_test", 0) == 0) return Training(n, "is_test is 0");
  n.inputs.resize(1);
  n.attributes = {};
  return OkStatus();
}

Status BatchNormalization(OldNode& n, Upgrader&) {
  if (n.attributes.Int("spatial", 1) != 1) {
    return Unsupported(n.Describe() +
                       ": spatial=0 (statistics for every position) is not supported; export with "
                       "opset 9 or newer");
  }
  if (n.attributes.Int("training_mode", 0) != 0) return Training(n, "training_mode is 1");
  for (size_t i = 1; i < n.used.size(); ++i) {
    if (n.used[i]) return Training(n, "output " + Quote(n.outputs[i]) + " exists only in training");
  }
  if (!n.outputs.empty()) n.outputs.resize(1);
  if (n.opset < 7 && n.attributes.Int("is_test", 0) == 0) return Training(n, "is_test is 0");
  for (const char* a : {"spatial", "momentum", "training_mode", "is_test", "consumed_inputs"})
    n.attributes.Erase(a);
  return OkStatus();
}

Status TopK(OldNode& n, Upgrader& u) {
  if (n.opset >= 10) return OkStatus();
  if (!n.attributes.Has("k")) return InvalidArgument(n.Describe() + ": attribute 'k' is missing");
  const int64_t k[] = {n.attributes.Int("k", 0)};
  n.attributes.Erase("k");
  n.inputs.resize(2, nullptr);
  n.inputs[1] = u.Ints(n, "k", k);
  return OkStatus();
}

// Upsample 7..9 and Resize 10 sample at x_out / scale; the nearest element is the one below when
// growing, above when shrinking (what ONNX Runtime does; the old specification is silent).
Status OldResize(OldNode& n, Upgrader& u) {
  if (n.attributes.Has("scales")) {
    const auto scales = n.attributes.Floats("scales");
    n.inputs.resize(2, nullptr);
    n.inputs[1] =
        u.Constant(n, "scales", Tensor::Of<float>({static_cast<int64_t>(scales.size())}, scales));
    n.attributes.Erase("scales");
  }
  Value* scales = n.input(1);
  if (!scales) return InvalidArgument(n.Describe() + ": scales are missing");
  bool shrinks = false;
  if (const Tensor* t = scales->constant()) {
    const auto s = t->ToDoubles();
    shrinks = std::any_of(s.begin(), s.end(), [](double v) { return v < 1; });
  }
  std::string mode(n.attributes.String("mode", "nearest"));
  if (mode == "bilinear" || mode == "trilinear") mode = "linear";
  n.op = "Resize";
  n.inputs = {n.input(0), nullptr, scales};
  n.attributes = {{"mode", mode}, {"coordinate_transformation_mode", std::string("asymmetric")}};
  if (mode == "nearest") n.attributes.Set("nearest_mode", std::string(shrinks ? "ceil" : "floor"));
  return OkStatus();
}

Status Resize(OldNode& n, Upgrader& u) {
  if (n.opset < 11) return OldResize(n, u);
  // Up to opset 12 an absent roi or scales is written as an empty tensor.
  for (size_t i = 1; i < n.inputs.size(); ++i) {
    const Tensor* t = n.inputs[i] ? n.inputs[i]->constant() : nullptr;
    if (t && t->count() == 0) n.inputs[i] = nullptr;
  }
  if (n.attributes.String("coordinate_transformation_mode", "") == "tf_half_pixel_for_nn") {
    // (x + 0.5) / scale rounded down is half_pixel rounded half up.
    if (n.attributes.String("nearest_mode", "round_prefer_floor") != "floor" ||
        n.attributes.String("mode", "nearest") != "nearest") {
      return Unsupported(
          n.Describe() +
          ": tf_half_pixel_for_nn is supported with mode nearest and nearest_mode floor only");
    }
    n.attributes.Set("coordinate_transformation_mode", std::string("half_pixel"));
    n.attributes.Set("nearest_mode", std::string("round_prefer_ceil"));
  }
  if (n.attributes.String("coordinate_transformation_mode", "") != "tf_crop_and_resize" &&
      n.inputs.size() > 1) {
    n.inputs[1] = nullptr;  // roi has a meaning only there
  }
  return OkStatus();
}

Status Softmax(OldNode& n, Upgrader&) {
  // The matrix view is replaced in RewriteWithShapes.
  if (n.opset < 13 && !n.attributes.Has("axis")) n.attributes.Set("axis", int64_t{1});
  return OkStatus();
}

// Up to opset 20 scale and bias have one element a group, afterwards one a channel: each is
// repeated C / groups times.
Status GroupNormalization(OldNode& n, Upgrader& u) {
  if (n.opset >= 21) return OkStatus();
  const int64_t groups = n.attributes.Int("num_groups", 0);
  if (groups <= 0 || !n.input(0) || !n.input(1) || !n.input(2)) {
    return InvalidArgument(n.Describe() +
                           ": it needs num_groups > 0, an input, a scale and a bias");
  }
  Value* channels = u.Emit(n, "Shape", {n.input(0)}, {{"start", int64_t{1}}, {"end", int64_t{2}}});
  Value* repeat = u.Emit(n, "Div", {channels, u.Ints(n, "groups", std::array{groups})});
  Value* shape = u.Emit(n, "Concat", {u.Ints(n, "groups", std::array{groups}), repeat},
                        {{"axis", int64_t{0}}});
  for (size_t i = 1; i <= 2; ++i) {
    Value* column =
        u.Emit(n, "Reshape", {n.inputs[i], u.Ints(n, "column", std::array<int64_t, 2>{groups, 1})});
    Value* repeated = u.Emit(n, "Expand", {column, shape});
    n.inputs[i] = u.Emit(n, "Reshape", {repeated, u.Ints(n, "flat", std::array<int64_t, 1>{-1})});
  }
  return OkStatus();
}

Status ConstantOfShape(OldNode& n, Upgrader&) {
  auto it = n.tensors.find("value");
  if (it == n.tensors.end()) return OkStatus();
  const Tensor& t = it->second;
  n.attributes.Set("dtype", static_cast<int64_t>(t.dtype()));
  if (IsFloating(t.dtype())) {
    const auto v = t.ToDoubles();
    if (v.size() != 1) return InvalidArgument(n.Describe() + ": 'value' must have one element");
    n.attributes.Set("value_float", static_cast<float>(v[0]));
  } else {
    const auto v = t.ToInts();
    if (v.size() != 1) return InvalidArgument(n.Describe() + ": 'value' must have one element");
    n.attributes.Set("value_int", v[0]);
  }
  n.tensors.clear();
  return OkStatus();
}

Status Cast(OldNode& n, Upgrader&) {
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
  const DType to = u.TypeOf(n.input(1));
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

Status Attention(OldNode& n, Upgrader&) {
  for (size_t i = 4; i < n.inputs.size(); ++i) {
    if (n.inputs[i]) {
      return Unsupported(n.Describe() +
                         ": a key/value cache as an input is not supported; export the model "
                         "without past key values");
    }
  }
  for (size_t i = 1; i < n.used.size(); ++i) {
    if (n.used[i])
      return Unsupported(n.Describe() + ": only the first output is supported, " +
                         Quote(n.outputs[i]) + " is used too");
  }
  n.inputs.resize(std::min<size_t>(n.inputs.size(), 4));
  n.outputs.resize(std::min<size_t>(n.outputs.size(), 1));
  n.attributes.Erase("qk_matmul_output_mode");
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
  if (rank < 0 || other < 0) {
    return Unsupported(
        n.Describe() +
        ": broadcasting along an axis needs known ranks; convert the model to opset 7 or newer");
  }
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
  if (rank < 0)
    return Unsupported(
        n.Describe() +
        ": the rank of its input must be known; convert the model to opset 7 or newer");
  if (n.input(1)->type().shape->front().Is(1) || rank < 2) return OkStatus();
  std::vector<int64_t> axes;  // the slope belongs to the channels
  for (int64_t i = 1; i < rank - 1; ++i) axes.push_back(i);
  if (!axes.empty()) n.inputs[1] = u.Emit(n, "Unsqueeze", {n.inputs[1], u.Ints(n, "axes", axes)});
  return OkStatus();
}

Status Gemm(OldNode& n, Upgrader&) {
  if (n.opset < 7) n.attributes.Erase("broadcast");
  return OkStatus();
}

// x != x
Status IsNan(OldNode& n, Upgrader& u) {
  Value* equal = u.Emit(n, "Equal", {n.input(0), n.input(0)});
  n.op = "Not";
  n.inputs = {equal};
  return OkStatus();
}

// ONNX Runtime's name for RMSNormalization, written without a domain.
Status SimplifiedLayerNormalization(OldNode& n, Upgrader&) {
  n.op = "RMSNormalization";
  return OkStatus();
}

struct Row {
  const char* op;
  Status (*upgrade)(OldNode&, Upgrader&);
};

// Operators that some opset in 6..25 writes differently from the IR. The rest pass as they are.
constexpr Row kRows[] = {
    {"Add", Binary},
    {"And", Binary},
    {"Attention", Attention},
    {"BatchNormalization", BatchNormalization},
    {"Cast", Cast},
    {"CastLike", CastLike},
    {"Clip", Clip},
    {"ConstantOfShape", ConstantOfShape},
    {"DequantizeLinear", DequantizeLinear},
    {"Div", Binary},
    {"Dropout", Dropout},
    {"Equal", Binary},
    {"Gemm", Gemm},
    {"Greater", Binary},
    {"GroupNormalization", GroupNormalization},
    {"IsNaN", IsNan},
    {"Less", Binary},
    {"LogSoftmax", Softmax},
    {"Mul", Binary},
    {"Or", Binary},
    {"PRelu", PRelu},
    {"Pad", Pad},
    {"Pow", Binary},
    {"QLinearConv", QLinearConv},
    {"QLinearMatMul", QLinearMatMul},
    {"QuantizeLinear", QuantizeLinear},
    {"ReduceL1", Reduce},
    {"ReduceL2", Reduce},
    {"ReduceLogSum", ReduceLog},
    {"ReduceLogSumExp", ReduceLog},
    {"ReduceMax", Reduce},
    {"ReduceMean", Reduce},
    {"ReduceMin", Reduce},
    {"ReduceProd", Reduce},
    {"ReduceSum", Reduce},
    {"ReduceSumSquare", Reduce},
    {"Resize", Resize},
    {"SimplifiedLayerNormalization", SimplifiedLayerNormalization},
    {"Slice", Slice},
    {"Softmax", Softmax},
    {"Split", Split},
    {"Squeeze", Squeeze},
    {"Sub", Binary},
    {"TopK", TopK},
    {"Unsqueeze", Unsqueeze},
    {"Upsample", OldResize},
    {"Xor", Binary},
};

const Row* FindRow(std::string_view op) {
  for (const Row& row : kRows) {
    if (op == row.op) return &row;
  }
  return nullptr;
}

}  // namespace

bool Upgrader::Knows(std::string_view op) {
  return op == "Constant" || FindRow(op) || ir::FindOp("", op);
}

bool Upgrader::KnowsContrib(std::string_view domain, std::string_view op) {
  return FindContrib(domain, op) != nullptr;
}

Status Upgrader::Upgrade(OldNode* node) {
  const std::string described = node->Describe();
  if (node->opset < 7) node->attributes.Erase("consumed_inputs");  // a hint of the earliest opsets
  if (ContribUpgrade upgrade = FindContrib(node->domain, node->op)) {
    const std::string domain = node->domain;
    node->opset = ir::kOpset;  // these upgrades make current operators
    SLIPWAY_RETURN_IF_ERROR(upgrade(*node, *this));
    if (node->domain == domain) node->domain.clear();
    for (size_t i = 0; i < node->results.size(); ++i) {
      if (!node->results[i]) continue;
      node->outputs[i].clear();
      node->used[i] = false;
    }
  } else if (const Row* row = FindRow(node->op)) {
    SLIPWAY_RETURN_IF_ERROR(row->upgrade(*node, *this));
  }
  while (!node->inputs.empty() && !node->inputs.back()) node->inputs.pop_back();
  while (!node->outputs.empty() && node->outputs.back().empty()) node->outputs.pop_back();
  const ir::OpSchema* schema = ir::FindOp(node->domain, node->op);
  if (!schema)
    return Internal(described + " became " + node->op + ", which the operator table does not have");
  if (!node->tensors.empty()) {
    return Unsupported(described + ": tensor attribute " + Quote(node->tensors.begin()->first) +
                       " is not supported");
  }
  if (schema->max_outputs >= 0) {
    const auto most = static_cast<size_t>(schema->max_outputs);
    for (size_t i = most; i < node->outputs.size(); ++i) {
      if (i < node->used.size() && node->used[i]) {
        return Unsupported(described + ": output " + std::to_string(i) + " (" +
                           Quote(node->outputs[i]) + ") is not supported");
      }
    }
    if (node->outputs.size() > most) node->outputs.resize(most);
  }
  for (const auto& [name, value] : node->attributes.entries()) {
    if (!schema->FindAttribute(name)) {
      return InvalidArgument(described + " has the attribute " + Quote(name) +
                             ", which the operator does not have at opset " +
                             std::to_string(node->opset) + "; export the model again");
    }
  }
  return OkStatus();
}

void Upgrader::Finished(const OldNode& old, ir::Node* node) {
  if (old.opset < 13 && (node->Is("Softmax") || node->Is("LogSoftmax"))) coerced_.push_back(node);
}

Result<bool> Upgrader::RewriteWithShapes() {
  bool changed = false;
  for (ir::Node* node : coerced_) {
    Value* x = node->input(0);
    if (!x) continue;
    int64_t axis = node->attributes.Int("axis", 1);
    if (axis == -1) continue;
    if (x->type().shape) {
      const auto& shape = *x->type().shape;
      const auto rank = static_cast<int64_t>(shape.size());
      if (axis < -rank || axis >= std::max<int64_t>(rank, 1)) {
        return InvalidArgument(node->Describe() + ": axis " + std::to_string(axis) +
                               " is outside the " + std::to_string(rank) +
                               " dimensions of its input");
      }
      if (axis < 0) axis += rank;
      // With at most one dimension above 1 behind the axis, that one is what the operator runs
      // over.
      int64_t wide = -1;
      int count = 0;
      for (int64_t i = axis; i < rank; ++i) {
        if (shape[static_cast<size_t>(i)].Is(1)) continue;
        wide = i;
        ++count;
      }
      if (axis == rank - 1 || count <= 1) {
        node->attributes.Set("axis", count == 1 ? wide : rank - 1);
        continue;
      }
    }
    OldNode old;
    old.op = node->op();
    old.name = node->name();
    auto add = [&](std::string_view op, std::vector<Value*> inputs, Attributes attributes) {
      ir::Node* made = graph_->AddNode({.op = std::string(op),
                                        .inputs = std::move(inputs),
                                        .attributes = std::move(attributes),
                                        .name = old.name + "/" + std::string(op),
                                        .outputs = {FreshName(old, op)}},
                                       node);
      made->sources = node->sources;
      return made->output();
    };
    Value* shape = add("Shape", {x}, {});
    Value* flat = add("Flatten", {x}, {{"axis", axis}});
    Value* soft = add(node->op(), {flat}, {{"axis", int64_t{-1}}});
    Value* y = node->output();
    Value* back = add("Reshape", {soft, shape}, {});
    const std::string name = y->name();
    const ir::Type type = y->type();
    graph_->ReplaceAllUses(y, back);
    graph_->RemoveNode(node);
    graph_->Rename(back, name);
    back->set_type(type);
    changed = true;
  }
  coerced_.clear();
  return changed;
}

}  // namespace slipway::onnx
