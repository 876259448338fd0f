#pragma once
// Reconstruction of a quantized network, block by block: AdaRound (by layers), BRECQ (by blocks,
// then the activations' scales) and QDrop (both at once, with elements left out), after
// ../shared/QUANTIZATION.md section 2. Needs learn::GetEngine().

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "learn/learn.h"
#include "model/ir/graph.h"
#include "quant/reconstruct/blocks.h"
#include "quant/reconstruct/work.h"

namespace slipway::quant {

struct ReconstructionOptions {
  BlockOptions blocks;
  learn::ReconstructOptions learn;  // of a block; `drop` as the method has it
  // Rounding and scales together, else rounding with float activations and then the scales.
  bool together = true;
  bool scales = true;  // learn the scales of activations at all
  // Instead: the float weights and biases of `quantized` are trained, which is `original` with some
  // weights pruned; weights that are 0 stay 0. Blocks before the first pruned layer stay as they
  // are.
  bool weights = false;
  // Iterations for the scales where they are learned apart.
  int64_t scale_iterations = 500;
  // What an element's error counts: all the same, or half of it by the squared gradient of the
  // task's loss there (importance.h).
  bool fisher = false;
  // Where values between blocks and finished blocks are kept; a run with the same model, data and
  // options goes on behind the last finished block and ends with the same bits. Null: a temporary
  // folder.
  WorkFolder* work = nullptr;
  // Told before a block and after each of its iterations; false stops (Unavailable).
  std::function<bool(const Block& block, size_t index, size_t count, int64_t iteration)> progress;
};
// adaround | brecq | qdrop, with 2000 iterations.
Result<ReconstructionOptions> MethodOptions(std::string_view method);
// Iterations of a block, a quarter of them for scales that are learned apart, and the rate that
// brings roundings from one end to the other in so many: the published 1e-3 at 20000, at most 1e-2.
void SetIterations(int64_t iterations, ReconstructionOptions* options);

struct BlockReport {
  Block block;
  // Squared error of the outputs. Where scales are learned apart, of the rounding with float
  // activations; `scales_before` and `scales_after` then are with quantized ones.
  double loss_before = 0, loss_after = 0;
  bool scales_apart = false;
  double scales_before = 0, scales_after = 0;
  double seconds = 0;        // all of it
  double learn_seconds = 0;  // of the iterations
  // Of those that learned roundings.
  double rounding_seconds = 0;
  int64_t rounding_iterations = 0;
  int64_t iterations = 0;
  // Why it could not be learned and stays rounded to the nearest (an operator without a
  // derivative); else empty.
  std::string kept;
};

// `quantized` is `original` with the pairs that InsertQuantization put in; its weights' codes and
// activations' scales become those that were learned (and biases what follows). inputs: for each
// graph input all samples [samples, ...], whose number is a multiple of the batch (or
// less); they may lie in mapped files. Dynamic first dimensions of the graph are bound to the
// batch. A block that cannot be learned stays as it is and says so; Unsupported when none can.
// InvalidArgument: also a work folder of another model, scheme, data or options.
Result<std::vector<BlockReport>> Reconstruct(const ir::Graph& original, ir::Graph& quantized,
                                             learn::Engine& engine,
                                             const std::vector<ir::Tensor>& inputs,
                                             const ReconstructionOptions& options);

}  // namespace slipway::quant
