#pragma once
// What a vendor's file can say of a quantized tensor, and the check that a graph stays within it.

#include <string>

#include "base/status.h"
#include "quant/exporters/quantized.h"

namespace slipway::quant {

enum class ScaleRule : uint8_t {
  kAny = 0,
  kPowerOfTwo = 1,
  kLogarithmic = 2,
  kPowerOfTwoActivations = 3
};

struct Limits {
  const char* tool = "";      // how errors call the reader
  const char* platform = "";  // the remedy: `slipway quantize --platform`
  int weight_bits = 8;        // most
  // Widths of activations, one bit for each (1 << 8 | 1 << 16): fewer bits would not be clamped.
  uint32_t activation_widths = 1u << 8;
  bool asymmetric_weights = false, asymmetric_activations = false;
  bool unsigned_activations = false;  // codes 0..2^b-1, also with zero point 0
  bool per_channel = true;            // of weights and biases
  bool groups = false;
  bool narrow_weights = false;  // the lowest code of weights is refused
  bool one_range = true;        // a tensor is found by its name: it has one set of parameters
  ScaleRule scales = ScaleRule::kAny;
};

// Unsupported names the first tensor that the file cannot hold, what of it, and the remedy: to
// quantize for `platform` (empty: the one of the limits).
Status CheckLimits(const QuantizedModel& model, const Limits& limits, const std::string& platform);

}  // namespace slipway::quant
