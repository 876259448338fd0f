#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "model/frontends/onnx/expand.h"
#include "model/frontends/onnx/rewriter.h"
#include "model/ops/quantize.h"

namespace slipway::onnx {
namespace {

using ir::Attributes;
using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

struct Codes {
  int bits = 0;
  bool is_signed = false;
  DType file = DType::kUndefined;  // what the file holds
  bool small = false;              // floating-point codes
  int64_t low = 0, high = 0;
};

DType IntegerType(int bits, bool is_signed) {
  switch (bits) {
    case 2:
      return is_signed ? DType::kInt2 : DType::kUInt2;
    case 4:
      return is_signed ? DType::kInt4 : DType::kUInt4;
    case 8:
      return is_signed ? DType::kInt8 : DType::kUInt8;
    case 16:
      return is_signed ? DType::kInt16 : DType::kUInt16;
    default:
      return is_signed ? DType::kInt32 : DType::kUInt32;
  }
}

Result<Codes> CodesOf(const Node& n, int opset) {
  const auto& a = n.attributes;
  Codes c;
  c.bits = static_cast<int>(a.Int("bits", 8));
  c.is_signed = a.Int("signed", 1) != 0;
  const bool bias = c.bits == 32 && n.IsSlipway("Dequantize");
  if (c.bits < 1 || (c.bits > 16 && !bias))
    return InvalidArgument(n.Describe() + ": " + std::to_string(c.bits) + " bits are impossible");
  if (a.String("kind", "affine") == "logarithmic") {
    return Unsupported(n.Describe() +
                       ": ONNX has no logarithmic quantization; export the float model, or "
                       "quantize with an affine scheme");
  }
  if (const DType small = ops::SmallFloatKind(a.String("kind", "affine"));
      small != DType::kUndefined) {
    const int since = small == DType::kFloat4E2M1 ? 23 : 19;
    if (opset < since) {
      return Unsupported(n.Describe() + ": codes of type " + DTypeName(small) + " need opset " +
                         std::to_string(since) + "; export that");
    }
    c.small = true;
    c.file = small;
    return c;
  }
  if (a.Int("precision", 0) != 0 && opset < 23) {
    return Unsupported(n.Describe() + ": a precision of the division needs opset 23; export that");
  }
  if (n.IsSlipway("Quantize") && a.String("rounding", "half_even") != "half_even") {
    return Unsupported(n.Describe() + ": ONNX rounds half to even, this node " +
                       std::string(a.String("rounding", "")) +
                       "; quantize with rounding half_even to export");
  }
  if (c.bits > 8 && !bias && opset < 21) {
    return Unsupported(n.Describe() + ": " + std::to_string(c.bits) +
                       "-bit quantization needs opset 21; export that");
  }
  if (a.Int("group", 0) > 0 && opset < 21) {
    return Unsupported(n.Describe() + ": quantization in groups needs opset 21; export that");
  }
  const bool scalar = n.input(1) && n.input(1)->type().shape && n.input(1)->type().shape->empty();
  if (!scalar && opset < 13) {
    const Tensor* scale = n.constant_input(1);
    if (!scale || scale->count() != 1) {
      return Unsupported(n.Describe() + ": quantization per channel needs opset 13; export that");
    }
  }
  c.file = IntegerType(bias ? 32 : c.bits <= 8 ? 8 : 16, c.is_signed);
  c.low = c.is_signed ? -(int64_t{1} << (c.bits - 1)) + (a.Int("narrow", 0) != 0) : 0;
  c.high = (int64_t{1} << (c.is_signed ? c.bits - 1 : c.bits)) - 1;
  return c;
}

// What ONNX has no form for.
bool IsOwn(const Node& n) {
  if (!n.IsSlipway("Quantize") && !n.IsSlipway("Dequantize")) return false;
  return n.attributes.String("kind", "affine") == "logarithmic" ||
         (n.IsSlipway("Quantize") && n.attributes.String("rounding", "half_even") != "half_even");
}

// `t` holds codes in whole bytes; the same codes in a type of fewer bits, or nothing when one does
// not fit.
std::optional<Tensor> Pack(const Tensor& t, DType to) {
  const int bits = DTypeBits(to);
  const int64_t low = IsSignedInteger(to) ? -(1 << (bits - 1)) : 0;
  const int64_t high = low + (1 << bits) - 1;
  auto out = Tensor::Allocate(to, t.dims());
  if (!out.ok()) return std::nullopt;
  std::fill_n(out->mutable_data(), out->bytes().size(), uint8_t{0});
  const int per_byte = 8 / bits;
  const bool is_signed = IsSignedInteger(t.dtype());
  for (int64_t i = 0; i < t.count(); ++i) {
    const uint8_t byte = t.bytes()[static_cast<size_t>(i)];
    const int64_t code = is_signed ? static_cast<int8_t>(byte) : byte;
    if (code < low || code > high) return std::nullopt;
    out->mutable_data()[i / per_byte] |=
        static_cast<uint8_t>((code & ((1 << bits) - 1)) << (i % per_byte * bits));
  }
  return std::move(*out);
}

bool IsPackedWidth(int bits, int opset) {
  return (bits == 4 && opset >= 21) || (bits == 2 && opset >= 25);
}

// Whether the values between this Quantize and its readers can be of the packed type: every reader
// is a Dequantize alike.
bool ReadersAgree(const Value& codes, const Node& quantize) {
  if (codes.is_output()) return false;
  return std::all_of(codes.uses().begin(), codes.uses().end(), [&](const ir::Use& u) {
    const auto& a = u.node->attributes;
    return u.index == 0 && u.node->IsSlipway("Dequantize") &&
           a.Int("bits", 8) == quantize.attributes.Int("bits", 8) &&
           (a.Int("signed", 1) != 0) == (quantize.attributes.Int("signed", 1) != 0);
  });
}

// The zero point in the wanted type; ONNX takes the type of the codes from it, so that it is made
// where it is absent.
Result<Value*> ZeroPoint(Rewriter& r, const Node& n, DType type) {
  Value* zero = n.input(2);
  if (zero && zero->dtype() == type) return zero;
  if (!zero) {
    // A computed scale may claim any extent: only a believable one is made.
    constexpr int64_t kMost = int64_t{1} << 24;
    const auto dims = n.input(1)->type().StaticDims();
    const auto count = dims ? CheckedCount(*dims) : std::nullopt;
    if (!count || (*count > kMost && !n.constant_input(1))) {
      return Unsupported(n.Describe() +
                         ": the shape of its scale must be known, and not huge, to write its zero "
                         "point");
    }
    auto zeros = Tensor::Allocate(type, *dims);
    if (!zeros.ok()) return zeros.status();
    std::fill_n(zeros->mutable_data(), zeros->bytes().size(), uint8_t{0});
    return r.Constant("zero_point", std::move(*zeros));
  }
  if (zero->constant() && DTypeBits(zero->dtype()) == 8 && DTypeBits(type) < 8) {
    if (auto packed = Pack(*zero->constant(), type))
      return r.Constant("zero_point", std::move(*packed));
  }
  return Unsupported(n.Describe() + ": its zero point of type " + DTypeName(zero->dtype()) +
                     " cannot be written as " + DTypeName(type));
}

Attributes LinearAttributes(const Node& n, int opset) {
  Attributes a;
  if (opset >= 13 && n.attributes.Has("axis")) a.Set("axis", n.attributes.Int("axis", 1));
  if (n.attributes.Int("group", 0) > 0) a.Set("block_size", n.attributes.Int("group", 0));
  if (n.attributes.Int("precision", 0) != 0) a.Set("precision", n.attributes.Int("precision", 0));
  return a;
}

Status Quantize(Graph* g, Node* n, int opset) {
  if (n->attributes.String("kind", "affine") == "bipolar") {
    Rewriter r(g, n);
    const auto code = [&](int8_t v) { return r.Constant("code", Tensor::Scalar<int8_t>(v)); };
    Value* up = r.Op("GreaterOrEqual",
                     {n->input(0), r.Constant("zero", Tensor::Scalar<float>(0))});
    const auto shape = n->output()->type().shape;  // Finish removes the node
    up->set_type({DType::kBool, shape});
    r.Finish(r.Op("Where", {up, code(1), code(-1)}))->set_type({DType::kInt8, shape});
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(Codes c, CodesOf(*n, opset));
  if (c.small) {
    Rewriter r(g, n);
    SLIPWAY_ASSIGN_OR_RETURN(Value * zero, ZeroPoint(r, *n, c.file));
    Attributes a = LinearAttributes(*n, opset);
    if (n->attributes.Int("saturate", 1) == 0) a.Set("saturate", int64_t{0});
    const ir::Type type{c.file, n->output()->type().shape};
    r.Finish(r.Op("QuantizeLinear", {n->input(0), n->input(1), zero}, a))->set_type(type);
    return OkStatus();
  }
  const bool narrow = n->attributes.Int("narrow", 0) != 0 && c.is_signed;
  const bool packed = IsPackedWidth(c.bits, opset) && !narrow && ReadersAgree(*n->output(), *n);
  if (packed) c.file = IntegerType(c.bits, c.is_signed);
  Rewriter r(g, n);
  SLIPWAY_ASSIGN_OR_RETURN(Value * zero, ZeroPoint(r, *n, c.file));
  Value* y = r.Op("QuantizeLinear", {n->input(0), n->input(1), zero}, LinearAttributes(*n, opset));
  y->set_type({c.file, std::nullopt});
  if (!packed && (narrow || (c.bits != 8 && c.bits != 16))) {
    // ONNX has no such width: the range is kept by a clip of the codes.
    if (opset < 12)
      return Unsupported(n->Describe() + ": a range of " + std::to_string(c.bits) +
                         " bits needs opset 12; export that");
    auto bound = [&](int64_t value) {
      auto t = Tensor::Allocate(c.file, {});
      if (!t.ok()) return static_cast<Value*>(nullptr);
      std::memcpy(t->mutable_data(), &value, t->bytes().size());  // little-endian: the low bytes
      return r.Constant("range", std::move(*t));
    };
    y = r.Op("Clip", {y, bound(c.low), bound(c.high)});
  }
  const ir::Type type{c.file, n->output()->type().shape};
  r.Finish(y)->set_type(type);
  return OkStatus();
}

Status Dequantize(Graph* g, Node* n, int opset) {
  SLIPWAY_ASSIGN_OR_RETURN(Codes c, CodesOf(*n, opset));
  if (n->attributes.String("kind", "affine") == "bipolar") {  // 1 fits no width below 8 bits
    c.bits = 8;
    c.file = DType::kInt8;
  }
  Rewriter r(g, n);
  Value* x = n->input(0);
  if (!c.small && x->constant() && IsPackedWidth(c.bits, opset) && DTypeBits(x->dtype()) == 8) {
    if (auto packed = Pack(*x->constant(), IntegerType(c.bits, c.is_signed)))
      x = r.Constant("codes", std::move(*packed));
  }
  std::vector<Value*> inputs = {x, n->input(1)};
  if (n->input(2)) {
    const DType type = IsKnown(x->dtype()) ? x->dtype() : n->input(2)->dtype();
    SLIPWAY_ASSIGN_OR_RETURN(Value * zero, ZeroPoint(r, *n, type));
    inputs.push_back(zero);
  }
  r.Finish(r.Op("DequantizeLinear", inputs, LinearAttributes(*n, opset)));
  return OkStatus();
}

}  // namespace

Status ExpandQuantization(Graph* graph, int opset, bool own_quantization) {
  // In order: a Dequantize sees the type that its Quantize was written with.
  for (Node* n : graph->NodeList()) {
    if (!n->output() || (own_quantization && IsOwn(*n))) continue;
    if (n->IsSlipway("Quantize"))
      SLIPWAY_RETURN_IF_ERROR(Quantize(graph, n, opset));
    else if (n->IsSlipway("Dequantize"))
      SLIPWAY_RETURN_IF_ERROR(Dequantize(graph, n, opset));
  }
  return OkStatus();
}

}  // namespace slipway::onnx
