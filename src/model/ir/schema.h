#pragma once
// The operator table as the IR sees it, built from model/ops/operators.inc.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"
#include "model/ops/custom.h"
#include "model/ops/kernel.h"

namespace slipway::ir {

class InferContext;
using InferFunction = Status (*)(InferContext&);

enum class AttributeKind : uint8_t { kInt, kFloat, kString, kInts, kFloats, kStrings };

struct AttributeSchema {
  std::string name;
  AttributeKind kind;
  bool required = false;
  std::optional<AttributeValue> default_value;
};

struct OpSchema {
  std::string domain, name;
  int min_inputs, max_inputs;    // max -1: no bound
  int min_outputs, max_outputs;
  std::vector<AttributeSchema> attributes;
  InferFunction infer;
  ops::Kernel kernel;
  const ops::CustomOp* custom = nullptr;  // of a plugin: not in operators.inc

  const AttributeSchema* FindAttribute(std::string_view name) const;
};

// Whether the node draws random numbers: their values are Slipway's own, whatever the seed.
bool DrawsRandom(const Node& node);
// Two runs of the node may give different results: it draws random numbers without a seed.
bool IsRandom(const Node& node);

// Whether a plugin has brought the operator, with this quantization rule (SLIPWAY_QUANTIZE_*).
bool IsCustom(const Node& node, uint32_t quantization);

// Null when unknown, in the table and to the plugins that are loaded. Pointers are valid for ever.
const OpSchema* FindOp(std::string_view domain, std::string_view name);
std::span<const OpSchema> AllOps();

}  // namespace slipway::ir
