#include "deploy/mixed.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>

#include "deploy/model_io.h"
#include "deploy/runner.h"
#include "deploy/runtime_evaluator.h"
#include "deploy/toolchain.h"
#include "model/ir/stats.h"
#include "quant/schemes/quantize.h"
#include "quant/schemes/recurrent.h"

namespace slipway::deploy {
namespace {

using compiler::BudgetChoice;
using compiler::LayerOption;
using compiler::LayerOptions;

bool IsFloat(const LayerBits& b) { return b.weights == 0; }

class Mixer {
 public:
  Mixer(const compiler::Scheme& scheme, const data::Dataset& data, const MixedOptions& options)
      : scheme_(scheme), data_(data), options_(options) {}

  Result<MixedOutcome> Run(const ir::Graph& graph);

 private:
  Status Open(const ir::Graph& graph);
  // The network with these layers as given and all others float; `uniform`: the other nodes of the
  // scheme are quantized too.
  Result<std::unique_ptr<ir::Graph>> Variant(const std::map<std::string, LayerBits>& layers,
                                             bool uniform);
  Result<std::vector<ir::Tensor>> Outputs(const ir::Graph& graph);
  Status MeasureLosses();
  Status StaticCosts();
  Status MeasureTimes();
  // The tensors between layers.
  void FindSwitches();
  Status PriceSwitches();
  Result<BenchResult> Profile(const ir::Graph& graph);
  Result<MixedOutcome> Choose(const ir::Graph& graph, const std::vector<BudgetChoice>& front);
  // A choice for each layer, and what the network so made took (0: not measured).
  struct Measured {
    std::vector<size_t> picks;
    double loss = 0, cost = 0, ms = 0;
  };
  // The networks with one precision, as MeasureTimes measured them.
  std::vector<Measured> Uniform() const;
  std::map<std::string, LayerBits> Named(const std::vector<size_t>& picks) const;
  bool AllFloat(const std::vector<size_t>& picks) const {
    return std::all_of(picks.begin(), picks.end(),
                       [&](size_t c) { return IsFloat(options_.choices[c]); });
  }
  void Report(const std::string& stage, int64_t done, int64_t total) const {
    if (options_.progress) options_.progress(stage, done, total);
  }

  const compiler::Scheme& scheme_;
  const data::Dataset& data_;
  const MixedOptions& options_;
  std::unique_ptr<ir::Graph> original_;
  quant::QuantizeOptions kept_;         // what stays float whatever is chosen
  std::vector<const ir::Node*> nodes_;  // of the layers
  quant::Observers observers_;
  Feed feed_;
  std::vector<std::vector<ir::Tensor>> inputs_;
  std::vector<LayerOptions> layers_;
  double rest_ = 0;
  std::vector<double> uniform_ms_;  // of each choice; empty: not a budget of latency
  std::vector<compiler::DomainSwitch> switches_;
  std::vector<double> shares_;  // of each switch: elements of its tensor, by its layers' number
  std::set<size_t> first_;      // layers that read an input of the network
};

Status Mixer::Open(const ir::Graph& graph) {
  if (options_.choices.size() < 2)
    return InvalidArgument("mixed precision needs two choices or more, as in W8A8,W4A8,float");
  for (const LayerBits& b : options_.choices) {
    if (b.weights > scheme_.weights.bits || b.activations > scheme_.activations.bits)
      return InvalidArgument(
          "the choice " + LayerBitsName(b) + " has more bits than the platform's W" +
          std::to_string(scheme_.weights.bits) + "A" + std::to_string(scheme_.activations.bits));
  }
  SLIPWAY_ASSIGN_OR_RETURN(feed_, FeedFor(graph, data_, options_.quantize.batch));
  SLIPWAY_ASSIGN_OR_RETURN(original_, FormToQuantize(graph, scheme_));
  kept_.keep_float = options_.quantize.keep_float;
  for (const std::string& name : kept_.keep_float) {
    if (!original_->FindNode(name))
      return InvalidArgument("there is no node '" + name +
                             "' to keep in float; `slipway inspect "
                             "--platform` lists the fused nodes");
  }
  for (const ir::Node* n : quant::QuantizedNodes(*original_, scheme_, kept_)) {
    if (!quant::HasConstantWeights(*n)) continue;
    nodes_.push_back(n);
    layers_.push_back({n->name(), {}});
  }
  // Recurrent layers run in float whatever their weights are: they cost no time.
  if (options_.budget.budget.kind != BudgetKind::kLatency) {
    for (const quant::RecurrentLayer& r : quant::RecurrentLayers(*original_, scheme_, kept_)) {
      if (!r.kept.empty()) continue;
      nodes_.push_back(r.node);
      layers_.push_back({r.node->name(), {}});
    }
  }
  if (nodes_.empty())
    return InvalidArgument("the model has no layer that this platform runs on integers");
  const int64_t total = options_.quantize.calibration_samples > 0
                            ? std::min(options_.quantize.calibration_samples, data_.size())
                            : data_.size();
  const auto names = quant::ValuesToObserve(*original_, scheme_, kept_);
  SLIPWAY_ASSIGN_OR_RETURN(auto evaluator,
                           FastestEvaluator(*original_, names, options_.quantize.pool));
  SLIPWAY_ASSIGN_OR_RETURN(
      observers_, quant::Calibrate(*original_, evaluator,
                                   CalibrationBatches(data_, feed_, total, options_.quantize.pool),
                                   names, [&](int64_t batches) {
                                     Report("calibrating", std::min(total, batches * feed_.batch),
                                            total);
                                   }));
  const auto batches = CalibrationBatches(data_, feed_, std::min(options_.samples, data_.size()),
                                          options_.quantize.pool);
  for (int64_t i = 0;; ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(auto batch, batches(i));
    if (batch.empty()) break;
    inputs_.push_back(std::move(batch));
  }
  return OkStatus();
}

Result<std::unique_ptr<ir::Graph>> Mixer::Variant(const std::map<std::string, LayerBits>& layers,
                                                  bool uniform) {
  quant::QuantizeOptions options = kept_;
  std::set<const ir::Node*> treated;
  for (const ir::Node* n : nodes_) {
    const auto found = layers.find(n->name());
    if (found == layers.end() || IsFloat(found->second)) {
      options.keep_float.insert(n->name());
      continue;
    }
    treated.insert(n);
    options.weight_bits[n->name()] = found->second.weights;
    if (quant::IsRecurrent(*n)) continue;
    int& bits = options.activation_bits[n->input(0)->name()];
    bits = std::max(bits, found->second.activations);
  }
  for (const ir::Node* n : quant::QuantizedNodes(*original_, scheme_, kept_)) {
    if (!uniform && !treated.contains(n)) options.keep_float.insert(n->name());
  }
  for (const quant::RecurrentLayer& r : quant::RecurrentLayers(*original_, scheme_, kept_)) {
    if (!uniform && !treated.contains(r.node)) options.keep_float.insert(r.node->name());
  }
  auto variant = original_->Clone();
  if (treated.empty()) return variant;
  SLIPWAY_RETURN_IF_ERROR(quant::InsertQuantization(*variant, scheme_, observers_, options));
  return variant;
}

Result<std::vector<ir::Tensor>> Mixer::Outputs(const ir::Graph& graph) {
  SLIPWAY_ASSIGN_OR_RETURN(
      auto runner,
      Runner::ForGraph(
          std::shared_ptr<const ir::Graph>(graph.Clone()), RunnableHere(options_.platform),
          {.threads = options_.quantize.pool ? options_.quantize.pool->threads() : 1}));
  std::vector<ir::Tensor> all;
  for (const auto& batch : inputs_) {
    SLIPWAY_ASSIGN_OR_RETURN(auto outputs, runner.Run(batch));
    for (ir::Tensor& t : outputs) {
      if (t.dtype() == DType::kFloat32) all.push_back(t.Aligned());
    }
  }
  return all;
}

Status Mixer::MeasureLosses() {
  SLIPWAY_ASSIGN_OR_RETURN(const auto expected, Outputs(*original_));
  double power = 0;
  for (const ir::Tensor& t : expected) {
    for (int64_t i = 0; i < t.count(); ++i)
      power += double{t.data<float>()[i]} * double{t.data<float>()[i]};
  }
  if (!(power > 0)) return InvalidArgument("the model's outputs are all zero on this data");
  const auto total = static_cast<int64_t>(layers_.size() * options_.choices.size());
  int64_t done = 0;
  for (size_t l = 0; l < layers_.size(); ++l) {
    for (const LayerBits& bits : options_.choices) {
      LayerOption a{LayerBitsName(bits), 0, 0, IsFloat(bits) ? 0 : 1};
      if (!IsFloat(bits)) {
        SLIPWAY_ASSIGN_OR_RETURN(const auto variant, Variant({{layers_[l].node, bits}}, false));
        SLIPWAY_ASSIGN_OR_RETURN(const auto got, Outputs(*variant));
        double error = 0;
        for (size_t t = 0; t < got.size(); ++t) {
          for (int64_t i = 0; i < got[t].count(); ++i) {
            const double d = double{got[t].data<float>()[i]} - expected[t].data<float>()[i];
            error += d * d;
          }
        }
        a.loss = error / power;
        if (!std::isfinite(a.loss))
          return InvalidArgument("layer '" + layers_[l].node + "' at " + a.name +
                                 " makes outputs that are not finite");
      }
      layers_[l].options.push_back(std::move(a));
      Report("losses of layers", ++done, total);
    }
  }
  return OkStatus();
}

Status Mixer::StaticCosts() {
  for (size_t l = 0; l < layers_.size(); ++l) {
    const ir::Node& node = *nodes_[l];
    auto weights = static_cast<double>(node.constant_input(1)->count());
    double channels = 0, scales = 0;  // biases, which have scales too; scales alone
    if (quant::IsRecurrent(node)) {
      weights += static_cast<double>(node.constant_input(2)->count());
      for (const size_t i : {1, 2}) {
        const Dims& dims = node.constant_input(i)->dims();
        scales += static_cast<double>(dims[0] * dims[1]);
      }
    } else if (node.constant_input(2)) {
      channels = static_cast<double>(node.constant_input(2)->count());
    }
    const auto macs =
        ir::NodeMacs(node).Evaluate([](std::string_view) { return std::optional<int64_t>(1); });
    if (!macs.ok()) return macs.status().With(node.Describe());
    for (size_t c = 0; c < options_.choices.size(); ++c) {
      const LayerBits& b = options_.choices[c];
      const double wb = IsFloat(b) ? 32 : b.weights, ab = IsFloat(b) ? 32 : b.activations;
      layers_[l].options[c].cost =
          options_.budget.budget.kind == BudgetKind::kSize
              ? std::ceil(weights * wb / 8) + channels * (IsFloat(b) ? 4 : 8) +
                    scales * (IsFloat(b) ? 0 : 4)
              : static_cast<double>(*macs) * wb * (quant::IsRecurrent(node) ? 32 : ab);
    }
  }
  return OkStatus();
}

Result<BenchResult> Mixer::Profile(const ir::Graph& graph) {
  if (!TimedHere(options_.platform))
    return InvalidArgument("a latency is measured on platforms of this machine, and '" +
                           options_.platform.name +
                           "' is not one; give a budget of size or bitops");
  BenchOptions bench;
  bench.session.threads = options_.threads;
  bench.measure.max_seconds = 3;
  return BenchGraph(graph, options_.platform, bench);
}

Status Mixer::MeasureTimes() {
  FindSwitches();
  std::vector<double> rests;
  for (size_t c = 0; c < options_.choices.size(); ++c) {
    Report("timing " + LayerBitsName(options_.choices[c]), static_cast<int64_t>(c),
           static_cast<int64_t>(options_.choices.size()));
    std::map<std::string, LayerBits> all;
    for (const LayerOptions& l : layers_) all[l.node] = options_.choices[c];
    SLIPWAY_ASSIGN_OR_RETURN(const auto variant, Variant(all, !IsFloat(options_.choices[c])));
    SLIPWAY_ASSIGN_OR_RETURN(const BenchResult result, Profile(*variant));
    std::map<std::string, double> ms;
    double total = 0;
    // The profiled pass times every step: the shares of the least times, which no neighbour
    // disturbed, of the whole latency.
    for (const NodeTime& n : result.nodes)
      ms[n.name] += n.least_ms * n.calls, total += n.least_ms * n.calls;
    const double scale = result.measurement.stats.p50 / total;
    double layers = 0;
    for (LayerOptions& l : layers_) {
      const auto found = ms.find(l.node);
      l.options[c].cost = found == ms.end() ? 0 : found->second * scale;
      layers += l.options[c].cost;
    }
    rests.push_back(result.measurement.stats.p50 - layers);
    uniform_ms_.push_back(result.measurement.stats.p50);
  }
  // What one precision takes beside its layers and another does not are conversions at the ends.
  rest_ = *std::min_element(rests.begin(), rests.end());
  for (const size_t l : first_) {
    for (size_t c = 0; c < rests.size(); ++c)
      layers_[l].options[c].cost += (rests[c] - rest_) / static_cast<double>(first_.size());
  }
  return PriceSwitches();
}

void Mixer::FindSwitches() {
  std::map<const ir::Node*, size_t> layer;
  for (size_t l = 0; l < nodes_.size(); ++l) layer[nodes_[l]] = l;
  std::map<const ir::Value*, std::vector<size_t>> readers;
  for (size_t l = 0; l < nodes_.size(); ++l) readers[nodes_[l]->input(0)].push_back(l);
  for (const auto& [value, to] : readers) {
    // The layers whose results reach it through other nodes, whose precision follows from theirs.
    std::set<size_t> from;
    bool input = false;
    std::set<const ir::Value*> seen;
    std::vector<const ir::Value*> open = {value};
    while (!open.empty()) {
      const ir::Value* v = open.back();
      open.pop_back();
      if (!v || v->constant() || !seen.insert(v).second) continue;
      input |= v->is_input();
      const ir::Node* made_by = v->producer();
      if (!made_by) continue;
      if (const auto found = layer.find(made_by); found != layer.end()) {
        from.insert(found->second);
      } else {
        for (const ir::Value* i : made_by->inputs()) open.push_back(i);
      }
    }
    if (input) first_.insert(to.begin(), to.end());
    double elements = value->type().shape ? 1 : 0;
    for (size_t d = 0; value->type().shape && d < value->type().shape->size(); ++d) {
      const auto extent = (*value->type().shape)[d].Evaluate(
          [](std::string_view) { return std::optional<int64_t>(1); });
      elements *= extent.ok() ? static_cast<double>(*extent) : 1;
    }
    for (const size_t l : to) {
      for (const size_t f : from) {
        if (f >= l) continue;
        switches_.push_back({f, l, 0, 0});
        shares_.push_back(elements / static_cast<double>(from.size() * to.size()));
      }
    }
  }
}

// Conversions carry the names of the tensors that they convert, with a suffix.
Status Mixer::PriceSwitches() {
  const auto is_float = [&](const LayerBits& b) { return IsFloat(b); };
  const auto floats = std::find_if(options_.choices.begin(), options_.choices.end(), is_float),
             codes = std::find_if_not(options_.choices.begin(), options_.choices.end(), is_float);
  if (floats == options_.choices.end() || codes == options_.choices.end()) switches_.clear();
  if (switches_.empty()) return OkStatus();
  const std::vector<size_t> pair = {static_cast<size_t>(floats - options_.choices.begin()),
                                    static_cast<size_t>(codes - options_.choices.begin())};
  std::map<const ir::Value*, double> readers;
  for (const ir::Node* n : nodes_) ++readers[n->input(0)];
  std::vector<std::array<bool, 2>> measured(switches_.size(), {false, false});
  double all = 0, elements = 0;
  for (size_t turn = 0; turn < 2; ++turn) {
    Report("timing conversions", static_cast<int64_t>(turn), 2);
    std::vector<size_t> picks;
    for (size_t l = 0; l < layers_.size(); ++l) picks.push_back(pair[(l + turn) % 2]);
    SLIPWAY_ASSIGN_OR_RETURN(const auto variant, Variant(Named(picks), true));
    SLIPWAY_ASSIGN_OR_RETURN(const BenchResult result, Profile(*variant));
    double total = 0;
    for (const NodeTime& n : result.nodes) total += n.least_ms * n.calls;
    const double scale = result.measurement.stats.p50 / total;
    std::map<const ir::Value*, double> conversions;
    std::map<std::string, double> nodes;
    for (const NodeTime& n : result.nodes) {
      const double ms = n.least_ms * n.calls * scale;
      nodes[n.name] += ms;
      std::string name = n.name.substr(0, n.name.rfind('/'));
      const ir::Value* v = original_->FindValue(name);
      if (!v) v = original_->FindValue(name.substr(0, name.rfind('_')));
      if (v && !original_->FindNode(n.name)) conversions[v] += ms;
    }
    for (size_t i = 0; i < switches_.size(); ++i) {
      compiler::DomainSwitch& s = switches_[i];
      if (picks[s.from] == picks[s.to]) continue;
      // A layer that makes floats for codes or codes for floats may take longer itself.
      const auto own = nodes.find(layers_[s.from].node);
      const double more =
          own == nodes.end() ? 0 : own->second - layers_[s.from].options[picks[s.from]].cost;
      const ir::Value* v = nodes_[s.to]->input(0);
      double ms = conversions[v] / readers[v];
      if (first_.count(s.from) == 0 && more > 0) ms += more / readers[v];
      const bool up = picks[s.from] == pair[0];
      (up ? s.up : s.down) = ms;
      measured[i][up ? 0 : 1] = true;
      all += ms;
      elements += shares_[i];
    }
  }
  // Layers that have one precision in both networks: by their tensors' size.
  const double each = elements > 0 ? all / elements : 0;
  for (size_t i = 0; i < switches_.size(); ++i) {
    if (!measured[i][0]) switches_[i].up = each * shares_[i];
    if (!measured[i][1]) switches_[i].down = each * shares_[i];
  }
  return OkStatus();
}

Result<MixedOutcome> Mixer::Run(const ir::Graph& graph) {
  SLIPWAY_RETURN_IF_ERROR(Open(graph));
  SLIPWAY_RETURN_IF_ERROR(MeasureLosses());
  const bool latency = options_.budget.budget.kind == BudgetKind::kLatency;
  SLIPWAY_RETURN_IF_ERROR(latency ? MeasureTimes() : StaticCosts());
  SLIPWAY_ASSIGN_OR_RETURN(const auto front, compiler::ConvexFront(layers_));
  return Choose(graph, front);
}

std::vector<Mixer::Measured> Mixer::Uniform() const {
  std::vector<Measured> all;
  for (size_t c = 0; c < uniform_ms_.size(); ++c) {
    Measured m{std::vector<size_t>(layers_.size(), c), 0, uniform_ms_[c], uniform_ms_[c]};
    for (const LayerOptions& l : layers_) m.loss += l.options[c].loss;
    all.push_back(std::move(m));
  }
  return all;
}

std::map<std::string, LayerBits> Mixer::Named(const std::vector<size_t>& picks) const {
  std::map<std::string, LayerBits> out;
  for (size_t l = 0; l < layers_.size(); ++l) out[layers_[l].node] = options_.choices[picks[l]];
  return out;
}

Result<MixedOutcome> Mixer::Choose(const ir::Graph& graph, const std::vector<BudgetChoice>& front) {
  MixedOutcome out;
  out.kind = options_.budget.budget.kind;
  out.front = front;
  out.rest = rest_;
  double dearest = rest_;
  for (const LayerOptions& l : layers_) {
    double most = 0;
    for (const LayerOption& a : l.options) most = std::max(most, a.cost);
    dearest += most;
  }
  out.limit = options_.budget.budget.limit * (options_.budget.share ? dearest : 1);
  const bool latency = options_.budget.budget.kind == BudgetKind::kLatency;
  std::vector<Measured> tried = Uniform();
  double allowed = out.limit - rest_;
  const auto converting = [&](const std::vector<size_t>& picks) {
    double ms = 0;
    for (const compiler::DomainSwitch& s : switches_) {
      ms += s.Cost(layers_[s.from].options[picks[s.from]].domain,
                   layers_[s.to].options[picks[s.to]].domain);
    }
    return ms;
  };
  constexpr int kRounds = 4;
  for (int round = 0; round < (latency ? kRounds : 1); ++round) {
    auto choice = compiler::ChooseUnderBudget(layers_, allowed, switches_);
    if (!choice.ok()) {
      if (round > 0 || std::any_of(tried.begin(), tried.end(),
                                   [&](const Measured& m) { return m.ms <= out.limit; }))
        break;
      return InvalidArgument(
          choice.status().message() +
          (latency ? " ms beside " + std::to_string(rest_) + " ms of other nodes" : ""));
    }
    tried.push_back({choice->picks, choice->loss, choice->cost + rest_, 0});
    if (!latency) break;
    Measured& mixed = tried.back();
    SLIPWAY_ASSIGN_OR_RETURN(const auto variant,
                             Variant(Named(mixed.picks), !AllFloat(mixed.picks)));
    SLIPWAY_ASSIGN_OR_RETURN(const BenchResult result, Profile(*variant));
    mixed.ms = result.measurement.stats.p50;
    if (mixed.ms <= out.limit * 1.01) break;
    allowed -= std::max(mixed.ms - out.limit, 0.005 * out.limit);
  }
  // What loses least within the limit; beyond it, what is fastest. Without times only one was
  // tried.
  const auto better = [&](const Measured& a, const Measured& b) {
    const bool a_in = a.ms <= out.limit * 1.01, b_in = b.ms <= out.limit * 1.01;
    if (latency && a_in != b_in) return a_in;
    return a_in ? a.loss < b.loss : a.ms < b.ms;
  };
  const Measured& best = *std::min_element(tried.begin(), tried.end(), better);
  out.picks = best.picks;
  out.loss = best.loss;
  out.cost = best.cost;
  out.measured = best.ms;
  out.conversions = converting(best.picks);
  if (AllFloat(out.picks)) {
    out.model.original = original_->Clone();
    out.model.quantized = original_->Clone();
    out.model.notes.push_back("within this budget every layer stays float");
    out.layers = std::move(layers_);
    return out;
  }
  QuantizeModelOptions quantize = options_.quantize;
  for (size_t l = 0; l < layers_.size(); ++l) {
    const LayerBits& bits = options_.choices[out.picks[l]];
    if (IsFloat(bits)) {
      quantize.keep_float.insert(layers_[l].node);
    } else {
      quantize.layer_bits[layers_[l].node] = bits;
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(out.model, QuantizeModel(graph, scheme_, data_, quantize));
  out.layers = std::move(layers_);
  return out;
}

}  // namespace

Result<LayerBits> ParseLayerBits(const std::string& text) {
  LayerBits bits;
  if (text == "float") return bits;
  int end = 0;
  if (std::sscanf(text.c_str(), "W%dA%d%n", &bits.weights, &bits.activations, &end) == 2 &&
      static_cast<size_t>(end) == text.size() && bits.weights >= 2 && bits.activations >= 2 &&
      bits.weights <= 16 && bits.activations <= 16)
    return bits;
  return InvalidArgument("'" + text + "' is not of the form W4A8 with 2 to 16 bits, nor float");
}

std::string LayerBitsName(const LayerBits& b) {
  if (IsFloat(b)) return "float";
  return "W" + std::to_string(b.weights) + "A" + std::to_string(b.activations);
}

Result<BudgetText> ParseBudget(const std::string& text) {
  const auto bad = [&] {
    return InvalidArgument("budget '" + text +
                           "' is not of the form latency=2.5ms, size=1.2MB, bitops=3.1G or, as a "
                           "share of the dearest choice, size=50%");
  };
  const size_t equals = text.find('=');
  if (equals == std::string::npos) return bad();
  BudgetText out;
  const std::string kind = text.substr(0, equals);
  if (kind == "latency") {
    out.budget.kind = BudgetKind::kLatency;
  } else if (kind == "size") {
    out.budget.kind = BudgetKind::kSize;
  } else if (kind == "bitops") {
    out.budget.kind = BudgetKind::kBitOps;
  } else {
    return bad();
  }
  const char* begin = text.c_str() + equals + 1;
  char* end = nullptr;
  const double value = std::strtod(begin, &end);
  if (end == begin || !(value > 0) || !std::isfinite(value)) return bad();
  const std::string unit(end);
  static const std::map<std::string, std::map<std::string, double>> kUnits = {
      {"latency", {{"ms", 1}, {"us", 1e-3}, {"s", 1e3}, {"", 1}}},
      {"size",
       {{"", 1},
        {"B", 1},
        {"kB", 1e3},
        {"KB", 1e3},
        {"MB", 1e6},
        {"GB", 1e9},
        {"KiB", 1024},
        {"MiB", 1024.0 * 1024}}},
      {"bitops", {{"", 1}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}}},
  };
  if (unit == "%") {
    out.share = true;
    out.budget.limit = value / 100;
    return out;
  }
  const auto& units = kUnits.at(kind);
  const auto found = units.find(unit);
  if (found == units.end()) return bad();
  out.budget.limit = value * found->second;
  return out;
}

Result<MixedOutcome> QuantizeMixed(const ir::Graph& graph, const compiler::Scheme& scheme,
                                   const data::Dataset& calibration, const MixedOptions& options) {
  return Mixer(scheme, calibration, options).Run(graph);
}

}  // namespace slipway::deploy
