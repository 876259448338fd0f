#pragma once
// Quantization as a user asks for it: what `quantize` and `deploy` have in common.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/metrics.h"
#include "deploy/auto_quantize.h"
#include "deploy/mixed.h"
#include "deploy/quantize_config.h"
#include "deploy/weight_only.h"

namespace slipway::deploy {

// docs/sparsity.md says what each of them does.
struct SparsityRequest {
  std::string pattern;      // "2:4"; empty: none
  std::string method;       // magnitude | obs; empty: obs
  int64_t iterations = -1;  // < 0: not given
  std::vector<std::string> keep_dense;
  bool ends = false;

  bool given() const { return !pattern.empty(); }
};

// docs/quantize.md says what each of them does.
struct QuantizeRequest {
  std::string algorithm;  // one of QuantizeAlgorithms(); empty: rounded to nearest
  std::string bits;       // "W4A8"; of weights alone "W4"; "none": no codes, with sparsity
  std::string observer, weight_observer;
  std::vector<std::string> adjust, keep_float;
  std::map<std::string, LayerBits> layer_bits;
  std::string budget, choices;
  int64_t samples = -1;  // calibration; 0: all, < 0: what suits the algorithm
  int64_t batch = 32, iterations = 0, group = 128;
  uint64_t seed = 1;
  std::string loss = "mse";  // mse | fisher
  std::string work;
  bool act_order = false;
  double max_drop = -1;  // points; < 0: no gate
  SparsityRequest sparsity;
};

const std::vector<std::string>& QuantizeAlgorithms();
// Of weights alone: rtn, awq, gptq.
bool IsWeightOnly(const std::string& algorithm);
// Pruned, and no codes.
bool StaysFloat(const QuantizeRequest& request);
// All but pruning by magnitude alone does.
bool NeedsCalibration(const QuantizeRequest& request);

// InvalidArgument names options that do not go together, before any work is done.
Status CheckRequest(const QuantizeRequest& request, bool has_evaluation);
// All that decides the result besides model, platform and data, as one line.
std::string RequestKey(const QuantizeRequest& request);
// How many samples of a set of `available` calibrate.
int64_t CalibrationSamples(const QuantizeRequest& request, int64_t available);

struct QuantizeInputs {
  const ir::Graph* graph = nullptr;
  const data::Dataset* calibration = nullptr;  // null only where none is needed
  const data::Dataset* evaluation = nullptr;   // labelled; what the ladder climbs by, else unused
  int64_t evaluation_samples = 0;              // 0: all
  std::optional<double> float_top1;            // of the float model on them; measured when absent
  ThreadPool* pool = nullptr;
  int threads = 1;  // of measured latencies
  std::function<void(const std::string& stage, int64_t done, int64_t total)> progress;
};

struct QuantizeOutcome {
  QuantizedModel model;  // without graphs when weights alone were quantized, or nothing was
  std::optional<WeightOnlyModel> weights;  // of rtn, awq, gptq
  int weight_only_bits = 0;                // of these
  std::optional<SparseModel> sparse;       // what took the float model's place
  int sparse_bits = 32;                    // of its weights in the end
  std::optional<LadderOutcome> ladder;     // of auto
  std::optional<MixedChoice> mixed;        // of a budget
  int64_t evaluated = 0;                   // samples the ladder was climbed by
  std::string choices;                     // observers, bits, algorithm in one line
  Status gate;                             // GateFailed when no rung keeps the drop

  const ir::Graph& quantized() const {
    return weights ? *weights->quantized : model.quantized ? *model.quantized : *sparse->graph;
  }
};

// Errors: those of CheckRequest, of the algorithm, and InvalidArgument for a platform without
// integers (unless weights alone are quantized) or bits that it does not have.
Result<QuantizeOutcome> RunQuantize(const compiler::Platform& platform,
                                    const QuantizeRequest& request, const QuantizeInputs& inputs);

// Top-1 of a graph, of its integers on this machine where `platform` itself is not here.
Result<data::AccuracyCounter> GraphAccuracy(
    const ir::Graph& graph, const compiler::Platform& platform, const data::Dataset& data,
    int64_t samples, int64_t batch, ThreadPool& pool,
    const std::function<void(int64_t done, int64_t total)>& progress);

}  // namespace slipway::deploy
