#include "deploy/auto_quantize.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>

#include "model/ir/stats.h"
#include "quant/schemes/quantize.h"

namespace slipway::deploy {
namespace {

struct Attempt {
  std::string name, what, method;
  Adjustments adjust;
  const char* observer = "mse";
  std::set<std::string> keep_float;             // beside the caller's
  std::map<std::string, LayerBits> layer_bits;  // beside the caller's
  const SparseModel* sparse = nullptr;          // instead of the caller's graph
};

class Ladder {
 public:
  Ladder(const ir::Graph& graph, const compiler::Scheme& scheme, const data::Dataset& calibration,
         const AutoQuantizeOptions& options)
      : graph_(graph), scheme_(scheme), calibration_(calibration), options_(options) {}

  Result<AutoQuantized> Climb();

 private:
  Status ClimbDense();
  // `iterations` of training, whose name is then "sparse trained". True where it is kept.
  Result<bool> TrySparse(const Attempt& dense, int64_t iterations);
  // True when the gate is met.
  Result<bool> Try(const Attempt& attempt);
  // Treats more and more of the layers that suffer most: `treat` changes the attempt for the first
  // `count` of them.
  // `weighted`: only those with weights.
  Result<bool> Widen(const std::string& name, const std::string& how, bool weighted,
                     const std::function<void(Attempt&, const std::string& layer)>& treat);
  int LowestBits() const;

  const ir::Graph& graph_;
  const compiler::Scheme& scheme_;
  const data::Dataset& calibration_;
  const AutoQuantizeOptions& options_;
  AutoQuantized out_;
  std::map<uint64_t, double> latency_of_;  // by structure: weights change no time
  Attempt best_;
  bool any_ = false;
  Status first_error_;
};

Result<bool> Ladder::Try(const Attempt& attempt) {
  if (options_.begin) options_.begin(attempt.name);
  const auto begin = std::chrono::steady_clock::now();
  Rung rung{.name = attempt.name, .what = attempt.what};
  rung.float_layers = static_cast<int>(attempt.keep_float.size());
  rung.wider_layers = static_cast<int>(attempt.layer_bits.size());
  compiler::Scheme scheme = scheme_;
  scheme.weights.observer = scheme.activations.observer = attempt.observer;
  QuantizeModelOptions quantize = options_.quantize;
  quantize.method = attempt.method;
  quantize.adjust = attempt.adjust;
  if (!quantize.work.empty())
    quantize.work += "/" + std::to_string(out_.rungs.size()) + "-" + attempt.name;
  quantize.keep_float.insert(attempt.keep_float.begin(), attempt.keep_float.end());
  quantize.layer_bits.insert(attempt.layer_bits.begin(), attempt.layer_bits.end());
  if (attempt.sparse) quantize.keep_zeros = true;
  auto model = QuantizeModel(attempt.sparse ? *attempt.sparse->graph : graph_, scheme, calibration_,
                             quantize);
  if (model.ok() && attempt.sparse) {
    if (Status kept = CheckSparsity(*model->quantized, *attempt.sparse); !kept.ok()) model = kept;
  }
  if (model.ok()) {
    SLIPWAY_ASSIGN_OR_RETURN(rung.top1, options_.evaluate(*model->quantized));
    rung.drop_points = 100 * (options_.float_top1 - rung.top1);
    rung.float_share = FloatShare(*model);
    rung.size_bytes = WeightBytes(*model->quantized);
  } else {
    rung.status = model.status();
    if (first_error_.ok()) first_error_ = rung.status;
  }
  rung.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (model.ok() && options_.latency) {
    const uint64_t structure = ir::StructureHash(*model->quantized, true);
    if (!latency_of_.contains(structure)) {
      SLIPWAY_ASSIGN_OR_RETURN(latency_of_[structure], options_.latency(*model->quantized));
    }
    rung.latency_ms = latency_of_[structure];
  }
  out_.rungs.push_back(rung);
  if (!model.ok()) return false;
  const bool met = rung.drop_points <= options_.max_drop + 1e-9;
  if (attempt.sparse && !met) return false;
  if (!any_ || met || rung.top1 > out_.rungs[out_.chosen].top1) {
    out_.model = std::move(*model);
    out_.chosen = out_.rungs.size() - 1;
    best_ = attempt;
    any_ = true;
  }
  out_.met = met;
  return met;
}

int Ladder::LowestBits() const {
  int bits =
      options_.quantize.weight_bits > 0 ? options_.quantize.weight_bits : scheme_.weights.bits;
  const int activations = options_.quantize.activation_bits > 0 ? options_.quantize.activation_bits
                                                                : scheme_.activations.bits;
  return scheme_.weight_only ? bits : std::min(bits, activations);
}

Result<bool> Ladder::Widen(const std::string& name, const std::string& how, bool weighted,
                           const std::function<void(Attempt&, const std::string&)>& treat) {
  SLIPWAY_ASSIGN_OR_RETURN(auto errors,
                           Sensitivity(out_.model, calibration_, 16, options_.quantize.pool));
  std::erase_if(errors, [&](const quant::LayerError& e) {
    const ir::Node* node = out_.model.original->FindNode(e.node);
    return !node || (weighted && !quant::HasConstantWeights(*node));
  });
  if (errors.empty()) return false;
  std::stable_sort(errors.begin(), errors.end(),
                   [](const auto& a, const auto& b) { return a.alone_db < b.alone_db; });
  const Attempt base = best_;
  for (size_t count = 1;; count *= 2) {
    Attempt attempt = base;
    attempt.name = name;
    std::string list;
    const size_t layers = std::min(count, errors.size());
    for (size_t i = 0; i < layers; ++i) {
      treat(attempt, errors[i].node);
      if (i < 3) list += (list.empty() ? "" : ", ") + errors[i].node;
    }
    if (layers > 3) list += " and " + std::to_string(layers - 3) + " more";
    attempt.what = how + ": " + list;
    SLIPWAY_ASSIGN_OR_RETURN(const bool met, Try(attempt));
    if (met) return true;
    if (layers == errors.size()) return false;
  }
}

Status Ladder::ClimbDense() {
  std::vector<Attempt> attempts = {
      {.name = "min-max", .what = "ranges as observed", .observer = "minmax"},
      {.name = "mse", .what = "ranges of the least squared error"},
      {.name = "equalize",
       .what = "equalisation across layers, bias correction",
       .adjust = {.equalize = true, .bias_correction = true}},
      {.name = "adaround", .what = "learned rounding, layer by layer", .method = "adaround"},
      {.name = "brecq", .what = "learned rounding by blocks, learned scales", .method = "brecq"},
      {.name = "qdrop", .what = "the same with activations left out at random", .method = "qdrop"},
  };
  for (const Attempt& attempt : attempts) {
    SLIPWAY_ASSIGN_OR_RETURN(const bool met, Try(attempt));
    if (met) return OkStatus();
  }
  if (!any_) return first_error_;
  constexpr int kWide = 8;
  if (LowestBits() < kWide) {
    SLIPWAY_ASSIGN_OR_RETURN(
        const bool met, Widen("mixed", "8 bits", true, [](Attempt& a, const std::string& layer) {
          a.layer_bits[layer] = {kWide, kWide};
        }));
    if (met) return OkStatus();
  }
  return Widen("float layers", "float", false,
               [](Attempt& a, const std::string& layer) {
                 a.layer_bits.erase(layer);
                 a.keep_float.insert(layer);
               })
      .status();
}

Result<bool> Ladder::TrySparse(const Attempt& dense, int64_t iterations) {
  const auto begin = std::chrono::steady_clock::now();
  SparsifyOptions sparsify = *options_.sparsity;
  sparsify.iterations = iterations;
  Attempt attempt = dense;
  attempt.name = iterations > 0 ? "sparse trained" : "sparse";
  attempt.what = sparsify.pattern.ToString() +
                 (iterations > 0 ? " with trained blocks, then " : ", then ") + dense.name;
  if (options_.begin) options_.begin(attempt.name);
  if (!sparsify.work.empty()) sparsify.work += "/sparsity";
  auto sparse = SparsifyModel(graph_, &calibration_, sparsify);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (!sparse.ok()) {
    out_.rungs.push_back({.name = attempt.name,
                          .what = attempt.what,
                          .status = sparse.status(),
                          .seconds = seconds});
    return false;
  }
  attempt.sparse = &*sparse;
  SLIPWAY_ASSIGN_OR_RETURN(const bool met, Try(attempt));
  out_.rungs.back().seconds += seconds;
  if (met) out_.sparse = std::move(*sparse);
  return met;
}

Result<AutoQuantized> Ladder::Climb() {
  out_.float_top1 = options_.float_top1;
  out_.max_drop = options_.max_drop;
  SLIPWAY_RETURN_IF_ERROR(ClimbDense());
  if (out_.met && options_.sparsity) {
    const Attempt dense = best_;
    SLIPWAY_ASSIGN_OR_RETURN(const bool kept, TrySparse(dense, options_.sparsity->iterations));
    if (!kept && options_.sparsity_training > 0)
      SLIPWAY_RETURN_IF_ERROR(TrySparse(dense, options_.sparsity_training).status());
  }
  return std::move(out_);
}

}  // namespace

std::string WhyRung(const LadderOutcome& ladder, size_t rung) {
  const Rung& r = ladder.rungs[rung];
  if (!r.status.ok()) return "passed over: " + r.status.message();
  const auto points = [](double v) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2f", v);
    return std::string(text);
  };
  const bool within = r.drop_points <= ladder.max_drop + 1e-9;
  const bool sparse = ladder.rungs[ladder.chosen].name.starts_with("sparse");
  if (sparse && rung == ladder.chosen)
    return "kept: pruned, and within " + points(ladder.max_drop) + " points still";
  if (sparse && within) return "within, and so is its pruned twin";
  if (rung == ladder.chosen) {
    return within ? "kept: the first within " + points(ladder.max_drop) + " points"
                  : "kept: the most accurate, though none is within " + points(ladder.max_drop) +
                        " points";
  }
  if (within) return "not needed";
  return "loses " + points(r.drop_points) + " points, over " + points(ladder.max_drop);
}

Result<AutoQuantized> AutoQuantize(const ir::Graph& graph, const compiler::Scheme& scheme,
                                   const data::Dataset& calibration,
                                   const AutoQuantizeOptions& options) {
  return Ladder(graph, scheme, calibration, options).Climb();
}

}  // namespace slipway::deploy
