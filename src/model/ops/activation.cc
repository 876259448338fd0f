#include "model/ops/activation.h"

#include <string_view>

namespace slipway::ops {
namespace {

struct Row {
  const char* name;
  ActivationKind kind;
  int params;
  float a, b;  // defaults
};

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr Row kRows[] = {
    {"none", ActivationKind::kNone, 0, 0, 0},
    {"Relu", ActivationKind::kRelu, 0, 0, 0},
    {"Clip", ActivationKind::kClip, 2, -kInf, kInf},
    {"LeakyRelu", ActivationKind::kLeakyRelu, 1, 0.01f, 0},
    {"Sigmoid", ActivationKind::kSigmoid, 0, 0, 0},
    {"HardSigmoid", ActivationKind::kHardSigmoid, 2, 0.2f, 0.5f},
    {"HardSwish", ActivationKind::kHardSwish, 0, 0, 0},
    {"Swish", ActivationKind::kSwish, 1, 1, 0},
    {"Gelu", ActivationKind::kGelu, 0, 0, 0},
    {"GeluTanh", ActivationKind::kGeluTanh, 0, 0, 0},
    {"Tanh", ActivationKind::kTanh, 0, 0, 0},
    {"Elu", ActivationKind::kElu, 1, 1, 0},
};

}  // namespace

const char* ActivationName(ActivationKind kind) {
  for (const Row& row : kRows) {
    if (row.kind == kind) return row.name;
  }
  return nullptr;
}

Result<Activation> ParseActivation(const Attributes& attributes, const char* key,
                                   const char* params_key, const char* absent) {
  const std::string_view name = attributes.String(key, absent);
  const auto params = attributes.Floats(params_key);
  for (const Row& row : kRows) {
    if (name != row.name) continue;
    if (params.size() > static_cast<size_t>(row.params)) {
      return InvalidArgument("activation " + std::string(name) + " takes " +
                             std::to_string(row.params) + " parameters, " + params_key + " has " +
                             std::to_string(params.size()));
    }
    Activation result{row.kind, row.a, row.b};
    if (!params.empty()) result.a = params[0];
    if (params.size() > 1) result.b = params[1];
    return result;
  }
  return InvalidArgument("unknown activation '" + std::string(name) +
                         "'; operators.inc lists the known ones");
}

}  // namespace slipway::ops
