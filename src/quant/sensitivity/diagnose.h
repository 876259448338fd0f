#pragma once
// Why a layer loses accuracy, and what would help: every remedy is tried on the layer and measured,
// none is guessed.

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"
#include "quant/observers/range.h"
#include "quant/sensitivity/sensitivity.h"

namespace slipway::quant {

inline constexpr int kChartBins = 64;

// What a tensor holds, and the range that its codes span.
struct TensorDiagnosis {
  std::string name;
  int bits = 8;
  Range seen;          // the extremes
  Range range;         // of the codes; of weights with several scales that of the widest
  double clipped = 0;  // share of the values outside of it
  double db = 0;       // signal to noise of the tensor itself
  int64_t scales = 1;
  // Largest over median magnitude of its channels: what equalisation or smoothing can gain.
  double imbalance = 1;
  std::vector<int64_t> bins;  // counts over kChartBins even parts of `seen`
};

struct Remedy {
  std::string what;    // "activations by observer mse"
  std::string option;  // "--observer mse"
  double db = 0;       // of the layer alone, with it
  bool free = true;    // costs no time or memory on the device
  bool bound = false;  // db is what it could give at best
};

struct LayerDiagnosis {
  LayerError error;
  std::optional<TensorDiagnosis> input, weights;  // input: the first; a residual is another
  // The layer alone with only its activations, or only its weights, quantized.
  double input_db = 0, weights_db = 0;
  // Share of the noise power that lies in the channels' means: what bias correction removes.
  double mean_share = 0;
  std::vector<Remedy> tried;  // of the worst layers, best first
  // The one to take: the best free one where it gains 1 dB or more, else more bits, else float; -1
  // where nothing was tried.
  int chosen = -1;
};

struct DiagnoseOptions {
  int worst = 8;  // layers for which remedies are tried
};

// As LayerErrors, on the first batch of `data`; rows in execution order.
Result<std::vector<LayerDiagnosis>> Diagnose(const ir::Graph& original, const ir::Graph& quantized,
                                             const BatchSource& data,
                                             const DiagnoseOptions& options, Parallel* pool);

}  // namespace slipway::quant
