#pragma once
// How the quantization passes read Quantize and Dequantize nodes.

#include <cstdint>
#include <optional>
#include <vector>

#include "model/passes/rewrite.h"

namespace slipway::passes {

// Per-tensor affine codes of at most 8 bits (or as many as asked for): real = scale * (code -
// zero), code in [q_min, q_max].
struct QParams {
  float scale = 1;
  int32_t zero = 0;
  int32_t q_min = -128, q_max = 127;
  DType codes = DType::kInt8;

  friend bool operator==(const QParams&, const QParams&) = default;
  // The code that Quantize gives a value.
  int32_t CodeOf(double value) const;
};

// Of a Quantize or Dequantize node with constant parameters; nullopt when it is no such node or not
// of that kind (per channel, blocked, logarithmic, wider than max_bits, or a Quantize that does not
// round half to even).
std::optional<QParams> PerTensorParams(const Node* node, int max_bits = 8);

// `value` made by a Dequantize of the above kind: its codes and their meaning.
struct Dequantized {
  Value* codes = nullptr;
  QParams params;
  explicit operator bool() const { return codes != nullptr; }
};
Dequantized DequantizedValue(const Value* value, int max_bits = 8);

// Constant weights of at most 8 bits behind a Dequantize; codes around a zero point are moved to
// lie around 0, where they then fit int8 or `wide` allows int16.
struct QWeights {
  Tensor codes;               // int8 or int16
  std::vector<float> scales;  // one, or one for each index along the axis asked for
};
std::optional<QWeights> WeightsOf(const Value* value, int64_t channel_axis, bool wide = false);

// A constant bias as real numbers; when it is a Dequantize of int32, its codes and scales too.
struct QBias {
  std::vector<double> values;
  std::vector<int64_t> codes;  // empty for a float bias
  std::vector<float> scales;   // as many as codes
};
std::optional<QBias> BiasOf(const Value* value);

}  // namespace slipway::passes
