#pragma once
// The configuration file of quantization (docs/quantize.md lists the keys): what the options of
// `slipway quantize` say, and the layers that are treated apart.

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "deploy/quantize_model.h"

namespace slipway::deploy {

// Absent keys are empty, or negative for numbers.
struct QuantizeConfig {
  std::string platform, bits;
  std::string calibration, preprocess, evaluation;  // paths, relative to the file's folder
  std::string weight_observer, activation_observer;
  std::string algorithm;
  std::vector<std::string> adjust;
  std::string budget, choices;
  std::string sparsity, sparsity_method;
  int64_t samples = -1, batch = -1, iterations = -1, seed = -1, sparsity_iterations = -1;
  double max_drop = -1;
  std::set<std::string> keep_float;             // layers: {NAME: float}
  std::set<std::string> keep_dense;             // layers: {NAME: dense}
  std::map<std::string, LayerBits> layer_bits;  // layers: {NAME: 8, OTHER: W4A8}
};

// InvalidArgument gives file, line, key and what it may be.
Result<QuantizeConfig> LoadQuantizeConfig(const std::string& path);
Result<QuantizeConfig> ParseQuantizeConfig(const std::string& yaml, const std::string& source);

}  // namespace slipway::deploy
