#pragma once
// Goes through a graph block after block with the values of all calibration batches in memory: what
// is changed in a block is what the next ones are given.

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"
#include "quant/calibrate/calibrate.h"
#include "quant/reconstruct/blocks.h"

namespace slipway::quant {

// Runs a graph: one tensor for each output.
using GraphRunner =
    std::function<Result<std::vector<ir::Tensor>>(const std::vector<ir::Tensor>& inputs)>;
using MakeGraphRunner = std::function<Result<GraphRunner>(const ir::Graph&)>;

class BlockWalk {
 public:
  using Batch = std::map<std::string, ir::Tensor>;  // by the values' names

  // Both live longer; `graph` may change between calls.
  BlockWalk(const ir::Graph& graph, const MakeGraphRunner& make) : graph_(graph), make_(make) {}

  // All batches, as the graph's inputs. InvalidArgument: another number of inputs.
  Status Read(const BatchSource& data);
  const std::vector<Batch>& batches() const { return batches_; }

  // What the graph as it is gives `names` from the block's inputs, told batch by batch.
  Status Evaluate(const Block& block, const std::vector<std::string>& names,
                  const std::function<Status(const std::vector<ir::Tensor>&)>& see) const;
  // visit() for every block in turn, until done() (may be empty); behind each, its outputs are
  // computed anew and what no later block reads is forgotten. Errors name the block.
  Status ForEach(const std::function<Status(const Block&)>& visit,
                 const std::function<bool()>& done = {});

 private:
  const ir::Graph& graph_;
  const MakeGraphRunner& make_;
  std::vector<Batch> batches_;
};

// Sorts things with a node's `name` as the graph has the nodes.
template <typename T>
void SortAsNodes(const ir::Graph& graph, std::vector<T>& things) {
  std::map<std::string, size_t> place;
  for (const auto& node : graph.nodes()) place[node->name()] = place.size();
  std::sort(things.begin(), things.end(),
            [&](const T& a, const T& b) { return place[a.name] < place[b.name]; });
}

}  // namespace slipway::quant
