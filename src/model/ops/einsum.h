#pragma once
// The equation of Einsum (numpy's subscript notation), parsed once for inference and kernel.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/dims.h"
#include "base/status.h"

namespace slipway::ops {

inline constexpr int kMostEinsumInputs = 16;
// Labels 0..51 are the letters A-Z, a-z; from 52 on the dimensions of "...", outermost first.
inline constexpr int kEinsumLetters = 52;
inline constexpr int kEinsumLabels = kEinsumLetters + kMaxRank;

struct EinsumTerm {
  int rank = 0;
  std::array<int8_t, kMaxRank> labels{};  // one a dimension
};

struct EinsumPlan {
  int inputs = 0;
  std::array<EinsumTerm, kMostEinsumInputs> terms;
  EinsumTerm output;
};

// `ranks`: of the inputs. Without "->" the output has "..." and then the letters that occur once,
// in order of their codes. Errors: InvalidArgument for a wrong letter or count.
Result<EinsumPlan> ParseEinsum(std::string_view equation, std::span<const int> ranks);

}  // namespace slipway::ops
