#include "quant/exporters/limits.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace slipway::quant {
namespace {

bool IsPowerOfTwo(float v) {
  int exponent;
  return std::frexp(v, &exponent) == 0.5f;
}

// Why the file cannot hold the tensor; empty: it can.
std::string Reason(const QuantTensor& t, const Limits& l) {
  using ops::QuantKind;
  const int bits = t.params.bits;
  const bool activation = t.role == TensorRole::kActivation;
  const QuantKind kind = t.params.kind;
  if (kind == QuantKind::kSmallFloat || kind == QuantKind::kBipolar)
    return "has codes that are no affine integers";
  if ((kind == QuantKind::kLogarithmic) != (l.scales == ScaleRule::kLogarithmic) &&
      t.role != TensorRole::kBias) {
    return l.scales == ScaleRule::kLogarithmic ? "has affine codes, not logarithmic ones"
                                               : "has logarithmic codes";
  }
  if (t.params.group > 0 && !l.groups) return "has scales for groups";
  if (activation && t.per_channel()) return "has a scale for each channel of an activation";
  for (float s : t.scales) {
    if (!(s > 0) || !std::isfinite(s)) return "has a scale that is not positive and finite";
  }
  if (activation) {
    if (bits > 31 || !(l.activation_widths >> bits & 1))
      return "is an activation of " + std::to_string(bits) + " bits";
    if (!t.params.is_signed && !l.unsigned_activations) return "has unsigned codes";
    if (t.params.is_signed
            ? !t.symmetric() && !l.asymmetric_activations
            : !l.asymmetric_activations &&
                  std::any_of(t.zeros.begin(), t.zeros.end(), [](int64_t z) { return z != 0; }))
      return "has zero point " + std::to_string(t.zeros[0]);
  } else {
    if (t.per_channel() && !l.per_channel) return "has a scale for each channel";
    if (t.role == TensorRole::kWeight) {
      if (bits > l.weight_bits) return "has weights of " + std::to_string(bits) + " bits";
      if (!t.symmetric() && !l.asymmetric_weights)
        return t.params.is_signed ? "has weights with a zero point" : "has unsigned weights";
      if (l.narrow_weights) {
        const std::vector<int64_t> codes = t.codes.ToInts();
        if (std::find(codes.begin(), codes.end(), -(int64_t{1} << (l.weight_bits - 1))) !=
            codes.end())
          return "has weights with the lowest code, " +
                 std::to_string(-(int64_t{1} << (l.weight_bits - 1)));
      }
    }
  }
  if ((l.scales == ScaleRule::kPowerOfTwo ||
       (l.scales == ScaleRule::kPowerOfTwoActivations && activation)) &&
      !std::all_of(t.scales.begin(), t.scales.end(), IsPowerOfTwo))
    return "has a scale that is no power of two";
  return "";
}

}  // namespace

Status CheckLimits(const QuantizedModel& model, const Limits& limits, const std::string& platform) {
  std::map<std::string, const QuantTensor*> seen;
  for (const QuantTensor& t : model.tensors) {
    std::string why = Reason(t, limits);
    if (why.empty() && limits.one_range && !seen.emplace(t.name, &t).second)
      why = "is quantized in two different ways";
    if (!why.empty()) {
      return Unsupported(std::string(t.RoleName()) + " '" + t.name + "' " + why + ", which " +
                         limits.tool + " cannot hold; quantize the float model with `slipway " +
                         "quantize --platform " + (platform.empty() ? limits.platform : platform) +
                         "`");
    }
  }
  return OkStatus();
}

}  // namespace slipway::quant
