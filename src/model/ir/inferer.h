#pragma once
// Shape inference while a graph is being built.

#include <memory>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::ir {

// InferShapes node by node, for importers that look at shapes while they build a graph.
class Inferer {
 public:
  Inferer();
  ~Inferer();
  // Checks the type of a graph input and makes its symbols known.
  Status AddInput(const Value& input);
  // Sets the types of the outputs of a node whose inputs have theirs. Errors as InferShapes.
  Status AddNode(Node& node);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace slipway::ir
