#pragma once
// Evaluates single nodes with the kernels of model/ops: what constant folding and lookup tables are
// made with.

#include <span>
#include <vector>

#include "model/ir/graph.h"

namespace slipway::passes {

// `inputs` as many as the node has; absent ones are Tensors that are not present(). Errors: what
// inference or the kernel says, with the node named; Unsupported for nodes with sub-graphs, without
// kernel, or whose output extent only the data decides.
Result<std::vector<ir::Tensor>> EvaluateNode(const ir::Node& node,
                                             std::span<const ir::Tensor> inputs);

// The first output of an operator that is in no graph yet.
Result<ir::Tensor> EvaluateOp(std::string_view op, std::string_view domain,
                              const ir::Attributes& attributes, std::span<const ir::Tensor> inputs);

}  // namespace slipway::passes
