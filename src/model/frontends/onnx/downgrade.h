#pragma once
// The second half of exporting: one node of an expanded graph (expand.h) as its opset writes it,
// inputs moved back into attributes where they once were.

#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::onnx {

struct OutNode {
  std::string op;
  std::vector<const ir::Value*> inputs;  // null = absent
  // Inputs that only this opset wants: empty float tensors (the roi and scales of Resize 11 and
  // 12), by position.
  std::vector<size_t> empty_inputs;
  ir::Attributes attributes;
  std::vector<const ir::Value*> outputs;
};

// Errors: Unsupported names the node, what its opset cannot hold, and the opset that can.
Result<OutNode> Downgrade(const ir::Node& node, int opset);

}  // namespace slipway::onnx
