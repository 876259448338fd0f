#pragma once
// Sizes and counts of a graph, per node and whole; and the canonical structure hash.

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "model/ir/graph.h"

namespace slipway::ir {

// Multiply-accumulates of one node (ONNX or slipway operator) with its inferred shapes; elementwise work counts 0. Symbolic dimensions
// give a symbolic count.
Dim NodeMacs(const Node& node);
// Bytes a node reads (inputs and constants) and writes once each; nullopt when a shape is not static.
std::optional<int64_t> NodeBytes(const Node& node);

struct GraphStats {
  int64_t parameters = 0;       // elements of constants that feed a node (shape-like int64 ones excluded)
  int64_t parameter_bytes = 0;
  Dim macs;
  std::map<std::string, int> ops;  // full operator name -> count
};
GraphStats Stats(const Graph& graph);

// How sparse the constant weights (input 1) of a product or convolution are. Codes count as zero where they stand for zero (symmetric weights: the code 0).
struct WeightSparsity {
  double zeros = 0;         // share of the elements, [0, 1]
  bool two_of_four = false; // of every 4 neighbours along the summed dimension (input channels; a rest of fewer counts alone) at most 2 are not zero
  double zero_blocks = 0;   // share of blocks of 16 outputs x 4 inputs (of one tap) that are all zeros, [0, 1]
};
inline constexpr int kSparseBlockOutputs = 16, kSparseBlockInputs = 4;
// nullopt: no such node, weights that are no constant, or of other types than float32 and int8.
std::optional<WeightSparsity> SparsityOf(const Node& node);

// A hash that does not depend on names or on the order of independent nodes, but on operators, attributes, topology, element types and (with_shapes)
// on the shapes of values; weights do not enter (constants that steer shapes do).
uint64_t StructureHash(const Graph& graph, bool with_shapes);

}  // namespace slipway::ir
