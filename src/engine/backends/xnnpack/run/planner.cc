#include "engine/backends/xnnpack/run/planner.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/checked.h"
#include "engine/backends/xnnpack/run/plan.h"

namespace slipway::xnnpack {
namespace {

using ops::ActivationKind;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// XNNPACK computes in size_t without checks; windows and rows beyond this are damage.
constexpr int64_t kLargest = int64_t{1} << 31;

struct Row {
  const char* domain;
  const char* op;
  Status (*plan)(Planner&);
};
constexpr Row kRows[] = {
    {"", "Conv", PlanConv},
    {"slipway", "Conv", PlanConv},
    {"slipway", "ConvDepthwise", PlanConvDepthwise},
    {"slipway", "SqueezeExcite", PlanSqueezeExcite},
    {"", "ConvTranspose", PlanDeconv},
    {"slipway", "Linear", PlanLinear},
    {"", "Gemm", PlanLinear},
    {"", "MatMul", PlanLinear},
    {"", "Attention", PlanAttention},
    {"", "MaxPool", PlanPool},
    {"", "AveragePool", PlanPool},
    {"", "GlobalAveragePool", PlanGlobalPool},
    {"", "GlobalMaxPool", PlanGlobalPool},
    {"slipway", "QConv", PlanQConv},
    {"slipway", "QLinear", PlanQLinear},
    {"slipway", "QAveragePool", PlanQAveragePool},
    {"slipway", "QAdd", PlanQBinary},
    {"slipway", "QMul", PlanQBinary},
    {"slipway", "Quantize", PlanQuantize},
    {"slipway", "Dequantize", PlanQuantize},
    {"", "Relu", PlanUnary},
    {"", "Clip", PlanUnary},
    {"", "LeakyRelu", PlanUnary},
    {"", "Sigmoid", PlanUnary},
    {"", "HardSigmoid", PlanUnary},
    {"", "HardSwish", PlanUnary},
    {"", "Swish", PlanUnary},
    {"", "Elu", PlanUnary},
    {"", "Abs", PlanUnary},
    {"", "Neg", PlanUnary},
    {"", "Ceil", PlanUnary},
    {"", "Floor", PlanUnary},
    {"", "Round", PlanUnary},
    {"", "Sqrt", PlanUnary},
    {"", "Add", PlanBinary},
    {"slipway", "Add", PlanBinary},
    {"", "Sub", PlanBinary},
    {"", "Mul", PlanBinary},
    {"", "Div", PlanBinary},
    {"", "Max", PlanBinary},
    {"", "Min", PlanBinary},
    {"", "PRelu", PlanPRelu},
    {"", "Softmax", PlanSoftmax},
    {"", "Concat", PlanConcat},
    {"", "Split", PlanSplit},
    {"", "Slice", PlanSlice},
    {"", "Pad", PlanPad},
    {"", "Resize", PlanResize},
    {"", "Gather", PlanGather},
    {"", "DepthToSpace", PlanDepthToSpace},
    {"", "Reshape", PlanView},
    {"", "Flatten", PlanView},
    {"", "Squeeze", PlanView},
    {"", "Unsqueeze", PlanView},
    {"", "Identity", PlanView},
};

const Row* FindRow(const format::OpDesc& op) {
  for (const Row& row : kRows) {
    if (op.domain == row.domain && op.op == row.op) return &row;
  }
  return nullptr;
}

}  // namespace

bool IsNormal(float f) { return f > 0 && std::isnormal(f); }

Dims Planner::Physical(const slipway_tensor& t) {
  const Dims d = Logical(t);
  if (t.layout == 0 || d.rank() < 3) return d;
  Dims p{d[0]};
  for (size_t i = 2; i < d.size(); ++i) p.push_back(d[i]);
  p.push_back(d[1]);
  return p;
}

int Planner::PhysicalAxis(const slipway_tensor& t, int64_t axis) {
  if (axis < 0) axis += t.rank;
  if (axis < 0 || axis >= t.rank) return -1;
  if (t.layout == 0 || t.rank < 3 || axis == 0) return static_cast<int>(axis);
  return axis == 1 ? t.rank - 1 : static_cast<int>(axis - 1);
}

Status Planner::Check() const {
  const auto check = [](const slipway_tensor& t) -> Status {
    if (t.dtype == 0) return OkStatus();
    if (t.rank < 0 || t.rank > SLIPWAY_MAX_RANK)
      return InvalidArgument("a tensor with rank " + std::to_string(t.rank));
    if (t.layout > static_cast<uint32_t>(format::Layout::kChannelsLast))
      return Unsupported("blocked layouts");
    const Dims dims = Logical(t);
    for (int64_t d : dims) {
      if (d < 0 || d > kLargest) return InvalidArgument("an extent of " + std::to_string(d));
    }
    const auto bytes = t.dtype < 256 ? format::LayoutBytes(static_cast<DType>(t.dtype), dims,
                                                           static_cast<format::Layout>(t.layout))
                                     : std::nullopt;
    if (!bytes || static_cast<uint64_t>(*bytes) > t.bytes)
      return InvalidArgument("a tensor of shape " + dims.ToString() + " without room for it");
    if (t.is_constant && (t.layout != 0 || (!t.data && *bytes > 0)))
      return InvalidArgument("a constant without plain data");
    return OkStatus();
  };
  for (uint32_t i = 0; i < step_.num_inputs; ++i) SLIPWAY_RETURN_IF_ERROR(check(step_.inputs[i]));
  for (uint32_t i = 0; i < step_.num_outputs; ++i) SLIPWAY_RETURN_IF_ERROR(check(step_.outputs[i]));
  return OkStatus();
}

Status Planner::Need(size_t inputs, size_t outputs) const {
  for (size_t i = 0; i < inputs; ++i) {
    if (!Has(i)) return InvalidArgument("input " + std::to_string(i) + " is missing");
  }
  if (step_.num_outputs < outputs) return InvalidArgument("an output is missing");
  for (size_t i = 0; i < step_.num_outputs; ++i) {
    if (i < outputs && output(i).dtype == 0) return InvalidArgument("an output is missing");
    if (i >= outputs && output(i).dtype != 0) return Unsupported("a second output");
  }
  return OkStatus();
}

Status Planner::NeedType(size_t i, DType type) const {
  if (Type(i) != type) return Unsupported(std::string(DTypeName(Type(i))) + " input");
  return OkStatus();
}

Status Planner::NeedFloats(size_t inputs) const {
  for (size_t i = 0; i < inputs; ++i) {
    if (Has(i)) SLIPWAY_RETURN_IF_ERROR(NeedType(i, DType::kFloat32));
  }
  if (OutputType() != DType::kFloat32)
    return Unsupported(std::string(DTypeName(OutputType())) + " output");
  return OkStatus();
}

Status Planner::NeedConstant(size_t i, DType type, int64_t count) const {
  const std::string name = "input " + std::to_string(i);
  if (!input(i).is_constant || !input(i).data) return Unsupported(name + " is no constant");
  if (Type(i) != type) return Unsupported(name + " of type " + DTypeName(Type(i)));
  if (In(i).count() != count)
    return InvalidArgument(name + " has " + std::to_string(In(i).count()) + " elements, not " +
                           std::to_string(count));
  return OkStatus();
}

Result<std::vector<int64_t>> Planner::Ints(size_t i) const {
  if (!input(i).is_constant || !input(i).data)
    return Unsupported("input " + std::to_string(i) + " is no constant");
  std::vector<int64_t> out;
  const int64_t count = In(i).count();
  if (count > 1 << 20) return Unsupported("input " + std::to_string(i) + " is long");
  for (int64_t k = 0; k < count; ++k) {
    if (Type(i) == DType::kInt64) {
      out.push_back(static_cast<const int64_t*>(input(i).data)[k]);
    } else if (Type(i) == DType::kInt32) {
      out.push_back(static_cast<const int32_t*>(input(i).data)[k]);
    } else {
      return Unsupported("input " + std::to_string(i) + " of type " + DTypeName(Type(i)));
    }
  }
  return out;
}

Place Planner::Workspace(uint64_t bytes) {
  const Place place{Place::kWorkspace, 0, plan_.workspace};
  // With what XNNPACK reads beyond the end.
  plan_.workspace += static_cast<uint64_t>(RoundUp(static_cast<int64_t>(bytes) + 64, 64));
  return place;
}

Place Planner::Own(std::vector<float> values) {
  values.resize(values.size() + 16);  // read beyond the end
  plan_.own.push_back(std::move(values));
  return {Place::kOwn, static_cast<uint32_t>(plan_.own.size() - 1), 0};
}

Stage& Planner::Add(Kind kind, DType type, Place a, Place y) {
  Stage& stage = plan_.stages.emplace_back();
  stage.kind = kind;
  stage.type = type;
  stage.a = a;
  stage.y = y;
  return stage;
}

void Planner::AddUnary(Unary unary, Place a, Place y, int64_t count, float low, float high,
                       float alpha) {
  Stage& stage = Add(Kind::kUnary, DType::kFloat32, a, y);
  stage.unary = unary;
  stage.channels = count;
  stage.low = low;
  stage.high = high;
  stage.alpha = alpha;
}

void Planner::AddBinary(Binary binary, Place a, const Dims& a_dims, Place b, const Dims& b_dims,
                        Place y, float low, float high) {
  Stage& stage = Add(Kind::kBinary, DType::kFloat32, a, y);
  stage.binary = binary;
  stage.b = b;
  stage.a_dims.assign(a_dims.begin(), a_dims.end());
  stage.b_dims.assign(b_dims.begin(), b_dims.end());
  stage.low = low;
  stage.high = high;
}

void Planner::AddFlip(Place a, Place y, int64_t count) {
  Add(Kind::kFlip, DType::kUInt8, a, y).channels = count;
}

Result<Planner::Tail> Planner::Split(const ops::Activation& activation) {
  Tail tail{-kInfinity, kInfinity, {}};
  switch (activation.kind) {
    case ActivationKind::kNone:
      return tail;
    case ActivationKind::kRelu:
      tail.low = 0;
      return tail;
    case ActivationKind::kClip:
      tail.low = activation.a;
      tail.high = activation.b;
      if (!(tail.low < tail.high)) return Unsupported("bounds that leave nothing");
      return tail;
    case ActivationKind::kElu:
      if (!IsNormal(activation.a)) return Unsupported("Elu with such an alpha");
      break;
    case ActivationKind::kSwish:
      if (activation.a != 1) return Unsupported("Swish with an alpha");
      break;
    case ActivationKind::kLeakyRelu:
      if (!std::isfinite(activation.a)) return Unsupported("LeakyRelu with such an alpha");
      break;
    case ActivationKind::kSigmoid:
    case ActivationKind::kHardSigmoid:
    case ActivationKind::kHardSwish:
    case ActivationKind::kGelu:
    case ActivationKind::kGeluTanh:
    case ActivationKind::kTanh:
      break;
    default:
      return Unsupported(std::string("activation ") + ops::ActivationName(activation.kind));
  }
  tail.function = activation;
  return tail;
}

Status Planner::AddTail(const Tail& tail, Place at, int64_t count) {
  const ops::Activation& f = tail.function;
  const Dims all{count}, one{1};
  switch (f.kind) {
    case ActivationKind::kNone:
      return OkStatus();
    case ActivationKind::kElu:
      AddUnary(Unary::kElu, at, at, count, 0, 0, f.a);
      return OkStatus();
    case ActivationKind::kLeakyRelu:
      AddUnary(Unary::kLeakyRelu, at, at, count, 0, 0, f.a);
      return OkStatus();
    case ActivationKind::kSigmoid:
      AddUnary(Unary::kSigmoid, at, at, count);
      return OkStatus();
    case ActivationKind::kHardSwish:
      AddUnary(Unary::kHardSwish, at, at, count);
      return OkStatus();
    case ActivationKind::kHardSigmoid:
      AddBinary(Binary::kMul, at, all, Own({f.a}), one, at, -kInfinity, kInfinity);
      AddBinary(Binary::kAdd, at, all, Own({f.b}), one, at, 0, 1);
      return OkStatus();
    case ActivationKind::kSwish: {
      const Place gate = Workspace(static_cast<uint64_t>(count) * 4);
      AddUnary(Unary::kSigmoid, at, gate, count);
      AddBinary(Binary::kMul, at, all, gate, all, at, -kInfinity, kInfinity);
      return OkStatus();
    }
    case ActivationKind::kGelu:
    case ActivationKind::kGeluTanh:
    case ActivationKind::kTanh: {
      Stage& stage = Add(Kind::kFunction, DType::kFloat32, at, at);
      stage.function = f.kind == ActivationKind::kGelu       ? Function::kGelu
                       : f.kind == ActivationKind::kGeluTanh ? Function::kGeluTanh
                                                             : Function::kTanh;
      stage.channels = count;
      return OkStatus();
    }
    default:
      return Internal("an activation that Split let through");
  }
}

Status Planner::SetWindow(Stage& stage, const ops::Window& w, bool pool) {
  for (size_t i = 0; i < 2; ++i) {
    const size_t d = i + 1;
    stage.in[i] = w.in[d];
    stage.out[i] = w.out[d];
    stage.kernel[i] = w.kernel[d];
    stage.stride[i] = w.stride[d];
    stage.dilation[i] = w.kernel[d] == 1 ? 1 : w.dilation[d];
    if (w.pad_begin[d] < 0 || w.pad_end[d] < 0) return Unsupported("negative padding");
    const int64_t span = (stage.kernel[i] - 1) * stage.dilation[i] + 1;
    if (pool && w.pad_begin[d] >= span) return Unsupported("a window of nothing but padding");
    stage.pad_begin[i] = w.pad_begin[d];
    // What the windows reach: ceil_mode may want more than there is.
    const int64_t reached = (w.out[d] - 1) * w.stride[d] + span - w.in[d] - w.pad_begin[d];
    if (w.out[d] < 1 || w.in[d] < 1) return Unsupported("no extent");
    if (!pool && reached > w.pad_end[d])
      return InvalidArgument("the output is larger than the windows say");
    if (pool && reached >= span) return Unsupported("a window of nothing but padding");
    stage.pad_end[i] = std::max<int64_t>(reached, 0);
    const int64_t padded = w.in[d] + stage.pad_begin[i] + stage.pad_end[i];
    if (padded < span || (padded - span) / w.stride[d] + 1 != w.out[d])
      return InvalidArgument("the windows do not fit the output");
    if (w.kernel[d] > 1 << 16 || w.stride[d] > 1 << 16 || stage.dilation[i] > 1 << 16 ||
        stage.pad_begin[i] > 1 << 16 || stage.pad_end[i] > 1 << 16)
      return Unsupported("a very large window");
  }
  if (w.in[0] != 1 || w.out[0] != 1 || w.kernel[0] != 1 || w.pad_begin[0] != 0 || w.pad_end[0] != 0)
    return Unsupported("three dimensions of space");
  return OkStatus();
}

Result<Planner::Codes> Planner::Signed(size_t i, const char* zero_point) {
  const DType type = Type(i);
  const int64_t zero = attributes().Int(zero_point, 0);
  if (type == DType::kInt8) {
    if (zero < -128 || zero > 127) return InvalidArgument(std::string(zero_point) + " is no code");
    return Codes{InputAt(i), static_cast<int32_t>(zero)};
  }
  if (type != DType::kUInt8) return Unsupported(std::string(DTypeName(type)) + " input");
  if (zero < 0 || zero > 255) return InvalidArgument(std::string(zero_point) + " is no code");
  const int64_t count = In(i).count();
  const Place at = Workspace(static_cast<uint64_t>(count));
  AddFlip(InputAt(i), at, count);
  return Codes{at, static_cast<int32_t>(zero - 128)};
}

Result<bool> Planner::SetCodes(Stage& stage) {
  const DType type = OutputType();
  if (type != DType::kInt8 && type != DType::kUInt8)
    return Unsupported(std::string(DTypeName(type)) + " output");
  if (attributes().Int("to", 3) != static_cast<int64_t>(type))
    return InvalidArgument("the output is not of the type that `to` says");
  const bool flip = type == DType::kUInt8;
  const int64_t shift = flip ? 128 : 0, least = flip ? 0 : -128, most = flip ? 255 : 127;
  const int64_t zero = attributes().Int("y_zero_point", 0);
  if (zero < least || zero > most) return InvalidArgument("y_zero_point is no code");
  const int64_t low = std::max(attributes().Int("q_min", -128), least),
                high = std::min(attributes().Int("q_max", 127), most);
  if (low >= high) return Unsupported("a range of one code");
  stage.y_zero = static_cast<int32_t>(zero - shift);
  stage.q_low = static_cast<int32_t>(low - shift);
  stage.q_high = static_cast<int32_t>(high - shift);
  return flip;
}

bool Knows(const format::OpDesc& op) { return FindRow(op) != nullptr; }

Result<Plan> MakePlan(const format::OpDesc& op, const slipway_step& step) {
  const Row* row = FindRow(op);
  if (!row) return Unsupported("no " + op.domain + (op.domain.empty() ? "" : ".") + op.op);
  Planner planner(op, step);
  SLIPWAY_RETURN_IF_ERROR(planner.Check());
  if (step.num_inputs == 0 || step.num_outputs == 0 || !planner.Has(0) ||
      step.outputs[0].dtype == 0)
    return InvalidArgument("a step without input or output");
  bool empty = true;
  for (uint32_t i = 0; i < step.num_outputs; ++i)
    empty &= step.outputs[i].dtype == 0 || planner.Out(i).count() == 0;
  if (empty) return Plan{};
  // XNNPACK refuses extents of nothing; only Concat has a use for them.
  for (uint32_t i = 0; i < step.num_inputs; ++i) {
    if (op.op != "Concat" && planner.Has(i) && !step.inputs[i].is_constant &&
        planner.In(i).count() == 0)
      return Unsupported("an input without elements");
  }
  SLIPWAY_RETURN_IF_ERROR(row->plan(planner));
  return planner.Take();
}

Result<Plan> MakePlan(const slipway_step& step) {
  SLIPWAY_ASSIGN_OR_RETURN(const format::OpDesc op, format::DecodeOp({step.blob, step.blob_size}));
  return MakePlan(op, step);
}

}  // namespace slipway::xnnpack
