#include "model/frontends/onnx/upgrade_quantize.h"

#include <optional>

#include "model/frontends/onnx/tensor_proto.h"
#include "model/ops/quantize.h"

namespace slipway::onnx {
namespace {

using ir::Tensor;
using ir::Value;

// In the IR, codes of fewer than eight bits live in whole bytes.
Result<Tensor> UnpackCodes(const Tensor& packed) {
  const int bits = DTypeBits(packed.dtype());
  const bool is_signed = IsSignedInteger(packed.dtype());
  SLIPWAY_ASSIGN_OR_RETURN(
      Tensor out, Tensor::Allocate(is_signed ? DType::kInt8 : DType::kUInt8, packed.dims()));
  const auto in = packed.bytes();
  const int per_byte = 8 / bits;
  for (int64_t i = 0; i < packed.count(); ++i) {
    int code = in[static_cast<size_t>(i / per_byte)] >> (i % per_byte * bits) & ((1 << bits) - 1);
    if (is_signed && code >> (bits - 1)) code -= 1 << bits;
    out.mutable_data()[i] = static_cast<uint8_t>(code);
  }
  return out;
}

bool IsPacked(DType t) { return IsInteger(t) && DTypeBits(t) < 8; }

// Input i, of type `type`, with packed codes in whole bytes: a constant is unpacked here, the cast
// behind a Quantize is left out, anything else is cast.
Status Unpack(OldNode& n, Upgrader& u, size_t i, DType type) {
  Value* v = n.input(i);
  if (!v || !IsPacked(type)) return OkStatus();
  const DType wide = IsSignedInteger(type) ? DType::kInt8 : DType::kUInt8;
  if (v->constant()) {
    SLIPWAY_ASSIGN_OR_RETURN(Tensor codes, UnpackCodes(*v->constant()));
    n.inputs[i] = u.Constant(n, "codes", std::move(codes));
    return OkStatus();
  }
  const ir::Node* cast = v->producer();
  Value* from = cast && cast->Is("Cast") ? cast->input(0) : nullptr;
  if (from && from->producer() && from->producer()->IsSlipway("Quantize") &&
      u.TypeOf(from) == wide) {
    n.inputs[i] = from;
  } else {
    n.inputs[i] = u.Emit(n, "Cast", {v}, {{"to", static_cast<int64_t>(wide)}});
  }
  return OkStatus();
}

// Input i as elements of another floating-point type.
Status ConvertInput(OldNode& n, Upgrader& u, size_t i, DType to) {
  Value* v = n.input(i);
  if (!v->constant() || to != DType::kFloat32) {
    n.inputs[i] = u.Emit(n, "Cast", {v}, {{"to", static_cast<int64_t>(to)}});
    return OkStatus();
  }
  const std::vector<double> values = v->constant()->ToDoubles();
  const std::vector<float> floats(values.begin(), values.end());
  n.inputs[i] = u.Constant(n, "scale", Tensor::Of<float>(v->constant()->dims(), floats));
  return OkStatus();
}

// Floating-point codes have no zero point: one that is given must be zero and goes.
Status DropZeroPoint(OldNode& n) {
  Value* zero = n.input(2);
  if (!zero) return OkStatus();
  if (zero->constant()) {
    for (double v : zero->constant()->ToDoubles()) {
      if (v != 0) {
        return InvalidArgument(n.Describe() + ": the zero point of floating-point codes must be 0");
      }
    }
  }
  n.inputs.resize(2);
  return OkStatus();
}

Status Convert(OldNode& n, DType codes, const char* op) {
  const bool bias = codes == DType::kInt32 && n.op == "DequantizeLinear";
  const DType small = ops::SmallFloatKind(DTypeName(codes));
  if (small == DType::kUndefined && (!IsInteger(codes) || (DTypeBits(codes) > 16 && !bias))) {
    return Unsupported(n.Describe() + ": codes of type " + DTypeName(codes) +
                       " are not supported; use integers of 2 to 16 bits, FP8 or FP4");
  }
  if (!n.input(0) || !n.input(1))
    return InvalidArgument(n.Describe() + " needs an input and a scale");
  ir::Attributes a{{"bits", int64_t{DTypeBits(codes)}}};
  if (small == DType::kUndefined) {
    a.Set("signed", int64_t{IsSignedInteger(codes)});
  } else {
    SLIPWAY_RETURN_IF_ERROR(DropZeroPoint(n));
    a.Set("kind", std::string(DTypeName(codes)));
    if (n.attributes.Int("saturate", 1) == 0) a.Set("saturate", int64_t{0});
  }
  if (n.attributes.Has("axis")) a.Set("axis", n.attributes.Int("axis", 1));
  if (const int64_t group = n.attributes.Int("block_size", 0); group != 0) {
    if (group < 0) return InvalidArgument(n.Describe() + ": block_size is negative");
    a.Set("group", group);
  }
  n.attributes = std::move(a);
  n.op = op;
  n.domain = ir::kSlipwayDomain;
  return OkStatus();
}

}  // namespace

Status QuantizeLinear(OldNode& n, Upgrader& u) {
  DType codes = DType::kUInt8;
  if (const int64_t type = n.attributes.Int("output_dtype", 0); type > 0 && type < 256)
    codes = static_cast<DType>(type);
  if (Value* zero = n.input(2)) {
    codes = u.FindType(zero);
    if (codes == DType::kUndefined) {
      return Unsupported(
          n.Describe() +
          ": the type of its zero point is not known before the model runs; make it a constant");
    }
    SLIPWAY_RETURN_IF_ERROR(Unpack(n, u, 2, codes));
  }
  if (!n.input(0) || !n.input(1))
    return InvalidArgument(n.Describe() + " needs an input and a scale");
  if (u.TypeOf(n.input(1)) == DType::kFloat8E8M0)
    SLIPWAY_RETURN_IF_ERROR(ConvertInput(n, u, 1, DType::kFloat32));
  if (u.TypeOf(n.input(0)) == DType::kInt32)
    SLIPWAY_RETURN_IF_ERROR(ConvertInput(n, u, 0, DType::kFloat32));
  // Since opset 23 the division happens in the scale's type unless the node says another.
  int64_t precision = n.attributes.Int("precision", 0);
  const DType scale = u.TypeOf(n.input(1));
  if (n.opset >= 23 && n.domain.empty() && precision == 0 &&
      (scale == DType::kFloat16 || scale == DType::kBFloat16))
    precision = static_cast<int64_t>(scale);
  if (precision == static_cast<int64_t>(DType::kFloat32)) precision = 0;
  if (precision != 0 && precision != static_cast<int64_t>(DType::kFloat16) &&
      precision != static_cast<int64_t>(DType::kBFloat16)) {
    return InvalidArgument(n.Describe() + ": precision " + std::to_string(precision) +
                           " is neither float32 nor float16 nor bfloat16");
  }
  SLIPWAY_RETURN_IF_ERROR(Convert(n, codes, "Quantize"));
  if (precision != 0) n.attributes.Set("precision", precision);
  if (!IsPacked(codes)) return OkStatus();
  // Whoever reads the codes as what they are in the file: FoldCodeClips removes it when nobody
  // does.
  Value* wide = u.Emit(n, n.op, n.inputs, n.attributes, n.domain);
  n.op = "Cast";
  n.domain.clear();
  n.inputs = {wide};
  n.attributes = {{"to", static_cast<int64_t>(codes)}};
  return OkStatus();
}

Status DequantizeLinear(OldNode& n, Upgrader& u) {
  DType codes = u.FindType(n.input(0));
  if (codes == DType::kUndefined) codes = u.TypeOf(n.input(2));
  if (codes == DType::kUndefined) {
    return Unsupported(
        n.Describe() +
        ": the type of its input is not known before the model runs; give it a zero point");
  }
  SLIPWAY_RETURN_IF_ERROR(Unpack(n, u, 0, codes));
  SLIPWAY_RETURN_IF_ERROR(Unpack(n, u, 2, codes));
  if (!n.input(0) || !n.input(1))
    return InvalidArgument(n.Describe() + " needs an input and a scale");
  const DType scale = u.TypeOf(n.input(1));
  const int64_t asked = n.attributes.Int("output_dtype", 0);
  const DType output = asked > 0 && asked < 256 ? static_cast<DType>(asked) : scale;
  if (output != scale && output != DType::kFloat32 && output != DType::kFloat16 &&
      output != DType::kBFloat16) {
    return Unsupported(n.Describe() + ": output_dtype " + DTypeName(output) +
                       " is not supported; use float32, float16 or bfloat16");
  }
  // The product is rounded to float32 and once more to the output's type.
  if (scale == DType::kFloat8E8M0 || (output != scale && scale != DType::kFloat32))
    SLIPWAY_RETURN_IF_ERROR(ConvertInput(n, u, 1, DType::kFloat32));
  SLIPWAY_RETURN_IF_ERROR(Convert(n, codes, "Dequantize"));
  if (output == u.TypeOf(n.input(1)) || !IsKnown(output)) return OkStatus();
  Value* real = u.Emit(n, n.op, n.inputs, n.attributes, n.domain);
  n.op = "Cast";
  n.domain.clear();
  n.inputs = {real};
  n.attributes = {{"to", static_cast<int64_t>(output)}};
  return OkStatus();
}

Result<Value*> RealOperand(const OldNode& n, Upgrader& u, Value* codes, Value* scale, Value* zero,
                           std::optional<int64_t> axis) {
  if (!codes || !scale)
    return InvalidArgument(n.Describe() + " needs codes and a scale for each operand");
  OldNode part = n;
  part.op = "DequantizeLinear";
  part.domain = "com.microsoft";  // without what opset 23 says of precision
  part.inputs = {codes, scale, zero};
  part.attributes = {};
  if (axis) part.attributes.Set("axis", *axis);
  SLIPWAY_RETURN_IF_ERROR(DequantizeLinear(part, u));
  return u.Emit(n, part.op, part.inputs, part.attributes, part.domain);
}

Status RequantizeTo(OldNode& n, Upgrader& u, Value* real, Value* scale, Value* zero, DType codes) {
  n.domain = "com.microsoft";
  n.inputs = {real, scale, zero};
  n.attributes = {};
  if (!zero) n.attributes.Set("output_dtype", static_cast<int64_t>(codes));
  return QuantizeLinear(n, u);
}

namespace {

// Operand i of an integer operator, followed by its scale and zero point, as real numbers.
Result<Value*> Real(OldNode& n, Upgrader& u, size_t i, std::optional<int64_t> axis) {
  if (!n.input(i) || !n.input(i + 1) || !n.input(i + 2)) {
    return InvalidArgument(n.Describe() + " needs a scale and a zero point for each operand");
  }
  return RealOperand(n, u, n.input(i), n.input(i + 1), n.input(i + 2), axis);
}

// Leaves in `n` the Quantize of `real` by inputs `i` (scale) and `i + 1` (zero point).
Status Requantize(OldNode& n, Upgrader& u, Value* real, size_t i) {
  return RequantizeTo(n, u, real, n.input(i), n.input(i + 1), DType::kUInt8);
}

}  // namespace

Status QLinearConv(OldNode& n, Upgrader& u) {
  SLIPWAY_ASSIGN_OR_RETURN(Value * x, Real(n, u, 0, std::nullopt));
  SLIPWAY_ASSIGN_OR_RETURN(Value * w, Real(n, u, 3, 0));
  std::vector<Value*> inputs = {x, w};
  if (Value* bias = n.input(8)) {
    // The bias counts in steps of x_scale * w_scale.
    Value* scale = u.Emit(n, "Mul", {n.input(1), n.input(4)});
    inputs.push_back(u.Emit(n, "Dequantize", {bias, scale},
                            {{"axis", int64_t{0}}, {"bits", int64_t{32}}, {"signed", int64_t{1}}},
                            ir::kSlipwayDomain));
  }
  Value* y = u.Emit(n, "Conv", inputs, n.attributes);
  return Requantize(n, u, y, 6);
}

Status QLinearMatMul(OldNode& n, Upgrader& u) {
  SLIPWAY_ASSIGN_OR_RETURN(Value * a, Real(n, u, 0, -2));
  SLIPWAY_ASSIGN_OR_RETURN(Value * b, Real(n, u, 3, -1));
  return Requantize(n, u, u.Emit(n, "MatMul", {a, b}), 6);
}

void FoldCodeClips(ir::Graph* graph) {
  for (ir::Node* cast : graph->NodeList()) {
    const bool unread = cast->Is("Cast") && cast->output() && cast->output()->uses().empty() &&
                        !cast->output()->is_output();
    if (unread && IsPacked(static_cast<DType>(cast->attributes.Int("to", 0))) && cast->input(0) &&
        cast->input(0)->producer() && cast->input(0)->producer()->IsSlipway("Quantize"))
      graph->RemoveNode(cast);
  }
  for (ir::Node* clip : graph->NodeList()) {
    if (!clip->Is("Clip") || !clip->input(0)) continue;
    ir::Node* quantize = clip->input(0)->producer();
    const Tensor *low = clip->constant_input(1), *high = clip->constant_input(2);
    if (!quantize || !quantize->IsSlipway("Quantize") || quantize->output()->OnlyUser() != clip ||
        !low || !high)
      continue;
    if (low->count() != 1 || high->count() != 1 || !IsInteger(low->dtype()) ||
        !IsInteger(high->dtype()))
      continue;
    const int64_t least = low->ToInts()[0], most = high->ToInts()[0];
    const bool is_signed = quantize->attributes.Int("signed", 1) != 0;
    int bits = 1;
    while (bits < 16 && (int64_t{1} << (is_signed ? bits - 1 : bits)) - 1 < most) ++bits;
    const int64_t lowest = is_signed ? -(int64_t{1} << (bits - 1)) : 0;
    const bool narrow = is_signed && least == lowest + 1;
    if ((int64_t{1} << (is_signed ? bits - 1 : bits)) - 1 != most || (least != lowest && !narrow))
      continue;
    if (bits > quantize->attributes.Int("bits", 8)) continue;
    auto set = [&](ir::Node* n) {
      n->attributes.Set("bits", int64_t{bits});
      if (narrow) n->attributes.Set("narrow", int64_t{1});
    };
    set(quantize);
    Value* y = clip->output();
    for (const ir::Use& use : y->uses()) {
      if (use.index == 0 && use.node->IsSlipway("Dequantize")) set(use.node);
    }
    const std::string name = y->name();
    const ir::Type type = y->type();
    graph->ReplaceAllUses(y, quantize->output());
    graph->RemoveNode(clip);
    graph->Rename(quantize->output(), name);
    quantize->output()->set_type(type);
  }
}

}  // namespace slipway::onnx
