#pragma once
// The common half of recover-layernorm and recover-rmsnorm: 1 / sqrt(mean(x * x) + epsilon) in the
// forms exporters write it.

#include "model/passes/rewrite.h"

namespace slipway::passes {

struct InverseDeviation {
  Value* x = nullptr;  // what is squared
  int64_t axis = 0;    // first axis of the mean; it runs to the last one
  double epsilon = 0;
  std::vector<Node*> nodes;
  explicit operator bool() const { return x != nullptr; }
};

// sqrt(mean(x * x) + epsilon): what a Div divides by.
InverseDeviation MatchDeviation(Value* value);
// 1 / sqrt(mean(x * x) + epsilon): what a Mul multiplies with. Also Pow(..., -0.5).
InverseDeviation MatchInverseDeviation(Value* value);

// (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon), ending in `node`; with `scaled` also with a
// constant between the difference and the division: c * (x - mean(x)) / sqrt(...).
struct Normalised {
  Value* x = nullptr;
  int64_t axis = 0;  // first normalised axis
  double epsilon = 0;
  Node* scale = nullptr;  // the Mul with that constant
  std::vector<Node*> nodes;
};
std::optional<Normalised> MatchNormalised(Node* node, bool scaled);

// The first axis of a ReduceMean with keepdims over the last axes, or of a GlobalAveragePool;
// nullopt when it is another one.
std::optional<int64_t> TrailingAxis(const Node* mean);
// The node that makes `value` when it is such a mean; else null.
Node* MeanOf(const Value* value);

// The constant operand of `node` other than `x`, in the extent `normal` (leading ones dropped, a
// scalar spread); null when it has another.
Value* NormParameter(Graph& graph, const Node* node, const Value* x, const Dims& normal);

}  // namespace slipway::passes
