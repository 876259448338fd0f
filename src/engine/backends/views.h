#pragma once
// Operators whose output is their first input's bytes under another shape.

#include "model/ir/graph.h"

namespace slipway::backends {

inline bool IsView(const ir::Node& node) {
  if (!node.domain().empty()) return false;
  if (node.op() == "Dropout" && node.input(2)) return false;  // whether it drops is data
  for (size_t i = 1; i < node.outputs().size(); ++i) {  // a Dropout's mask
    if (node.output(i) && node.output(i)->IsUsed()) return false;
  }
  for (const char* op : {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}) {
    if (node.op() == op) return true;
  }
  return false;
}

}  // namespace slipway::backends
