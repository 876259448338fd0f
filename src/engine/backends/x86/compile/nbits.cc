#include "engine/backends/x86/compile/nbits.h"

#include <algorithm>
#include <cstring>

#include "engine/kernels/nbits/nbits.h"

namespace slipway::backends::x86 {
namespace {

kernels::NBitsShape ShapeOf(const ir::Node& node) {
  const Dims& codes = node.constant_input(1)->dims();
  return {.n = codes[0],
          .k = codes[1],
          .group = std::min(node.attributes.Int("group", 1), codes[1]),
          .bits = static_cast<int>(node.attributes.Int("bits", 0))};
}

// Packed codes have no room for others than their width holds.
Status CheckCodes(const ir::Tensor& t, int bits, const char* what) {
  const bool is_signed = t.dtype() == DType::kInt8;
  const int low = is_signed ? -(1 << (bits - 1)) : 0, high = low + (1 << bits) - 1;
  for (const uint8_t b : t.bytes()) {
    const int code = is_signed ? static_cast<int8_t>(b) : b;
    if (code < low || code > high)
      return InvalidArgument(std::string(what) + " hold " + std::to_string(code) + ", which " +
                             std::to_string(bits) + " bits do not; raise bits");
  }
  return OkStatus();
}

}  // namespace

Status SupportsNBits(const ir::Node& node) {
  for (size_t i = 1; i < 4; ++i) {
    if (node.input(i) && !node.constant_input(i))
      return Unsupported("weights that are no constants");
  }
  if (!ShapeOf(node).Valid())
    return Unsupported("codes of " + std::to_string(node.attributes.Int("bits", 0)) + " bits");
  return OkStatus();
}

Candidate NBitsCandidate(const ir::Node& node) {
  Candidate c = PlainCandidate(node, "linear:w" + std::to_string(node.attributes.Int("bits", 0)));
  c.compute_efficiency = 0.5;
  c.memory_efficiency = 0.5;
  return c;
}

Result<StepSpec> CompileNBits(const ir::Node& node, const Candidate& candidate) {
  kernels::NBitsShape shape = ShapeOf(node);
  const ir::Tensor *codes = node.constant_input(1), *zeros = node.constant_input(3);
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(*codes, shape.bits, "its codes"));
  if (zeros) SLIPWAY_RETURN_IF_ERROR(CheckCodes(*zeros, shape.bits, "its zero points"));
  const bool is_signed = codes->dtype() == DType::kInt8;
  const uint8_t* zero_points = zeros ? zeros->bytes().data() : nullptr;
  shape.offsets = !kernels::NBitsCentered(shape, is_signed, zero_points);
  const ir::Tensor scales = node.constant_input(2)->Aligned();
  const std::vector<uint8_t> packed =
      kernels::PackNBits(shape, codes->bytes().data(), is_signed,
                         reinterpret_cast<const float*>(scales.bytes().data()), zero_points);
  SLIPWAY_ASSIGN_OR_RETURN(
      ir::Tensor tensor,
      ir::Tensor::Allocate(DType::kUInt8, {static_cast<int64_t>(packed.size())}));
  std::memcpy(tensor.mutable_data(), packed.data(), packed.size());
  StepSpec step;
  step.node = &node;
  step.kernel = candidate.kernel;
  format::OpDesc op{node.domain(), node.op(), node.attributes};
  op.attributes.Set("n", shape.n);
  op.attributes.Set("k", shape.k);
  op.attributes.Set("group", shape.group);
  op.attributes.Set("offsets", int64_t{shape.offsets});
  op.attributes.Set("kernel", candidate.kernel);
  step.blob = format::EncodeOp(op);
  step.inputs = {node.input(0), node.input(4)};
  step.outputs = {node.output()};
  step.packed.push_back(std::move(tensor));
  return step;
}

}  // namespace slipway::backends::x86
