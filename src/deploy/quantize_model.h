#pragma once
// Post-training quantization of a model for a platform, as one step of the road.

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/dataset.h"
#include "deploy/adjust_model.h"
#include "deploy/model_io.h"
#include "engine/compiler/platform.h"
#include "model/ir/graph.h"
#include "quant/reconstruct/reconstruct.h"
#include "quant/sensitivity/diagnose.h"
#include "quant/sensitivity/sensitivity.h"

namespace slipway::deploy {

// Of one layer: its weights and what it reads. 0: float.
struct LayerBits {
  int weights = 0, activations = 0;
};

struct QuantizeModelOptions {
  int64_t calibration_samples = 256;  // 0 = all of the data
  int64_t batch = 32;                 // when the model's is dynamic
  std::set<std::string> keep_float;   // node names
  // Bits of weights and activations instead of the scheme's; 0: the scheme's. Layers at the ends of
  // the network keep the scheme's.
  int weight_bits = 0, activation_bits = 0;
  std::map<std::string, LayerBits> layer_bits;  // of nodes that differ from the others
  Adjustments adjust;                           // around it
  // adaround | brecq | qdrop: weights' codes and activations' scales are learned; empty: they are
  // what the observers give.
  std::string method;
  int64_t iterations = 0;  // of a block; 0: the method's
  // Weights that are exactly 0 keep the code of 0: the model is pruned.
  bool keep_zeros = false;
  uint64_t seed = 1;
  bool fisher = false;  // the error of an element counts by what it costs the task
  // A method keeps there what it has done, and goes on from there when it was killed; empty: a
  // temporary folder.
  std::string work;
  // Of a method: blocks and the iterations of the one at work. False stops.
  std::function<bool(const std::string& block, int64_t index, int64_t blocks, int64_t iteration)>
      learning;
  ThreadPool* pool = nullptr;
  std::function<void(int64_t done, int64_t total)> progress;  // samples
};

// A recurrent layer, whose weights alone become codes.
struct RecurrentWeights {
  std::string node;
  int bits = 0;
};

struct QuantizedModel {
  std::unique_ptr<ir::Graph> original;   // fused, activations split: what the pairs were put into
  std::unique_ptr<ir::Graph> quantized;  // with Quantize/Dequantize
  int quantized_nodes = 0;
  std::vector<RecurrentWeights> recurrent;
  std::vector<quant::BlockReport> blocks;  // of a method
  AdjustReport adjusted;
  std::vector<std::string> notes;  // what a user should know: layers that no calibration reaches
};

// The first `samples` of the data, a whole number of batches, in a file without a name.
Result<std::vector<ir::Tensor>> AllSamples(const data::Dataset& data, const Feed& feed,
                                           int64_t samples, ThreadPool* pool,
                                           quant::WorkFolder& work);

// A copy in the form that pairs are put into: fused, with activations (and residual additions,
// where the scheme's outputs are codes) that integers cannot absorb apart.
Result<std::unique_ptr<ir::Graph>> FormToQuantize(const ir::Graph& graph,
                                                  const compiler::Scheme& scheme);

// `graph` is changed only in the copies. Errors: InvalidArgument when the platform has no scheme,
// the data does not fit, or a value is not finite.
Result<QuantizedModel> QuantizeModel(const ir::Graph& graph, const compiler::Scheme& scheme,
                                     const data::Dataset& calibration,
                                     const QuantizeModelOptions& options);

// Bytes of the constants that nodes read, codes at the bits they need.
int64_t WeightBytes(const ir::Graph& graph);
// What became integers, for people: "3 nodes on integers, 1 recurrent layer with weights of 8 bits".
std::string IntegerShareText(const QuantizedModel& model);
// Layers with weights that stayed float, recurrent ones too, as a share of all of them; 0 when there is none.
double FloatShare(const QuantizedModel& model);

// Signal-to-noise of every layer on the first samples of `data`.
Result<std::vector<quant::LayerError>> Sensitivity(const QuantizedModel& model,
                                                   const data::Dataset& data, int64_t samples,
                                                   ThreadPool* pool);

// The same with why, and what would help the worst.
Result<std::vector<quant::LayerDiagnosis>> Diagnosis(const QuantizedModel& model,
                                                     const data::Dataset& data, int64_t samples,
                                                     ThreadPool* pool);

}  // namespace slipway::deploy
