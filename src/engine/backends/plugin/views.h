#pragma once
// Nodes as a plugin sees them.

#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"
#include "model/ops/custom.h"
#include "slipway/compiler.h"

namespace slipway::backends {

// Constants above this many bytes have no data in supports and candidates.
inline constexpr size_t kSmallConstant = 1 << 16;

class GraphView {
 public:
  // `all_data`: of all constants. Errors: Unsupported (a value without a known type, a sequence).
  Status Set(std::span<const ir::Node* const> nodes, bool all_data);

  const slipway_graph& graph() const { return graph_; }
  const std::vector<const ir::Value*>& values() const { return values_of_; }
  const slipway_value& value(size_t i) const { return values_[i]; }

 private:
  Result<int32_t> ValueOf(const ir::Value* value, bool all_data);

  slipway_graph graph_{};
  std::vector<slipway_node> nodes_;
  std::vector<slipway_value> values_;
  std::vector<const ir::Value*> values_of_;
  std::unordered_map<const ir::Value*, int32_t> index_;
  std::vector<std::unique_ptr<ops::AttributeViews>> attributes_;
  std::vector<std::vector<int32_t>> operands_;
  std::vector<std::vector<uint32_t>> consumers_;
  std::vector<ir::Tensor> constants_;
};

}  // namespace slipway::backends
