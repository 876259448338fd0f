#pragma once
// Which values a scheme stores as codes, and which nodes then compute on them.

#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/compiler/platform.h"
#include "model/ir/graph.h"

namespace slipway::quant {

// Convolutions and linear layers: operators whose input 1 are weights.
bool HasWeights(const ir::Node& node);
// The dimension of the weights that counts output channels: -1 where no one dimension does (a
// transposed convolution in groups).
int ChannelAxis(const ir::Node& node);
// RNN, GRU or LSTM: never an integer node, though its weights may be codes (schemes/recurrent.h).
bool IsRecurrent(const ir::Node& node);
// Moves codes about without changing them: its output keeps its input's scale.
bool IsTransparent(const ir::Node& node);

// A value is coded when some integer node reads it, directly or through transparent nodes and unary
// functions; with Scheme::outputs, also when one makes it.
class Placement {
 public:
  Placement(const ir::Graph& graph, const compiler::Scheme& scheme,
            const std::set<std::string>& keep_float);
  bool Coded(const ir::Value* v) const { return coded_.count(v) > 0; }
  bool Integer(const ir::Node* n) const { return integer_.count(n) > 0; }
  const std::set<const ir::Value*>& coded() const { return coded_; }
  // The values whose ranges together decide `v`'s codes, in the graph's order: through transparent
  // nodes that is their input's, and those that Scheme::shared joins have one.
  const std::vector<const ir::Value*>& RangeSources(const ir::Value* v) const;

 private:
  bool Any(const std::vector<ir::Value*>& values) const;
  const ir::Value* Root(const ir::Value* v) const;
  void Join(const ir::Value* a, const ir::Value* b);

  std::set<const ir::Value*> coded_;
  std::set<const ir::Node*> integer_;
  mutable std::unordered_map<const ir::Value*, const ir::Value*> parent_;  // of a union-find forest
  std::unordered_map<const ir::Value*, std::vector<const ir::Value*>> sources_;  // by root
};

}  // namespace slipway::quant
