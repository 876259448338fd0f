#pragma once
// Mixed precision by budget: what each layer loses at each precision and what it costs there, and
// the exact best choice under a limit of latency, size or bit operations.

#include <functional>
#include <string>
#include <vector>

#include "deploy/quantize_model.h"
#include "engine/compiler/budget.h"

namespace slipway::deploy {

enum class BudgetKind {
  kLatency,  // milliseconds of one run, measured on the platform
  kSize,     // bytes of weights, scales and biases
  kBitOps,   // multiplications times the bits of both operands (32 for float)
};

struct Budget {
  BudgetKind kind = BudgetKind::kSize;
  double limit = 0;
};
// "latency=2.5ms", "size=1.2MB", "bitops=3.1G"; "size=50%": of what the widest choice costs.
struct BudgetText {
  Budget budget;
  bool share = false;  // `limit` is a fraction of the cost of the dearest choice
};
Result<BudgetText> ParseBudget(const std::string& text);
// "W4A8" or "float".
Result<LayerBits> ParseLayerBits(const std::string& text);
std::string LayerBitsName(const LayerBits& bits);

struct MixedOptions {
  QuantizeModelOptions quantize;
  BudgetText budget;
  std::vector<LayerBits> choices;  // of every layer; no activations: float
  int64_t samples = 64;            // that losses are measured on
  compiler::Platform platform;     // whose packages are run and timed
  int threads = 1;                 // of the timed package
  std::function<void(const std::string& stage, int64_t done, int64_t total)> progress;
};

// What was chosen, apart from the model.
struct MixedChoice {
  BudgetKind kind = BudgetKind::kSize;
  std::vector<compiler::LayerOptions> layers;  // with their options' costs and losses
  std::vector<size_t> picks;
  std::vector<compiler::BudgetChoice> front;  // convex, of the layers alone
  double limit = 0;                           // of the whole network
  double rest = 0;                            // what is not in the layers: latency of other nodes
  double cost = 0;                            // predicted, with the rest and conversions
  double conversions = 0;                     // of it, between layers of different precisions
  double measured = 0;                        // latency only: of the network chosen
  double loss = 0;                            // sum of the layers' losses
};

struct MixedOutcome : MixedChoice {
  QuantizedModel model;
};

// The loss of a layer at a precision is the squared error of the network's outputs over their power
// when that layer alone has it and the others are float. For a latency, every choice is measured as
// a uniform network, node by node, and what conversions between integers and floats take on two
// networks whose layers have them in turns; the network chosen is measured as a whole, and chosen
// anew with what is left when it misses the limit; a uniform network that loses less within it, or
// is faster when nothing keeps it, is chosen instead. When all layers stay float the model is the
// float one. InvalidArgument: a limit that no choice meets (with the cheapest cost), a choice with
// more bits than the scheme.
Result<MixedOutcome> QuantizeMixed(const ir::Graph& graph, const compiler::Scheme& scheme,
                                   const data::Dataset& calibration, const MixedOptions& options);

}  // namespace slipway::deploy
