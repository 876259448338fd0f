#include "deploy/place.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/cpu.h"
#include "device/host_facts.h"
#include "device/measure.h"
#include "perfdb/cost_model.h"

namespace slipway::deploy {
namespace {

using format::Layout;

// Runs of the clock at every step: so many passes of at least so long; each step's median counts.
constexpr int kPasses = 7;
constexpr double kPassSeconds = 0.02;

// What steps took in the networks that ran, on top of other prices.
class ObservedCost final : public compiler::CostModel {
 public:
  explicit ObservedCost(const compiler::CostModel& base) : base_(base) {}

  // A kernel never seen in a network takes as much longer there than by itself as those seen of its
  // backend: else what was never tried would always look better.
  double StepMs(const ir::Node& node, const std::string& backend,
                const backends::Candidate& candidate,
                const backends::Target& target) const override {
    const double alone = base_.StepMs(node, backend, candidate, target);
    if (candidate.view) return alone;
    const std::string signature = compiler::KernelSignature(node, backend, candidate.kernel);
    alone_[signature] = alone;
    const auto seen = steps_.find(signature);
    if (seen != steps_.end()) return seen->second;
    const auto sum = sums_.find(backend);
    return sum == sums_.end() ? alone : alone * sum->second.Ratio();
  }
  double ConvertMs(double bytes, Layout from, Layout to,
                   const backends::Target& target) const override {
    const double estimate = base_.ConvertMs(bytes, from, to, target);
    if (from == to) return estimate;
    if (const auto seen = conversions_.find({from, to, bytes}); seen != conversions_.end())
      return seen->second;
    return estimate * conversion_sum_.Ratio();
  }
  double HandOverMs(double bytes, const backends::Target& target) const override {
    return base_.HandOverMs(bytes, target);
  }

  void Step(const compiler::PlacementRow& row, double expected, double ms) {
    // The same kernel on the same extents may stand in several places: the mean of them.
    Mean& mean = means_[row.signature];
    mean.Add(ms);
    steps_[row.signature] = mean.Value();
    sums_[row.backend].Add(expected, ms);
  }
  void Conversion(double bytes, Layout from, Layout to, double expected, double ms) {
    Mean& mean = conversion_means_[{from, to, bytes}];
    mean.Add(ms);
    conversions_[{from, to, bytes}] = mean.Value();
    conversion_sum_.Add(expected, ms);
  }
  const compiler::CostModel& base() const { return base_; }
  // A chosen kernel's price without what was seen, so that ratios keep one meaning.
  double Alone(const compiler::PlacementRow& row) const {
    const auto it = alone_.find(row.signature);
    return it == alone_.end() ? row.cost_ms : it->second;
  }

 private:
  struct Mean {
    double sum = 0;
    int count = 0;
    void Add(double v) { sum += v, ++count; }
    double Value() const { return sum / count; }
  };
  struct Sums {
    double expected = 0, seen = 0;
    void Add(double e, double s) { expected += e, seen += s; }
    double Ratio() const { return expected > 0 ? std::clamp(seen / expected, 0.3, 3.0) : 1; }
  };
  using Conversions = std::tuple<Layout, Layout, double>;
  const compiler::CostModel& base_;
  mutable std::map<std::string, double> alone_;  // by signature, of all that was ever asked for
  std::map<std::string, double> steps_;
  std::map<std::string, Mean> means_;
  std::map<std::string, Sums> sums_;  // by backend
  std::map<Conversions, double> conversions_;
  std::map<Conversions, Mean> conversion_means_;
  Sums conversion_sum_;
};

struct Plan {
  PlanRow row;
  CompiledModel model;
  Session session;  // not profiled
};

double Seconds(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Mean milliseconds of runs that take `seconds` together.
Result<double> TimeRuns(Session& session, double seconds) {
  int runs = 0;
  const auto begin = std::chrono::steady_clock::now();
  do {
    SLIPWAY_RETURN_IF_ERROR(session.RunOnly());
    ++runs;
  } while (Seconds(begin) < seconds);
  return Seconds(begin) * 1e3 / runs;
}

class Placer {
 public:
  Placer(const ir::Graph& graph, const compiler::Platform& platform,
         const compiler::CompileOptions& options, const PlaceOptions& place, std::string model_path,
         std::string weights_path)
      : graph_(graph),
        platform_(platform),
        options_(options),
        place_(place),
        model_path_(std::move(model_path)),
        weights_path_(std::move(weights_path)),
        observed_(options.cost ? *options.cost : analytic_),
        target_(compiler::TargetOf(platform, options.threads)) {}

  Result<Placed> Run();

 private:
  // Compiles and adds the plan unless there is one like it; says which it is.
  Result<size_t> Try(std::string name, const compiler::Platform& platform,
                     const compiler::CostModel& cost, bool greedy);
  Status Observe(Plan& plan);
  Status TimeAll();
  void Progress() {
    if (place_.progress)
      place_.progress(++done_, static_cast<int64_t>(platform_.backends.size()) +
                                   place_.refinements + (place_.greedy ? 3 : 2));
  }

  const ir::Graph& graph_;
  const compiler::Platform& platform_;
  const compiler::CompileOptions& options_;
  const PlaceOptions& place_;
  const std::string model_path_, weights_path_;
  const compiler::AnalyticCost analytic_;
  ObservedCost observed_;
  const backends::Target target_;
  std::vector<ir::Tensor> inputs_;
  std::map<std::string, size_t> known_;  // by what runs where
  std::vector<Plan> plans_;
  int64_t done_ = 0;
};

Result<size_t> Placer::Try(std::string name, const compiler::Platform& platform,
                           const compiler::CostModel& cost, bool greedy) {
  compiler::CompileOptions options = options_;
  options.cost = &cost;
  options.greedy = greedy;
  SLIPWAY_ASSIGN_OR_RETURN(CompiledModel model,
                           CompileModel(graph_, platform, options, model_path_, weights_path_));
  std::string what;
  PlanRow row;
  for (const auto& r : model.result.placement) {
    what += r.node + "|" + r.backend + "|" + r.kernel + "|" + r.layout + "\n";
    ++row.nodes[r.backend];
  }
  if (const auto found = known_.find(what); found != known_.end()) {
    plans_[found->second].row.also.push_back(std::move(name));
    return found->second;
  }
  row.name = std::move(name);
  row.conversions = model.result.conversions;
  row.expected_ms = model.result.expected_ms;
  model.platform = platform_;
  SLIPWAY_ASSIGN_OR_RETURN(Session session,
                           Session::FromBytes(model.bytes, {.threads = options_.threads}));
  SLIPWAY_RETURN_IF_ERROR(session.SetInputs(inputs_));
  known_[what] = plans_.size();
  plans_.push_back({std::move(row), std::move(model), std::move(session)});
  SLIPWAY_RETURN_IF_ERROR(Observe(plans_.back()));
  return plans_.size() - 1;
}

Status Placer::Observe(Plan& plan) {
  SLIPWAY_ASSIGN_OR_RETURN(Session session,
                           plan.session.Another({.threads = options_.threads, .profile = true}));
  SLIPWAY_RETURN_IF_ERROR(session.SetInputs(inputs_));
  SLIPWAY_RETURN_IF_ERROR(TimeRuns(session, kPassSeconds).status());
  std::map<std::string, std::vector<double>> times;
  for (int pass = 0; pass < kPasses; ++pass) {
    session.ResetProfile();
    SLIPWAY_RETURN_IF_ERROR(TimeRuns(session, kPassSeconds).status());
    for (const slipway_step_profile& p : session.Profile()) {
      if (p.runs > 0) times[p.name].push_back(p.total_ms / static_cast<double>(p.runs));
    }
  }
  std::map<std::string, const compiler::PlacementRow*> rows;
  for (const auto& row : plan.model.result.placement) rows[row.node] = &row;
  const format::PackageData& package = plan.model.result.package;
  for (const format::PackageStep& step : package.steps) {
    const auto found = times.find(step.name);
    if (found == times.end() || step.backend < 0) continue;
    auto& list = found->second;
    std::nth_element(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(list.size() / 2),
                     list.end());
    const double ms = list[list.size() / 2];
    if (step.op.ends_with(".Reorder") && step.inputs.size() == 1) {
      const auto& from = package.tensors[static_cast<size_t>(step.inputs[0])];
      const auto& to = package.tensors[static_cast<size_t>(step.outputs[0])];
      double bytes = DTypeBits(from.dtype) / 8.0;
      for (const Dim& d : from.shape) bytes *= d.known() ? static_cast<double>(d.value()) : 1;
      observed_.Conversion(bytes, from.layout, to.layout,
                           observed_.base().ConvertMs(bytes, from.layout, to.layout, target_), ms);
      continue;
    }
    std::vector<const compiler::PlacementRow*> parts;
    for (const std::string& name :
         step.parts.empty() ? std::vector<std::string>{step.name} : step.parts) {
      if (const auto it = rows.find(name); it != rows.end()) parts.push_back(it->second);
    }
    if (parts.empty()) continue;
    // A step of several nodes: less its inputs and outputs, which have a price of their own, and
    // the rest as the nodes were expected to share it.
    double left = ms;
    if (!step.parts.empty()) {
      const auto hand_over = [&](int tensor) {
        if (tensor < 0) return;
        const auto& t = package.tensors[static_cast<size_t>(tensor)];
        if (t.kind == format::TensorKind::kConstant) return;
        double bytes = DTypeBits(t.dtype) / 8.0;
        for (const Dim& d : t.shape) bytes *= d.known() ? static_cast<double>(d.value()) : 1;
        left -= observed_.HandOverMs(bytes, target_);
      };
      for (int i : step.inputs) hand_over(i);
      for (int i : step.outputs) hand_over(i);
      left = std::max(left, 0.1 * ms);
    }
    double expected = 0;
    for (const auto* row : parts) expected += observed_.Alone(*row);
    for (const auto* row : parts) {
      const double price = observed_.Alone(*row);
      const double share =
          expected > 0 ? price / expected : 1.0 / static_cast<double>(parts.size());
      observed_.Step(*row, price, left * share);
    }
  }
  return OkStatus();
}

Status Placer::TimeAll() {
  for (Plan& plan : plans_) {
    plan.row.samples_ms.clear();
    SLIPWAY_RETURN_IF_ERROR(TimeRuns(plan.session, kPassSeconds).status());
  }
  for (int round = 0; round < place_.rounds; ++round) {
    for (size_t i = 0; i < plans_.size(); ++i) {
      // Every second round backwards, so that none always runs behind the same neighbour.
      Plan& plan = plans_[round % 2 ? plans_.size() - 1 - i : i];
      SLIPWAY_RETURN_IF_ERROR(plan.session.RunOnly());  // its weights come into the caches
      SLIPWAY_ASSIGN_OR_RETURN(const double ms, TimeRuns(plan.session, place_.round_seconds));
      plan.row.samples_ms.push_back(ms);
    }
  }
  for (Plan& plan : plans_) {
    std::vector<float> sorted(plan.row.samples_ms.begin(), plan.row.samples_ms.end());
    std::sort(sorted.begin(), sorted.end());
    plan.row.p50_ms = device::Percentile(sorted, 0.5);
    plan.row.spread_ms = device::Percentile(sorted, 0.9) - device::Percentile(sorted, 0.1);
  }
  return OkStatus();
}

Result<Placed> Placer::Run() {
  if (!TimedHere(platform_)) {
    return Unsupported("platform '" + platform_.name +
                       "' does not run on this machine, where plans are timed; leave --tune out");
  }
  std::vector<Runner::Port> ports;
  for (const ir::Value* v : graph_.inputs()) ports.push_back({v->name(), v->type()});
  SLIPWAY_ASSIGN_OR_RETURN(inputs_, MakeInputs(ports, {}, {}, true));
  SLIPWAY_RETURN_IF_ERROR(
      Try(options_.cost ? "kernels" : "estimated", platform_, observed_, false).status());
  Progress();
  if (options_.cost) {
    SLIPWAY_RETURN_IF_ERROR(Try("estimated", platform_, analytic_, false).status());
    Progress();
  }
  if (platform_.backends.size() > 1) {
    for (const std::string& name : platform_.backends) {
      compiler::Platform alone = platform_;
      alone.backends = {name};
      alone.fallback.clear();
      for (const std::string& other : platform_.backends) {
        if (other != name) alone.fallback.push_back(other);
      }
      alone.fallback.insert(alone.fallback.end(), platform_.fallback.begin(),
                            platform_.fallback.end());
      auto tried = Try(name + " alone", alone, observed_, false);
      if (tried.ok()) plans_[*tried].row.single = true;
      Progress();
    }
  }
  if (place_.greedy) {
    SLIPWAY_RETURN_IF_ERROR(Try("greedy", platform_, observed_, true).status());
    Progress();
  }
  for (int i = 1; i <= place_.refinements; ++i) {
    const size_t before = plans_.size();
    SLIPWAY_RETURN_IF_ERROR(
        Try("in place " + std::to_string(i), platform_, observed_, false).status());
    Progress();
    if (plans_.size() == before) break;  // the choice stays
  }
  const bool several = plans_.size() > 1;
  if (several) SLIPWAY_RETURN_IF_ERROR(TimeAll());
  const auto best =
      std::min_element(plans_.begin(), plans_.end(),
                       [](const Plan& a, const Plan& b) { return a.row.p50_ms < b.row.p50_ms; });
  // What is told is not what was chosen by: the least of several noisy times is too low.
  if (several) SLIPWAY_RETURN_IF_ERROR(TimeAll());
  best->row.chosen = true;
  Placed placed;
  placed.model = std::move(best->model);
  for (Plan& plan : plans_) placed.plans.push_back(std::move(plan.row));
  return placed;
}

}  // namespace

Result<Placed> Place(const ir::Graph& graph, const compiler::Platform& platform,
                     const compiler::CompileOptions& options, const PlaceOptions& place,
                     const std::string& model_path, const std::string& weights_path) {
  return Placer(graph, platform, options, place, model_path, weights_path).Run();
}

Result<Tuned> TuneAndPlace(
    const ir::Graph& graph, const compiler::Platform& platform,
    const compiler::CompileOptions& options, PlaceOptions place, perfdb::Store& store,
    const std::function<void(const std::string&, int64_t, int64_t)>& progress,
    const std::string& model_path, const std::string& weights_path) {
  Tuned tuned;
  const auto stage = [&](const char* name) -> std::function<void(int64_t, int64_t)> {
    if (!progress) return {};
    return [&progress, name](int64_t done, int64_t all) { progress(name, done, all); };
  };
  SLIPWAY_ASSIGN_OR_RETURN(tuned.kernels,
                           Tune(graph, platform, options, store, stage("measuring kernels")));
  const perfdb::MeasuredCost cost(store,
                                  perfdb::KernelKey(device::ReadHostFacts(), options.threads));
  compiler::CompileOptions measured = options;
  measured.cost = &cost;
  measured.provenance["tuned"] = "yes";
  place.progress = stage("timing plans");
  SLIPWAY_ASSIGN_OR_RETURN(tuned.placed,
                           Place(graph, platform, measured, place, model_path, weights_path));
  return tuned;
}

nlohmann::json ToJson(const std::vector<PlanRow>& plans) {
  nlohmann::json rows = nlohmann::json::array();
  for (const PlanRow& p : plans) {
    rows.push_back({{"name", p.name},
                    {"also", p.also},
                    {"nodes", p.nodes},
                    {"conversions", p.conversions},
                    {"expected_ms", p.expected_ms},
                    {"p50_ms", p.p50_ms},
                    {"spread_ms", p.spread_ms},
                    {"samples_ms", p.samples_ms},
                    {"single", p.single},
                    {"chosen", p.chosen}});
  }
  return rows;
}

std::string NodesText(const PlanRow& plan) {
  std::string text;
  for (const auto& [backend, count] : plan.nodes)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + backend;
  return text;
}

std::string NamesText(const PlanRow& plan) {
  std::string text = plan.name;
  for (const std::string& other : plan.also) text += ", " + other;
  return text;
}

}  // namespace slipway::deploy
