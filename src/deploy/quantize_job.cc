#include "deploy/quantize_job.h"

#include <algorithm>
#include <cstdio>
#include <tuple>

#include "base/folder.h"
#include "deploy/evaluate.h"
#include "deploy/model_io.h"
#include "deploy/runner.h"
#include "engine/compiler/observer_spec.h"

namespace slipway::deploy {
namespace {

std::string Points(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", v);
  return text;
}

// "W4A8", of at most the platform's bits.
Status ParseBits(const std::string& text, const compiler::Scheme& scheme,
                 QuantizeModelOptions* options) {
  int weights = 0, activations = 0, end = 0;
  if (std::sscanf(text.c_str(), "W%dA%d%n", &weights, &activations, &end) != 2 ||
      static_cast<size_t>(end) != text.size() || weights < 2 || activations < 2) {
    return InvalidArgument("--bits '" + text +
                           "' is not of the form W4A8 with 2 bits or more; for one bit see "
                           "docs/quantized-models.md");
  }
  if (weights > scheme.weights.bits || activations > scheme.activations.bits) {
    return InvalidArgument("--bits " + text + " are more than the platform's W" +
                           std::to_string(scheme.weights.bits) + "A" +
                           std::to_string(scheme.activations.bits));
  }
  options->weight_bits = weights;
  options->activation_bits = activations;
  return OkStatus();
}

std::string Choices(const QuantizeRequest& r, const compiler::Scheme& scheme) {
  std::string text =
      "activations by " + scheme.activations.observer + ", weights by " + scheme.weights.observer;
  if (!r.bits.empty()) text += ", " + r.bits;
  if (!r.algorithm.empty()) text += ", " + r.algorithm;
  if (r.sparsity.given()) text += ", " + r.sparsity.pattern;
  if (!r.budget.empty()) text += ", " + r.budget;
  for (size_t i = 0; i < r.adjust.size(); ++i) text += (i == 0 ? ", " : " and ") + r.adjust[i];
  return text;
}

// One request on its way.
class Job {
 public:
  Job(const compiler::Platform& platform, const QuantizeRequest& request,
      const QuantizeInputs& inputs)
      : platform_(platform), r_(request), in_(inputs) {}

  Result<QuantizeOutcome> Run();

 private:
  Result<SparsifyOptions> HowToPrune(const std::string& pattern) const;
  Status Sparsify();
  Status Prepare();
  Status WeightsAlone();
  Status Climb();
  Status Mix();
  void Report(const std::string& stage, int64_t done, int64_t total) const {
    if (in_.progress) in_.progress(stage, done, total);
  }

  compiler::Platform platform_;  // its observers as the user wants them
  const QuantizeRequest& r_;
  const QuantizeInputs& in_;
  const ir::Graph* graph_ = nullptr;  // the caller's, or pruned
  std::string work_;
  QuantizeModelOptions options_;
  QuantizeOutcome out_;
};

Result<SparsifyOptions> Job::HowToPrune(const std::string& pattern) const {
  SparsifyOptions options;
  SLIPWAY_ASSIGN_OR_RETURN(options.pattern, compiler::ParseSparsity(pattern));
  const SparsityRequest& s = r_.sparsity;
  options.method =
      s.method == "magnitude" ? quant::PruneMethod::kMagnitude : quant::PruneMethod::kObs;
  options.ends = s.ends;
  options.keep_dense.insert(s.keep_dense.begin(), s.keep_dense.end());
  options.iterations = std::max<int64_t>(0, s.iterations);
  options.fisher = r_.loss == "fisher";
  if (r_.samples >= 0) options.prune_samples = options.samples = r_.samples;
  options.batch = r_.batch;
  options.seed = r_.seed;
  options.pool = in_.pool;
  options.pruning = [this](const std::string& layer, int64_t index, int64_t count) {
    Report("pruning " + layer, index, count);
  };
  options.learning = [this, iterations = std::max<int64_t>(1, options.iterations)](
                         const std::string& block, int64_t index, int64_t blocks,
                         int64_t iteration) {
    Report("training " + block + " (" + std::to_string(index + 1) + " of " +
               std::to_string(blocks) + ")",
           iteration, iterations);
    return true;
  };
  return options;
}

Status Job::Sparsify() {
  SLIPWAY_ASSIGN_OR_RETURN(SparsifyOptions options, HowToPrune(r_.sparsity.pattern));
  if (!work_.empty()) {
    SLIPWAY_RETURN_IF_ERROR(MakeFolder(work_));
    options.work = work_ + "/sparsity";
    work_ += "/quantization";
  }
  SLIPWAY_ASSIGN_OR_RETURN(out_.sparse, SparsifyModel(*in_.graph, in_.calibration, options));
  graph_ = out_.sparse->graph.get();
  return OkStatus();
}

Status Job::Prepare() {
  if (!platform_.has_scheme)
    return InvalidArgument(
        "platform '" + platform_.name +
        "' has no integers; choose one whose name ends in -int8 (`slipway platforms`)");
  compiler::Scheme& scheme = platform_.scheme;
  for (const auto& [name, given, to] :
       {std::tuple{"--observer", &r_.observer, &scheme.activations.observer},
        std::tuple{"--weight-observer", &r_.weight_observer, &scheme.weights.observer}}) {
    if (given->empty()) continue;
    if (const auto spec = compiler::ParseObserver(*given); !spec.ok())
      return spec.status().With(name);
    *to = *given;
  }
  if (!r_.bits.empty()) {
    SLIPWAY_RETURN_IF_ERROR(ParseBits(r_.bits, scheme, &options_));
  }
  // Extremes waste codes where there are few; the ladder tries them all the same.
  if (options_.weight_bits > 0 && options_.weight_bits < 8 && r_.weight_observer.empty() &&
      scheme.weights.observer == "minmax")
    scheme.weights.observer = "mse:2.4";
  SLIPWAY_ASSIGN_OR_RETURN(options_.adjust, ParseAdjustments(r_.adjust));
  options_.calibration_samples = CalibrationSamples(r_, in_.calibration->size());
  options_.method = r_.algorithm;
  options_.iterations = r_.iterations;
  options_.seed = r_.seed;
  options_.fisher = r_.loss == "fisher";
  options_.work = work_;
  options_.keep_zeros = out_.sparse.has_value();
  out_.sparse_bits = options_.weight_bits > 0 ? options_.weight_bits : scheme.weights.bits;
  options_.batch = r_.batch;
  options_.keep_float.insert(r_.keep_float.begin(), r_.keep_float.end());
  options_.layer_bits = r_.layer_bits;
  options_.pool = in_.pool;
  options_.progress = [this](int64_t done, int64_t total) { Report("calibrating", done, total); };
  options_.learning = [this](const std::string& block, int64_t index, int64_t blocks,
                             int64_t iteration) {
    Report("reconstructing " + block + " (" + std::to_string(index + 1) + " of " +
               std::to_string(blocks) + ")",
           iteration, std::max<int64_t>(iteration, r_.iterations > 0 ? r_.iterations : 2000));
    return true;
  };
  out_.choices = Choices(r_, scheme);
  return OkStatus();
}

Status Job::WeightsAlone() {
  quant::WeightOnlyOptions options;
  options.method = r_.algorithm == "rtn"   ? quant::WeightOnlyMethod::kNearest
                   : r_.algorithm == "awq" ? quant::WeightOnlyMethod::kAwq
                                           : quant::WeightOnlyMethod::kGptq;
  int bits = 4, end = 0;
  if (!r_.bits.empty() && (std::sscanf(r_.bits.c_str(), "W%d%n", &bits, &end) != 1 ||
                           static_cast<size_t>(end) != r_.bits.size() || bits < 2 || bits > 8))
    return InvalidArgument("--algorithm " + r_.algorithm +
                           " quantizes weights alone: --bits W2 to W8, not '" + r_.bits + "'");
  options.bits = out_.sparse_bits = bits;
  options.keep_zeros = out_.sparse.has_value();
  options.group = r_.group;
  options.act_order = r_.act_order;
  options.keep_float.insert(r_.keep_float.begin(), r_.keep_float.end());
  options.progress = [this](const std::string& layer, size_t index, size_t count) {
    Report("quantizing " + layer, static_cast<int64_t>(index), static_cast<int64_t>(count));
    return true;
  };
  SLIPWAY_ASSIGN_OR_RETURN(
      out_.weights, QuantizeModelWeights(*graph_, *in_.calibration,
                                         CalibrationSamples(r_, in_.calibration->size()), r_.batch,
                                         *in_.pool, std::move(options)));
  out_.weight_only_bits = bits;
  out_.choices = "weights alone by " + r_.algorithm + ", W" + std::to_string(bits) +
                 ", groups of " + (r_.group > 0 ? std::to_string(r_.group) : "all") + " inputs" +
                 (r_.sparsity.given() ? ", " + r_.sparsity.pattern : "");
  return OkStatus();
}

Status Job::Climb() {
  AutoQuantizeOptions search;
  search.quantize = options_;
  search.quantize.method.clear();
  search.max_drop = r_.max_drop;
  const auto progress = [this](int64_t done, int64_t total) { Report("evaluating", done, total); };
  const auto accuracy = [&](const ir::Graph& graph, const compiler::Platform& platform) {
    return GraphAccuracy(graph, platform, *in_.evaluation, in_.evaluation_samples, r_.batch,
                         *in_.pool, progress);
  };
  if (in_.float_top1) {
    search.float_top1 = *in_.float_top1;
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(const compiler::Platform host, GetPlatform(HostPlatform()));
    SLIPWAY_ASSIGN_OR_RETURN(const auto before, accuracy(*in_.graph, host));
    search.float_top1 = before.top1();
  }
  search.evaluate = [&](const ir::Graph& graph) -> Result<double> {
    SLIPWAY_ASSIGN_OR_RETURN(const auto after, accuracy(graph, platform_));
    out_.evaluated = after.n();
    return after.top1();
  };
  if (TimedHere(platform_)) {
    search.latency = [&](const ir::Graph& graph) -> Result<double> {
      Report("timing", 0, 1);
      BenchOptions bench;
      bench.session.threads = in_.threads;
      bench.measure.max_seconds = 1;
      bench.profile = false;
      SLIPWAY_ASSIGN_OR_RETURN(const BenchResult result, BenchGraph(graph, platform_, bench));
      return result.measurement.stats.p50;
    };
  }
  if (!out_.sparse && !platform_.sparsity.empty()) {
    const std::string& best = platform_.sparsity[0];
    SLIPWAY_ASSIGN_OR_RETURN(search.sparsity,
                             HowToPrune(best.starts_with("block:") ? best + "@0.5" : best));
    search.sparsity->work = work_;
    if (r_.sparsity.iterations < 0) search.sparsity_training = 500;
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto found,
                           AutoQuantize(*graph_, platform_.scheme, *in_.calibration, search));
  if (found.sparse) out_.sparse = std::move(found.sparse);
  if (!found.met)
    out_.gate =
        GateFailed("no rung keeps the drop under --max-drop " + Points(r_.max_drop) +
                   "; the best loses " + Points(found.rungs[found.chosen].drop_points) + " points");
  out_.model = std::move(found.model);
  out_.ladder = std::move(static_cast<LadderOutcome&>(found));
  return OkStatus();
}

Status Job::Mix() {
  MixedOptions mix;
  mix.quantize = options_;
  mix.platform = platform_;
  mix.threads = in_.threads;
  SLIPWAY_ASSIGN_OR_RETURN(mix.budget, ParseBudget(r_.budget));
  const std::string given = !r_.choices.empty() ? r_.choices
                            : mix.budget.budget.kind == BudgetKind::kLatency
                                ? "float,W8A8"
                                : "float,W8A8,W4A8,W4A4";
  for (const std::string& choice : SplitList(given)) {
    SLIPWAY_ASSIGN_OR_RETURN(const LayerBits bits, ParseLayerBits(choice));
    mix.choices.push_back(bits);
  }
  mix.progress = in_.progress;
  SLIPWAY_ASSIGN_OR_RETURN(auto mixed,
                           QuantizeMixed(*graph_, platform_.scheme, *in_.calibration, mix));
  out_.model = std::move(mixed.model);
  out_.mixed = std::move(static_cast<MixedChoice&>(mixed));
  return OkStatus();
}

Result<QuantizeOutcome> Job::Run() {
  SLIPWAY_RETURN_IF_ERROR(CheckRequest(r_, in_.evaluation != nullptr));
  if (NeedsCalibration(r_) && !in_.calibration)
    return InvalidArgument("no calibration data; give --calib, or 'calibration' in --config");
  graph_ = in_.graph;
  work_ = r_.work;
  if (r_.sparsity.given()) SLIPWAY_RETURN_IF_ERROR(Sparsify());
  if (StaysFloat(r_)) {
    out_.choices = "float, " + r_.sparsity.pattern;
    return std::move(out_);
  }
  if (IsWeightOnly(r_.algorithm)) {
    SLIPWAY_RETURN_IF_ERROR(WeightsAlone());
    if (out_.sparse) SLIPWAY_RETURN_IF_ERROR(CheckSparsity(out_.quantized(), *out_.sparse));
    return std::move(out_);
  }
  SLIPWAY_RETURN_IF_ERROR(Prepare());
  if (r_.algorithm == "auto") {
    SLIPWAY_RETURN_IF_ERROR(Climb());
  } else if (!r_.budget.empty()) {
    SLIPWAY_RETURN_IF_ERROR(Mix());
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(out_.model,
                             QuantizeModel(*graph_, platform_.scheme, *in_.calibration, options_));
  }
  if (out_.sparse) SLIPWAY_RETURN_IF_ERROR(CheckSparsity(out_.quantized(), *out_.sparse));
  return std::move(out_);
}

}  // namespace

const std::vector<std::string>& QuantizeAlgorithms() {
  static const std::vector<std::string> kNames = {"adaround", "brecq", "qdrop", "rtn",
                                                  "awq",      "gptq",  "auto"};
  return kNames;
}

bool IsWeightOnly(const std::string& algorithm) {
  return algorithm == "rtn" || algorithm == "awq" || algorithm == "gptq";
}

bool StaysFloat(const QuantizeRequest& request) { return request.bits == "none"; }

bool NeedsCalibration(const QuantizeRequest& r) {
  return !StaysFloat(r) || r.sparsity.method != "magnitude" || r.sparsity.iterations > 0;
}

namespace {
Status CheckSparsityRequest(const QuantizeRequest& r) {
  const SparsityRequest& s = r.sparsity;
  if (s.given()) SLIPWAY_RETURN_IF_ERROR(compiler::ParseSparsity(s.pattern).status());
  if (StaysFloat(r)) {
    if (!s.given())
      return InvalidArgument(
          "--bits none makes no codes, so that nothing is left to do; give --sparsity too, or "
          "bits");
    if (!r.algorithm.empty() || !r.adjust.empty() || !r.budget.empty() || !r.layer_bits.empty() ||
        !r.observer.empty() || !r.weight_observer.empty() || !r.keep_float.empty())
      return InvalidArgument(
          "with --bits none nothing is quantized: leave out --algorithm, --adjust, --budget, "
          "--keep-float, observers and bits of layers");
  }
  if (!s.given() && r.algorithm != "auto" &&
      (s.ends || s.iterations >= 0 || !s.keep_dense.empty() || !s.method.empty()))
    return InvalidArgument(
        "--sparsity-method, --sparsity-iterations, --keep-dense and --sparse-ends say how to "
        "prune; give the pattern, as in --sparsity 2:4");
  return OkStatus();
}
}  // namespace

Status CheckRequest(const QuantizeRequest& r, bool has_evaluation) {
  const auto& known = QuantizeAlgorithms();
  if (!r.algorithm.empty() && std::find(known.begin(), known.end(), r.algorithm) == known.end())
    return InvalidArgument("algorithm '" + r.algorithm +
                           "' is not known; `slipway quantize --help` lists them");
  if (r.budget.empty() && !r.choices.empty())
    return InvalidArgument("--choices are what --budget chooses from; give a budget");
  if (!r.budget.empty() && (!r.bits.empty() || !r.layer_bits.empty()))
    return InvalidArgument(
        "--budget chooses the bits of every layer; give --choices instead of --bits and of layers "
        "with bits");
  if (!r.budget.empty()) SLIPWAY_RETURN_IF_ERROR(ParseBudget(r.budget).status());
  if (IsWeightOnly(r.algorithm) &&
      (!r.adjust.empty() || !r.budget.empty() || !r.layer_bits.empty()))
    return InvalidArgument(
        "--adjust, --budget and bits of single layers are for activations and weights as codes; "
        "leave them out with --algorithm " +
        r.algorithm);
  SLIPWAY_RETURN_IF_ERROR(ParseAdjustments(r.adjust).status());
  SLIPWAY_RETURN_IF_ERROR(CheckSparsityRequest(r));
  if (r.algorithm != "auto") return OkStatus();
  if (!has_evaluation || r.max_drop < 0)
    return InvalidArgument(
        "--algorithm auto climbs until the accuracy is good enough: give --eval DATA and "
        "--max-drop POINTS");
  if (!r.adjust.empty() || !r.budget.empty())
    return InvalidArgument(
        "--algorithm auto chooses adjustments and precisions itself; leave out --adjust and "
        "--budget");
  return OkStatus();
}

std::string RequestKey(const QuantizeRequest& r) {
  std::string key = r.algorithm + "|" + r.bits + "|" + r.observer + "|" + r.weight_observer + "|" +
                    r.budget + "|" + r.choices + "|" + r.loss + "|" + std::to_string(r.samples) +
                    "|" + std::to_string(r.batch) + "|" + std::to_string(r.iterations) + "|" +
                    std::to_string(r.group) + "|" + std::to_string(r.seed) + "|" +
                    std::to_string(r.act_order);
  if (r.algorithm == "auto") key += "|drop " + std::to_string(r.max_drop);
  const SparsityRequest& s = r.sparsity;
  if (s.given() || r.algorithm == "auto") {
    key += "|sparsity " + s.pattern + " " + s.method + " " + std::to_string(s.iterations) +
           (s.ends ? " ends" : "");
    for (const std::string& name : s.keep_dense) key += "|dense " + name;
  }
  for (const std::string& name : r.adjust) key += "|adjust " + name;
  for (const std::string& name : r.keep_float) key += "|float " + name;
  for (const auto& [name, bits] : r.layer_bits) key += "|" + LayerBitsName(bits) + " " + name;
  return key;
}

int64_t CalibrationSamples(const QuantizeRequest& r, int64_t available) {
  const int64_t wanted = r.samples >= 0              ? r.samples
                         : r.algorithm.empty()       ? 256
                         : IsWeightOnly(r.algorithm) ? 128
                                                     : 1024;
  return wanted > 0 ? std::min(wanted, available) : available;
}

Result<data::AccuracyCounter> GraphAccuracy(
    const ir::Graph& graph, const compiler::Platform& platform, const data::Dataset& data,
    int64_t samples, int64_t batch, ThreadPool& pool,
    const std::function<void(int64_t done, int64_t total)>& progress) {
  SLIPWAY_ASSIGN_OR_RETURN(auto runner,
                           Runner::ForGraph(std::shared_ptr<const ir::Graph>(graph.Clone()),
                                            RunnableHere(platform), {.threads = pool.threads()}));
  SLIPWAY_ASSIGN_OR_RETURN(const Feed feed, FeedFor(graph, data, batch));
  EvaluateOptions options;
  options.samples = samples;
  options.pool = &pool;
  options.progress = progress;
  return Evaluate([&](const auto& in) { return runner.Run(in); }, data, feed, options);
}

Result<QuantizeOutcome> RunQuantize(const compiler::Platform& platform,
                                    const QuantizeRequest& request, const QuantizeInputs& inputs) {
  return Job(platform, request, inputs).Run();
}

}  // namespace slipway::deploy
