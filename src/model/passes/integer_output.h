#pragma once
// Where the results of integer operators go.

#include <optional>
#include <vector>

#include "model/passes/epilogue.h"
#include "model/passes/qdq.h"

namespace slipway::passes {

// The quotient in float32, as multipliers are stored.
float Ratio(double numerator, double denominator);

// The result of a node through an activation to a Quantize, or as float to whoever reads it.
struct Output {
  std::optional<QParams> params;  // absent: float32
  int32_t q_min = 0, q_max = 0;
  std::vector<Node*> nodes;  // the activation and the Quantize
  Activation activation;     // that is no clamp, before the division by the scale
  // The divisor of the multiplier.
  double scale() const { return params && activation.none() ? params->scale : 1.0; }
};

// Narrows the range of codes by a Relu or Clip; false when it is another activation.
bool Clamp(const Activation& activation, Output& out);
// `own`: the activation that the node itself applies. When no Quantize can be reached the result is
// float, without activation; with `any` an activation that is no clamp is taken all the same.
Output FindOutput(const Node* node, const Activation& own, bool any = false, int max_bits = 8);
// The attributes of an integer operator: to, y_zero_point, q_min, q_max, and the activation.
void Write(const Output& out, ir::Attributes& attributes);
// The node and those that its output takes along.
std::vector<Node*> Replaced(Node* node, const Output& out);

}  // namespace slipway::passes
