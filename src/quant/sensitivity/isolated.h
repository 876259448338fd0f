#pragma once
// One layer on what the float network gives it, some of it quantized: what sensitivity and
// diagnosis share.

#include <cmath>
#include <limits>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::quant {

struct Similarity {
  double signal = 0, noise = 0, dot = 0, other = 0;

  void Add(const float* reference, const float* value, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      double r = reference[i], v = value[i];
      signal += r * r;
      noise += (r - v) * (r - v);
      dot += r * v;
      other += v * v;
    }
  }
  // Infinite without noise.
  double Db() const {
    if (noise == 0) return std::numeric_limits<double>::infinity();
    return signal == 0 ? -std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
  }
  double Cosine() const {
    return signal == 0 || other == 0 ? (signal == other ? 1 : 0) : dot / std::sqrt(signal * other);
  }
};

// The output by which a node is judged: its only one, or the first that a recurrent node gives; null
// for all others.
const ir::Value* JudgedOutput(const ir::Node& node);

// That output, or the first. `like`: gives its extent.
Result<ir::Tensor> RunNode(const ir::Node& node, const std::vector<ir::Tensor>& inputs,
                           const ir::Tensor& like, Parallel* pool);

using FloatValues = std::unordered_map<std::string, ir::Tensor>;  // by name, of one run

// What the node reads at input `v` when everything before it is float: a constant (dequantized when
// it is), or the float value put through the pair before the node.
Result<ir::Tensor> IsolatedInput(const ir::Value* v, const FloatValues& values, Parallel* pool);

// What makes input `i` of a node from constant codes: a Dequantize, of recurrent weights past a
// Reshape; null otherwise.
const ir::Node* WeightsDequantize(const ir::Node& node, size_t i);

// Whether the node reads codes.
bool ReadsQuantized(const ir::Node& node);

}  // namespace slipway::quant
