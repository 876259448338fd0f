#pragma once
// What a quantized graph says, as exporters need it: every quantized tensor with its parameters and
// the codes of constants, and the same graph in float32 without Quantize and Dequantize.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"
#include "model/ops/quantize.h"

namespace slipway::quant {

enum class TensorRole : uint8_t { kActivation = 0, kWeight = 1, kBias = 2 };

struct QuantTensor {
  std::string name;  // of the float value in the graph without pairs
  TensorRole role = TensorRole::kActivation;
  ops::QuantParams params;     // bits, sign, kind, group; range of the codes
  int axis = -1;               // of the scales; -1: one for the tensor
  std::vector<float> scales;   // one, or one for each channel (of groups: as stored)
  std::vector<int64_t> zeros;  // as many
  ir::Tensor codes;            // of constants, in whole bytes
  std::string node;            // makes it (empty: a graph input), or of constants reads it first
  size_t index = 0;            // which output, or which input, of `node`

  bool constant() const { return role != TensorRole::kActivation; }
  bool per_channel() const { return axis >= 0; }
  // The least code of the width; `params.range.lo` may be narrower.
  int64_t lowest() const;
  int64_t highest() const;
  // Zero lies in the middle of the codes: signed with zero points 0.
  bool symmetric() const;
  const char* RoleName() const;
};

// Called for every real value that stood behind a Dequantize: gives what its readers read instead.
// `before` is a node in front of which new ones may be added.
using RealValue = std::function<Result<ir::Value*>(ir::Graph& graph, ir::Value* real,
                                                   const QuantTensor& tensor, ir::Node* before)>;

// Removes Quantize and Dequantize. Constants become float32 (code - zero) * scale, which rounds to
// the same codes; graph inputs and outputs that were codes become float32; operators that only move
// codes move floats. Names of graph inputs and outputs stay. Gives the quantized tensors in the
// order of the graph, each combination of tensor and parameters once.
//
// Unsupported names a node that computes with codes, a scale or zero point that is no constant.
Result<std::vector<QuantTensor>> RemovePairs(ir::Graph* graph, const RealValue& real = {});

struct QuantizedModel {
  std::unique_ptr<ir::Graph> quantized;  // plain operators with Quantize and Dequantize
  std::unique_ptr<ir::Graph> real;       // the same without them
  std::vector<QuantTensor> tensors;
};

// `graph` may hold fused operators: they are taken apart. Errors as RemovePairs, and
// InvalidArgument when nothing in it is quantized,
// that says how to quantize it, for `platform`.
Result<QuantizedModel> ReadQuantized(const ir::Graph& graph, const std::string& platform = "");

// The constant with its dimensions in another order.
Result<ir::Tensor> PermutedConstant(const ir::Tensor& tensor, const std::vector<int>& perm);

// The codes that rounding `values` (half to even) to the tensor's grid gives. For tests and checks.
std::vector<int64_t> CodesOfValues(const QuantTensor& tensor, const ir::Tensor& values);

}  // namespace slipway::quant
