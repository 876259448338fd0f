#include "deploy/place.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "deploy/package_clock.h"
#include "device/measure.h"
#include "perfdb/cost_model.h"

namespace slipway::deploy {
namespace {

using format::Layout;

using compiler::Crossing;
using compiler::Price;
using compiler::Source;

// Runs of the clock at every step: so many passes of at least so long; each step's median counts.
constexpr int kPasses = 7;
constexpr double kPassSeconds = 0.02;
// A plan that is expected to be faster than one that is known by less than this share is no other
// choice: clocks do not tell so little.
constexpr double kGain = 0.005;
// On a device a pass is a call of slipway-run, which takes the median itself.
constexpr int kDevicePasses = 1;
constexpr int kDeviceRounds = 3;

ir::Type TypeOf(const format::PackageTensor& t) { return {t.dtype, t.shape}; }

// What steps took in the networks that ran, on top of other prices.
class ObservedCost final : public compiler::CostModel {
 public:
  explicit ObservedCost(const compiler::CostModel& base) : base_(base) {}

  // A kernel never seen in a network takes as much longer there than by itself as those seen of its
  // backend: else what was never tried would always look better.
  Price Step(const ir::Node& node, const std::string& backend, const backends::Candidate& candidate,
             const backends::Target& target) const override {
    const std::string signature = compiler::KernelSignature(node, backend, candidate.kernel);
    const Price alone = base_.Step(node, backend, candidate, target);
    alone_[signature] = alone;
    return candidate.view ? alone : Now(signature, backend);
  }
  Price Convert(const ir::Type& type, Layout from, Layout to,
                const backends::Target& target) const override {
    const Price alone = base_.Convert(type, from, to, target);
    if (from == to) return alone;
    const std::string signature = compiler::ConvertSignature(type, from, to);
    alone_[signature] = alone;
    return Now(signature, kConversions);
  }
  Price HandOver(const ir::Type& type, const std::string& backend, Crossing crossing,
                 const backends::Target& target) const override {
    const Price alone = base_.HandOver(type, backend, crossing, target);
    alone_[compiler::HandOverSignature(type, backend, crossing)] = alone;
    return alone;
  }

  // The same kernel on the same extents may stand in several places: the mean of them.
  void SawStep(const compiler::PlacementRow& row, double expected, double ms) {
    seen_[row.signature].Add(ms);
    sums_[row.backend].Add(expected, ms);
  }
  void SawConversion(const ir::Type& type, Layout from, Layout to, double expected, double ms) {
    seen_[compiler::ConvertSignature(type, from, to)].Add(ms);
    sums_[kConversions].Add(expected, ms);
  }
  const compiler::CostModel& base() const { return base_; }
  // A chosen kernel's price without what was seen, so that ratios keep one meaning.
  double Alone(const compiler::PlacementRow& row) const {
    const auto it = alone_.find(row.signature);
    return it == alone_.end() ? row.cost_ms : it->second.ms;
  }
  double Now(const compiler::PlacementRow& row) const {
    return alone_.contains(row.signature) ? Now(row.signature, row.backend).ms : row.cost_ms;
  }
  // The prices of a plan as they are at the end, whatever it was chosen by.
  void Reprice(std::vector<compiler::PlacementRow>& placement) const {
    for (compiler::PlacementRow& row : placement) {
      const auto now = [&](const std::string& signature, const std::string& of, double& ms,
                           Source& source) {
        if (!alone_.contains(signature)) return;
        const Price price = Now(signature, of);
        ms = price.ms, source = price.source;
      };
      const size_t head = row.backend.size() + row.kernel.size() + 1;
      for (compiler::Alternative& a : row.alternatives)
        now(a.backend + "|" + a.kernel + row.signature.substr(std::min(head, row.signature.size())),
            a.backend, a.cost_ms, a.source);
      now(row.signature, row.backend, row.cost_ms, row.source);
      for (compiler::Move& m : row.moves)
        now(m.signature, m.backend == "reference" ? kConversions : kHandOvers, m.price.ms,
            m.price.source);
    }
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
  static Price Scaled(const Price& alone, const Sums& sums) {
    const bool scaled = alone.source == Source::kMeasured && sums.expected > 0;
    return {alone.ms * sums.Ratio(), scaled ? Source::kScaled : alone.source};
  }

  // Among the sums by backend; of hand-overs there are none.
  static constexpr char kConversions[] = "conversions", kHandOvers[] = "hand-overs";

  // Of what was asked for.
  Price Now(const std::string& signature, const std::string& backend) const {
    if (const auto seen = seen_.find(signature); seen != seen_.end())
      return {seen->second.Value(), Source::kInPlace};
    const Price alone = alone_.at(signature);
    const auto sum = sums_.find(backend);
    return sum == sums_.end() ? alone : Scaled(alone, sum->second);
  }

  const compiler::CostModel& base_;
  mutable std::map<std::string, Price> alone_;  // by signature, of all that was ever asked for
  std::map<std::string, Mean> seen_;            // by signature
  std::map<std::string, Sums> sums_;            // by backend
};

struct Plan {
  PlanRow row;
  CompiledModel model;
  std::unique_ptr<PackageClock> clock;
  std::map<std::string, double> steps;  // what each took in it
};

// Prices and the plans that they were corrected by.
struct Line {
  explicit Line(const compiler::CostModel& base) : cost(base) {}
  ObservedCost cost;
  std::set<size_t> learned;
};

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
        line_(options.cost ? *options.cost : analytic_),
        target_(compiler::TargetOf(platform, options.threads)),
        here_(platform.device == "local") {}

  Result<Placed> Run();

 private:
  // Compiles and adds the plan unless there is one like it, and learns from it; says which it is.
  Result<size_t> Try(std::string name, const compiler::Platform& platform,
                     const compiler::CostModel& cost, Line& line, bool greedy = false,
                     bool only_if_better = false);
  // The line's way from its first prices; how often it was corrected.
  Result<int> Go(Line& line, const std::string& prefix);
  Status TimeSteps(Plan& plan);
  void Learn(const Plan& plan, ObservedCost& cost);
  // Its price by what was measured alone, or with what was seen `now`.
  std::optional<PlanRow::Alone> PriceOf(const CompiledModel& model, const ObservedCost& cost,
                                        bool now) const;
  Status TimeAll();
  void Progress() {
    if (place_.progress)
      place_.progress(++done_, (static_cast<int64_t>(platform_.backends.size()) +
                                place_.refinements + (place_.greedy ? 3 : 2)) *
                                   (place_.compare ? 2 : 1));
  }

  const ir::Graph& graph_;
  const compiler::Platform& platform_;
  const compiler::CompileOptions& options_;
  const PlaceOptions& place_;
  const std::string model_path_, weights_path_;
  const compiler::AnalyticCost analytic_;
  Line line_;
  const backends::Target target_;
  const bool here_;
  std::vector<Port> ports_;
  std::map<std::string, size_t> known_;  // by what runs where
  std::vector<Plan> plans_;
  int64_t done_ = 0;
};

Result<size_t> Placer::Try(std::string name, const compiler::Platform& platform,
                           const compiler::CostModel& cost, Line& line, bool greedy,
                           bool only_if_better) {
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
  if (only_if_better && !known_.contains(what)) {
    // By the line's own prices as they are now.
    double least = std::numeric_limits<double>::infinity();
    size_t best = 0;
    for (const size_t i : line.learned) {
      const auto price = PriceOf(plans_[i].model, line.cost, true);
      if (price && price->ms < least) least = price->ms, best = i;
    }
    if (model.result.expected_ms >= (1 - kGain) * least) {
      plans_[best].row.also.push_back(std::move(name));
      return best;
    }
  }
  const auto [found, added] = known_.emplace(what, plans_.size());
  const size_t index = found->second;
  if (added) {
    row.name = std::move(name);
    row.conversions = model.result.conversions;
    row.expected_ms = model.result.expected_ms;
    model.platform = platform_;
    SLIPWAY_ASSIGN_OR_RETURN(auto clock,
                             MakeClock(model.bytes, ports_, platform_, options_.threads));
    plans_.push_back({std::move(row), std::move(model), std::move(clock), {}});
    SLIPWAY_RETURN_IF_ERROR(TimeSteps(plans_.back()));
  } else {
    plans_[index].row.also.push_back(std::move(name));
  }
  if (line.learned.insert(index).second) Learn(plans_[index], line.cost);
  return index;
}

Status Placer::TimeSteps(Plan& plan) {
  std::map<std::string, std::vector<double>> times;
  if (here_) SLIPWAY_RETURN_IF_ERROR(plan.clock->Steps(kPassSeconds, false).status());
  for (int pass = 0; pass < (here_ ? kPasses : kDevicePasses); ++pass) {
    SLIPWAY_ASSIGN_OR_RETURN(const auto steps, plan.clock->Steps(kPassSeconds, false));
    for (const auto& [name, ms] : steps) times[name].push_back(ms);
  }
  for (auto& [name, list] : times) {
    std::nth_element(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(list.size() / 2),
                     list.end());
    plan.steps[name] = list[list.size() / 2];
  }
  return OkStatus();
}

// The tensors that a step of a network-level backend gets and gives, in turn.
template <typename F>
void ForBorders(const format::PackageData& package, const format::PackageStep& step, F&& f) {
  std::set<int> seen;
  const auto visit = [&](int tensor, Crossing crossing) {
    if (tensor < 0 || !seen.insert(tensor).second) return;
    const auto& t = package.tensors[static_cast<size_t>(tensor)];
    if (t.kind != format::TensorKind::kConstant)
      f(TypeOf(t), package.backends[static_cast<size_t>(step.backend)].name, crossing);
  };
  for (int i : step.inputs) visit(i, Crossing::kEnters);
  for (int i : step.outputs) visit(i, Crossing::kLeaves);
}

bool IsConversion(const format::PackageStep& step) {
  return step.op == compiler::kConvertOp && step.inputs.size() == 1;
}

void Placer::Learn(const Plan& plan, ObservedCost& cost) {
  std::map<std::string, const compiler::PlacementRow*> rows;
  for (const auto& row : plan.model.result.placement) rows[row.node] = &row;
  const format::PackageData& package = plan.model.result.package;
  for (const format::PackageStep& step : package.steps) {
    const auto found = plan.steps.find(step.name);
    if (found == plan.steps.end() || step.backend < 0) continue;
    const double ms = found->second;
    if (IsConversion(step)) {
      const auto& from = package.tensors[static_cast<size_t>(step.inputs[0])];
      const auto& to = package.tensors[static_cast<size_t>(step.outputs[0])];
      cost.SawConversion(TypeOf(from), from.layout, to.layout,
                         cost.base().Convert(TypeOf(from), from.layout, to.layout, target_).ms, ms);
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
      ForBorders(package, step,
                 [&](const ir::Type& type, const std::string& backend, Crossing crossing) {
                   left -= cost.HandOver(type, backend, crossing, target_).ms;
                 });
      left = std::max(left, 0.1 * ms);
    }
    double expected = 0;
    for (const auto* row : parts) expected += cost.Alone(*row);
    for (const auto* row : parts) {
      const double price = cost.Alone(*row);
      const double share =
          expected > 0 ? price / expected : 1.0 / static_cast<double>(parts.size());
      cost.SawStep(*row, price, left * share);
    }
  }
}

std::optional<PlanRow::Alone> Placer::PriceOf(const CompiledModel& model, const ObservedCost& cost,
                                              bool now) const {
  const compiler::CostModel& prices =
      now ? static_cast<const compiler::CostModel&>(cost) : cost.base();
  const format::PackageData& package = model.result.package;
  if (!package.programs.empty()) return std::nullopt;
  PlanRow::Alone sum;
  for (const auto& row : model.result.placement) sum.ms += now ? cost.Now(row) : cost.Alone(row);
  for (const format::PackageStep& step : package.steps) {
    if (IsConversion(step)) {
      const auto& from = package.tensors[static_cast<size_t>(step.inputs[0])];
      const auto& to = package.tensors[static_cast<size_t>(step.outputs[0])];
      sum.conversions_ms += prices.Convert(TypeOf(from), from.layout, to.layout, target_).ms;
    } else if (!step.parts.empty()) {
      ForBorders(package, step,
                 [&](const ir::Type& type, const std::string& backend, Crossing crossing) {
                   sum.hand_overs_ms += prices.HandOver(type, backend, crossing, target_).ms;
                 });
    }
  }
  sum.ms += sum.conversions_ms + sum.hand_overs_ms;
  return sum;
}

Status Placer::TimeAll() {
  for (Plan& plan : plans_) {
    plan.row.samples_ms.clear();
    if (here_) SLIPWAY_RETURN_IF_ERROR(plan.clock->Whole(kPassSeconds).status());
  }
  const int rounds = here_ ? place_.rounds : std::min(place_.rounds, kDeviceRounds);
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < plans_.size(); ++i) {
      // Every second round backwards, so that none always runs behind the same neighbour.
      Plan& plan = plans_[round % 2 ? plans_.size() - 1 - i : i];
      // Its weights come into the caches.
      if (here_) SLIPWAY_RETURN_IF_ERROR(plan.clock->Whole(0).status());
      SLIPWAY_ASSIGN_OR_RETURN(const double ms, plan.clock->Whole(place_.round_seconds));
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

Result<int> Placer::Go(Line& line, const std::string& prefix) {
  const bool estimates = !options_.cost;
  SLIPWAY_RETURN_IF_ERROR(
      Try(prefix + (estimates ? "estimated" : "kernels"), platform_, line.cost, line).status());
  Progress();
  if (!estimates && prefix.empty()) {
    SLIPWAY_RETURN_IF_ERROR(Try("estimated", platform_, analytic_, line).status());
    Progress();
  }
  if (platform_.backends.size() > 1) {
    for (const std::string& name : platform_.backends) {
      auto tried = Try(prefix + name + " alone", AlonePlatform(platform_, name), line.cost, line);
      if (tried.ok()) plans_[*tried].row.single = true;
      Progress();
    }
  }
  if (place_.greedy) {
    SLIPWAY_RETURN_IF_ERROR(Try(prefix + "greedy", platform_, line.cost, line, true).status());
    Progress();
  }
  for (int i = 1; i <= place_.refinements; ++i) {
    const size_t before = line.learned.size();
    SLIPWAY_RETURN_IF_ERROR(
        Try(prefix + "in place " + std::to_string(i), platform_, line.cost, line, false, true)
            .status());
    Progress();
    if (line.learned.size() == before) return i;  // the choice stays
  }
  return place_.refinements;
}

Result<Placed> Placer::Run() {
  SLIPWAY_RETURN_IF_ERROR(CanTime(platform_));
  for (const ir::Value* v : graph_.inputs()) ports_.push_back({v->name(), v->type()});
  Placed placed;
  SLIPWAY_ASSIGN_OR_RETURN(placed.rounds, Go(line_, ""));
  std::unique_ptr<Line> other;
  if (place_.compare) {
    other = std::make_unique<Line>(*place_.compare);
    SLIPWAY_ASSIGN_OR_RETURN(placed.compared_rounds, Go(*other, "by estimates: "));
  }
  for (Plan& plan : plans_) {
    plan.row.alone = PriceOf(plan.model, line_.cost, false);
    if (other) plan.row.compared = PriceOf(plan.model, other->cost, false);
  }
  const bool several = plans_.size() > 1;
  // A plan alone is timed only to be compared with what was expected.
  const bool timed = several || place_.compare;
  if (timed) SLIPWAY_RETURN_IF_ERROR(TimeAll());
  const auto best =
      std::min_element(plans_.begin(), plans_.end(),
                       [](const Plan& a, const Plan& b) { return a.row.p50_ms < b.row.p50_ms; });
  // What is told is not what was chosen by: the least of several noisy times is too low.
  if (several) SLIPWAY_RETURN_IF_ERROR(TimeAll());
  best->row.chosen = true;
  line_.cost.Reprice(best->model.result.placement);
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
    const compiler::CompileOptions& options, PlaceOptions place, bool compare_estimates,
    perfdb::Store& store, const std::function<void(const std::string&, int64_t, int64_t)>& progress,
    const std::string& model_path, const std::string& weights_path) {
  Tuned tuned;
  const auto stage = [&](const char* name) -> std::function<void(int64_t, int64_t)> {
    if (!progress) return {};
    return [&progress, name](int64_t done, int64_t all) { progress(name, done, all); };
  };
  SLIPWAY_ASSIGN_OR_RETURN(tuned.report,
                           Tune(graph, platform, options, store, stage("measuring kernels")));
  const perfdb::PlatformKey key = StepKey(platform, options.threads);
  const perfdb::MeasuredCost cost(store, key), kernels(store, key, false);
  compiler::CompileOptions measured = options;
  measured.cost = &cost;
  measured.provenance["tuned"] = platform.emulated ? "emulated" : "yes";
  place.progress = stage("timing plans");
  place.compare = compare_estimates ? &kernels : nullptr;
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
    for (const auto& [name, price] :
         {std::pair("alone", &p.alone), std::pair("compared", &p.compared)}) {
      if (*price)
        rows.back()[name] = {{"ms", (*price)->ms},
                             {"conversions_ms", (*price)->conversions_ms},
                             {"hand_overs_ms", (*price)->hand_overs_ms}};
    }
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
