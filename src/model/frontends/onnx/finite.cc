#include "model/frontends/onnx/finite.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "model/frontends/onnx/tensor_proto.h"

namespace slipway::onnx {
namespace {

struct Found {
  bool nan = false, infinite = false;
};

// One pass that only asks "is any exponent all ones?", which compilers vectorise; the rare hit is
// looked at again.
template <typename Bits, Bits kExponent, Bits kMantissa>
Found Scan(std::span<const uint8_t> bytes) {
  const size_t count = bytes.size() / sizeof(Bits);
  constexpr size_t kBlock = 1024;
  Bits block[kBlock];
  Found found;
  for (size_t done = 0; done < count; done += kBlock) {
    const size_t n = std::min(kBlock, count - done);
    std::memcpy(block, bytes.data() + done * sizeof(Bits),
                n * sizeof(Bits));  // a mapped file need not be aligned
    Bits hit = 0;
    for (size_t i = 0; i < n; ++i) hit |= static_cast<Bits>((block[i] & kExponent) == kExponent);
    if (!hit) continue;
    for (size_t i = 0; i < n; ++i) {
      if ((block[i] & kExponent) != kExponent) continue;
      (block[i] & kMantissa ? found.nan : found.infinite) = true;
    }
    if (found.nan) break;
  }
  return found;
}

Found ScanTensor(const ir::Tensor& t) {
  switch (t.dtype()) {
    case DType::kFloat32:
      return Scan<uint32_t, 0x7f800000u, 0x007fffffu>(t.bytes());
    case DType::kFloat64:
      return Scan<uint64_t, 0x7ff0000000000000u, 0x000fffffffffffffu>(t.bytes());
    case DType::kFloat16:
      return Scan<uint16_t, 0x7c00, 0x03ff>(t.bytes());
    case DType::kBFloat16:
      return Scan<uint16_t, 0x7f80, 0x007f>(t.bytes());
    default:
      return {};
  }
}

// Readers for which an infinite operand can only be a ruined weight.
bool IsWeightReader(const ir::Node& n) {
  constexpr std::array kOps = {"Conv",
                               "ConvTranspose",
                               "Gemm",
                               "MatMul",
                               "BatchNormalization",
                               "InstanceNormalization",
                               "LayerNormalization",
                               "GroupNormalization",
                               "RMSNormalization",
                               "PRelu",
                               "Quantize",
                               "Dequantize"};
  for (const char* op : kOps) {
    if (n.op() == op) return true;
  }
  return false;
}

}  // namespace

Status CheckFinite(const ir::Graph& graph) {
  for (const auto& value : graph.values()) {
    if (!value->is_constant()) continue;
    const Found found = ScanTensor(*value->constant());
    if (found.nan) {
      return InvalidArgument("tensor " + Quote(value->name()) +
                             " contains NaN; the training went wrong, export a healthy checkpoint");
    }
    if (!found.infinite) continue;
    for (const ir::Use& use : value->uses()) {
      if (!IsWeightReader(*use.node)) continue;
      return InvalidArgument("tensor " + Quote(value->name()) +
                             " contains infinity and is read by " + use.node->Describe() +
                             "; the training went wrong, export a healthy checkpoint");
    }
  }
  return OkStatus();
}

}  // namespace slipway::onnx
