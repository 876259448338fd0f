#pragma once
// Static post-training quantization: Quantize/Dequantize pairs put into a float graph where a
// platform's scheme says so.

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/compiler/platform.h"
#include "model/ir/graph.h"
#include "quant/calibrate/calibrate.h"

namespace slipway::quant {

using compiler::Scheme;
using compiler::TensorScheme;

struct QuantizeOptions {
  std::set<std::string> keep_float;  // node names that stay float
  // Bits that differ from the scheme's: of weights by the name of their node, of activations by the
  // name of the value. Weights of fewer bits then use all codes and have zero points (their
  // distance from it still fits a byte), those of more are symmetric and narrow.
  std::map<std::string, int> weight_bits, activation_bits;
};

// A convolution or linear layer whose weights are a float32 constant.
bool HasConstantWeights(const ir::Node& node);

// The layers that read the graph's inputs first and those behind which there are no others: what
// low-bit quantization keeps at 8 bits, with their inputs, in both maps of `options`.
void KeepEnds(const ir::Graph& graph, int bits, QuantizeOptions* options);

// Unsupported names what Quantize cannot make of a scheme: activations per channel or group.
Status CheckScheme(const Scheme& scheme);

// The codes of a tensor scheme; `unsigned_codes` decides Sign::kAuto.
CodeRange CodesOf(const TensorScheme& scheme, bool unsigned_codes);

// Scale and zero point that map `range` onto `codes` as the kind of scale has it: a power of two is
// the next that is not smaller; of logarithmic codes the scale is the largest magnitude.
QuantParams SchemeParams(Range range, const CodeRange& codes, compiler::ScaleKind kind);

// Nodes whose arithmetic the scheme turns into integers. The graph must have gone through the
// fusing passes: placement follows the fused nodes, so that no pair lands between a convolution,
// its residual addition and its ReLU.
std::vector<const ir::Node*> QuantizedNodes(const ir::Graph& graph, const Scheme& scheme,
                                            const QuantizeOptions& options);

// Splits activations that integers cannot clamp (everything but ReLU and Clip) from fused nodes, so
// that the values before and after can be quantized. Call before calibrating. Returns how many.
int SplitActivations(ir::Graph& graph);

// Takes residual additions (with the activation behind them) out of fused convolutions and linear
// layers: where the outputs of operators are codes, so is what is added. Call after
// SplitActivations. Returns how many.
int SplitResiduals(ir::Graph& graph);

// The values that need an observer.
std::set<std::string> ValuesToObserve(const ir::Graph& graph, const Scheme& scheme,
                                      const QuantizeOptions& options);

// Inserts the pairs. Weights and biases become integer constants behind a Dequantize (weights per
// output channel on the output axis, biases int32 with scale s_x * s_w); of recurrent layers the
// weights alone (schemes/recurrent.h). InvalidArgument names a
// value without observer or with a scale that cannot be represented.
Status InsertQuantization(ir::Graph& graph, const Scheme& scheme, const Observers& observers,
                          const QuantizeOptions& options);

// All of it: Split, Calibrate with `data`, Insert. `make_evaluator` is called once the graph is
// split. `pool` counts what is observed.
Status Quantize(ir::Graph& graph, const Scheme& scheme,
                const std::function<Result<Evaluator>(const ir::Graph&)>& make_evaluator,
                const BatchSource& data, const QuantizeOptions& options = {},
                const std::function<void(int64_t)>& progress = {}, Parallel* pool = nullptr);

}  // namespace slipway::quant
