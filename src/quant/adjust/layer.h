#pragma once
// Weights of a layer by output and input channel, whatever way it stores them.

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::quant {

// A convolution or linear layer with constant float32 weights, to be read and changed.
class Layer {
 public:
  // Nullopt: no such layer (a transposed convolution is none either).
  static std::optional<Layer> Of(ir::Node* node);

  ir::Node* node() const { return node_; }
  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }  // channels, of all groups
  bool conv() const { return conv_; }
  bool padded() const;

  // The largest magnitude that output (input) channel c has among its weights.
  std::vector<double> OutputMagnitudes() const;
  std::vector<double> InputMagnitudes() const;
  // weights[c, ...] *= by[c].
  void ScaleOutputs(const std::vector<double>& by);
  void ScaleInputs(const std::vector<double>& by);
  // Sum over input channels and taps of weight * x[input channel], one for each output.
  std::vector<double> Response(const std::vector<double>& x) const;
  std::vector<double> Bias() const;  // zeros where there is none
  // Dense [outputs, inputs] of a linear layer.
  std::vector<float> Matrix() const;

  // Into the graph; constants that other nodes read stay as they are.
  void StoreWeights(ir::Graph& graph);
  void StoreBias(ir::Graph& graph, const std::vector<double>& bias);

 private:
  template <typename F>
  void ForEach(F&& f) const {  // f(index, output, input)
    for (int64_t i = 0; i < static_cast<int64_t>(weights_.size()); ++i) {
      if (conv_) {
        const int64_t o = i / (per_group_ * taps_);
        f(static_cast<size_t>(i), static_cast<size_t>(o),
          static_cast<size_t>(o / (outputs_ / groups_) * per_group_ + i / taps_ % per_group_));
      } else if (transposed_) {  // [N, K]
        f(static_cast<size_t>(i), static_cast<size_t>(i / inputs_),
          static_cast<size_t>(i % inputs_));
      } else {
        f(static_cast<size_t>(i), static_cast<size_t>(i % outputs_),
          static_cast<size_t>(i / outputs_));
      }
    }
  }

  ir::Node* node_ = nullptr;
  bool conv_ = false, transposed_ = false;
  int64_t outputs_ = 0, inputs_ = 0, groups_ = 1, per_group_ = 1, taps_ = 1;
  Dims dims_;
  std::vector<float> weights_;
};

// Replaces the constant at an input; another reader of it keeps the old one.
void ReplaceConstant(ir::Graph& graph, ir::Node* node, size_t input, ir::Tensor tensor,
                     const std::string& name);

// Zero biases for layers that have none and a place for one: corrections then are integers too.
void AddBiases(ir::Graph& graph);

}  // namespace slipway::quant
