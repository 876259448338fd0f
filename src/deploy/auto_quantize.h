#pragma once
// Quantization that finds its own algorithm: a ladder of them, from the cheapest to the dearest,
// climbed until the accuracy is good enough.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "deploy/quantize_model.h"
#include "deploy/sparsify.h"

namespace slipway::deploy {

// One attempt and what it cost.
struct Rung {
  std::string name;        // min-max, mse, equalize, adaround, brecq, qdrop, mixed, float layers,
                           // sparse, sparse trained
  std::string what;        // in words, with the layers that were treated apart
  Status status;           // why it was skipped or failed; its figures are then absent
  double top1 = 0;         // 0..1
  double drop_points = 0;  // against the float model
  double seconds = 0;      // quantization and evaluation
  int wider_layers = 0, float_layers = 0;  // that the rung itself treats apart
  double float_share = 0;                  // layers with weights that are float, of all of them
  int64_t size_bytes = 0;                  // of weights, biases and scales
  double latency_ms = 0;                   // 0: not measured
};

// What the ladder found, apart from the model.
struct LadderOutcome {
  std::vector<Rung> rungs;
  size_t chosen = 0;  // the first that met the gate, else the most accurate
  bool met = false;
  double float_top1 = 0, max_drop = 0;
};
// Why a rung was taken or not, in a few words.
std::string WhyRung(const LadderOutcome& ladder, size_t rung);

struct AutoQuantizeOptions {
  QuantizeModelOptions quantize;  // of every rung; `method` and `adjust` are the ladder's to choose
  double float_top1 = 0;          // 0..1, of the float model on the same samples
  double max_drop = 1;            // points
  // The accuracy of a quantized graph, 0..1, on data that calibration has not seen.
  std::function<Result<double>(const ir::Graph& quantized)> evaluate;
  // Milliseconds of one run; may be empty. Asked once for each structure.
  std::function<Result<double>(const ir::Graph& quantized)> latency;
  std::function<void(const std::string& rung)> begin;
  // What is tried once the gate is met, for speed: the rung that met it again on the pruned model.
  // It is kept where the gate holds still; where it does not, it is tried once more with
  // `sparsity_training` iterations that train what pruning left (0: not).
  std::optional<SparsifyOptions> sparsity;
  int64_t sparsity_training = 0;
};

struct AutoQuantized : LadderOutcome {
  QuantizedModel model;               // of the rung taken
  std::optional<SparseModel> sparse;  // where that rung is the one chosen
};

// Climbs min-max, MSE ranges, equalisation with bias correction, AdaRound, BRECQ, QDrop, then
// widens the layers that suffer most to 8 bits (where the platform's bits are fewer), then leaves
// them in float. When the gate is met and `sparsity` is given, the same is done to the pruned model
// and kept where it meets the gate too. A rung that cannot be climbed (an operator without a
// derivative, no learning library) is recorded with its reason and passed over; an error of
// `evaluate` ends it all. Errors otherwise: those of QuantizeModel that no algorithm changes (no
// scheme, no data).
Result<AutoQuantized> AutoQuantize(const ir::Graph& graph, const compiler::Scheme& scheme,
                                   const data::Dataset& calibration,
                                   const AutoQuantizeOptions& options);

}  // namespace slipway::deploy
