#pragma once
// What a model is made of, layer by layer: what `slipway inspect` shows as text, JSON and a page.

#include <map>
#include <string>
#include <vector>

#include "base/dim.h"
#include "model/ir/graph.h"

namespace slipway::deploy {

struct InspectedLayer {
  const ir::Node* node = nullptr;  // valid while the graph is
  std::string name, op;            // names of nodes in bodies: "loop/body/node"
  std::string output;              // type of the first output
  int depth = 0;                   // 0: the graph itself, 1: a body of one of its nodes, ...
  int64_t parameters = 0, parameter_bytes = 0;  // of constants that it is the first to read
  Dim macs;                                     // may be symbolic
  int64_t macs_here = 0;                        // at the sizes of Inspection::symbols
  int64_t output_bytes = 0;                     // all outputs, at those sizes
  int64_t live_bytes = 0;  // all activations that exist while it runs, nothing reused in place
};

struct InspectedSymbol {
  std::string name;
  int64_t least = 1, most = INT32_MAX;
  bool bounded = false;  // the model or the user gave a range
  int64_t here = 1;      // what the numbers assume
  std::vector<std::string> inputs;
};

struct InspectedWeights {
  int64_t tensors = 0, elements = 0, bytes = 0;
};

// Pairs of one kind of quantization: "uint8 affine per tensor".
struct InspectedQuantization {
  int quantize = 0, dequantize = 0, weights = 0;  // weights: Dequantize of a constant
  int64_t weight_elements = 0;
};

struct InspectedOperator {
  int count = 0;
  int64_t macs = 0, parameters = 0, output_bytes = 0;
};

struct Inspection {
  std::vector<InspectedLayer> layers;  // in order of execution, bodies behind their node
  std::map<std::string, InspectedOperator> operators;
  std::map<std::string, InspectedWeights> weights;            // by element type
  std::map<std::string, InspectedQuantization> quantization;  // by kind
  std::vector<InspectedSymbol> symbols;
  int64_t parameters = 0, parameter_bytes = 0;  // of the graph and all bodies, each constant once
  Dim macs;                                     // a body counts once
  int64_t macs_here = 0;
  int64_t activation_bytes = 0;  // of all values together
  int64_t peak_live_bytes = 0;
  std::string peak_layer;
  int bodies = 0;
};

// Symbols count as the least of their range, 1 where there is none, unless `sizes` says otherwise.
// Values of unknown shape count 0 bytes.
Inspection Inspect(const ir::Graph& graph, const std::map<std::string, int64_t>& sizes = {});

// "kernel_shape [3, 3], pads [1, 1, 1, 1]": long lists are cut.
std::string AttributeText(const ir::Attributes& attributes);

}  // namespace slipway::deploy
