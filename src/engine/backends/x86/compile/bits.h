#pragma once
// slipway.QConv and slipway.QLinear with at most four levels of input codes and of weights:
// bit-serial products, whose weights are packed when a model is compiled.

#include <optional>

#include "engine/backends/compile.h"

namespace slipway::backends::x86 {

// Nothing when codes or weights have more levels, or when nobody says what codes there are.
// What the node that makes a value of codes says of them: from `low` to `high`, with `step` 2 only
// every other one.
struct Codes {
  int low = 0, high = 0, step = 1;
  int levels() const { return (high - low) / step + 1; }
};
std::optional<Codes> CodesOf(const ir::Value* v);

std::optional<Candidate> BitsCandidate(const ir::Node& node, const Target& target);
bool IsBits(const Candidate& candidate);
Result<StepSpec> CompileBits(const ir::Node& node, const Candidate& candidate);

}  // namespace slipway::backends::x86
