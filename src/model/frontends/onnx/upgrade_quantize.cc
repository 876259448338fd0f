#include "model/frontends/onnx/upgrade_quantize.h"

#include <optional>

#include "model/frontends/onnx/tensor_proto.h"

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

// Replaces a packed constant at input i by an unpacked one.
Status Unpack(OldNode& n, Upgrader& u, size_t i) {
  Value* v = n.input(i);
  if (!v || !IsPacked(v->dtype())) return OkStatus();
  if (!v->constant()) {
    return Unsupported(n.Describe() + ": input " + Quote(v->name()) + " of type " +
                       DTypeName(v->dtype()) +
                       " must be a constant or the output of QuantizeLinear");
  }
  SLIPWAY_ASSIGN_OR_RETURN(Tensor codes, UnpackCodes(*v->constant()));
  n.inputs[i] = u.Constant(n, "codes", std::move(codes));
  return OkStatus();
}

Status Convert(OldNode& n, DType codes, const char* op) {
  const bool bias = codes == DType::kInt32 && n.op == "DequantizeLinear";
  if (!IsInteger(codes) || (DTypeBits(codes) > 16 && !bias)) {
    return Unsupported(n.Describe() + ": codes of type " + DTypeName(codes) +
                       " are not supported; use integers of 2 to 16 bits");
  }
  if (!n.input(0) || !n.input(1))
    return InvalidArgument(n.Describe() + " needs an input and a scale");
  if (n.attributes.Int("precision", 0) != 0) {
    return Unsupported(n.Describe() + ": attribute 'precision' is not supported; remove it");
  }
  ir::Attributes a{{"bits", int64_t{DTypeBits(codes)}},
                   {"signed", int64_t{IsSignedInteger(codes)}}};
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
    codes = u.TypeOf(zero);
    if (codes == DType::kUndefined) {
      return Unsupported(
          n.Describe() +
          ": the type of its zero point is not known before the model runs; make it a constant");
    }
    SLIPWAY_RETURN_IF_ERROR(Unpack(n, u, 2));
  }
  return Convert(n, codes, "Quantize");
}

Status DequantizeLinear(OldNode& n, Upgrader& u) {
  DType codes = u.TypeOf(n.input(0));
  // The producer says 8 bits for what is 4 in 8: its own attribute knows.
  const ir::Node* producer = n.input(0) ? n.input(0)->producer() : nullptr;
  const bool narrow =
      producer && producer->IsSlipway("Quantize") && producer->attributes.Int("bits", 8) < 8;
  const int64_t bits = narrow ? producer->attributes.Int("bits", 8) : 0;
  if (codes == DType::kUndefined) codes = u.TypeOf(n.input(2));
  if (codes == DType::kUndefined) {
    return Unsupported(
        n.Describe() +
        ": the type of its input is not known before the model runs; give it a zero point");
  }
  SLIPWAY_RETURN_IF_ERROR(Unpack(n, u, 0));
  SLIPWAY_RETURN_IF_ERROR(Unpack(n, u, 2));
  SLIPWAY_RETURN_IF_ERROR(Convert(n, codes, "Dequantize"));
  if (narrow) n.attributes.Set("bits", bits);
  return OkStatus();
}

namespace {

// Operand i of an integer operator, followed by its scale and zero point, as real numbers.
Result<Value*> Real(OldNode& n, Upgrader& u, size_t i, std::optional<int64_t> axis) {
  if (!n.input(i) || !n.input(i + 1) || !n.input(i + 2)) {
    return InvalidArgument(n.Describe() + " needs a scale and a zero point for each operand");
  }
  OldNode part = n;
  part.op = "DequantizeLinear";
  part.inputs = {n.input(i), n.input(i + 1), n.input(i + 2)};
  part.attributes = {};
  if (axis) part.attributes.Set("axis", *axis);
  SLIPWAY_RETURN_IF_ERROR(DequantizeLinear(part, u));
  return u.Emit(n, part.op, part.inputs, part.attributes, part.domain);
}

// Leaves in `n` the Quantize of `real` by inputs `i` (scale) and `i + 1` (zero point).
Status Requantize(OldNode& n, Upgrader& u, Value* real, size_t i) {
  n.inputs = {real, n.input(i), n.input(i + 1)};
  n.attributes = {};
  return QuantizeLinear(n, u);
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
