#include "model/passes/integer_output.h"

#include <algorithm>
#include <cmath>

namespace slipway::passes {

float Ratio(double numerator, double denominator) {
  return static_cast<float>(numerator / denominator);
}

bool Clamp(const Activation& activation, Output& out) {
  if (activation.none()) return true;
  if (activation.name == "Relu") {
    out.q_min = std::max(out.q_min, std::min(out.params->zero, out.q_max));
    return true;
  }
  if (activation.name != "Clip") return false;
  auto code = [&](float v, int32_t infinite) {
    return std::isinf(v) ? infinite : out.params->CodeOf(v);
  };
  int32_t lo = code(activation.params[0], activation.params[0] < 0 ? out.q_min : out.q_max);
  int32_t hi = code(activation.params[1], activation.params[1] < 0 ? out.q_min : out.q_max);
  out.q_min = std::clamp(lo, out.q_min, out.q_max);
  out.q_max = std::clamp(hi, out.q_min, out.q_max);
  return true;
}

Output FindOutput(const Node* node, const Activation& own, bool any, int max_bits) {
  Output out;
  Node* user = node->output()->OnlyUser();
  Activation activation = own;
  std::vector<Node*> nodes;
  if (own.none() && user && user->input(0) == node->output()) {
    if (auto found = ActivationOf(user)) {
      activation = *found;
      nodes.push_back(user);
      user = user->output()->OnlyUser();
    }
  }
  auto params =
      user && user->IsSlipway("Quantize") ? PerTensorParams(user, max_bits) : std::nullopt;
  any &= !activation.none() && activation.name != "Relu" && activation.name != "Clip";
  if (any) out.activation = activation;
  if (!params) {
    if (any) out.nodes = nodes;
    return out;
  }
  nodes.push_back(user);
  out.params = params;
  out.q_min = params->q_min;
  out.q_max = params->q_max;
  if (!any && !Clamp(activation, out)) return {};
  out.nodes = nodes;
  return out;
}

void Write(const Output& out, ir::Attributes& attributes) {
  if (!out.activation.none()) {
    out.activation.WriteTo(attributes);
    if (out.params) attributes.Set("y_multiplier", Ratio(1.0, out.params->scale));
  }
  if (!out.params) {
    attributes.Set("to", static_cast<int64_t>(DType::kFloat32));
    return;
  }
  attributes.Set("to", static_cast<int64_t>(out.params->codes));
  attributes.Set("y_zero_point", int64_t{out.params->zero});
  attributes.Set("q_min", int64_t{out.q_min});
  attributes.Set("q_max", int64_t{out.q_max});
}

std::vector<Node*> Replaced(Node* node, const Output& out) {
  std::vector<Node*> nodes{node};
  nodes.insert(nodes.end(), out.nodes.begin(), out.nodes.end());
  return nodes;
}

}  // namespace slipway::passes
