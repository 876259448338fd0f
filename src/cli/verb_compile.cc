#include <algorithm>

#include "base/mapped_file.h"
#include "cli/cli.h"
#include "deploy/model_io.h"
#include "deploy/place.h"
#include "deploy/runner.h"
#include "report/table.h"

namespace slipway::cli {
namespace {

struct Options {
  std::string costs = "analytic", prepack = "same";
  std::string model, platform, output, explain;
  std::vector<std::string> ranges, disabled;
  ModelFlags read;
  int threads = 1, rounds = 15;
  bool no_optimize = false, float_io = false, exact = false, tune = false, greedy = false,
       estimates = false;
};

std::string Why(const compiler::PlacementRow& row) {
  std::string out;
  for (const auto& r : row.reasons) out += (out.empty() ? "" : "; ") + r;
  return out;
}

Status Explain(const compiler::CompileResult& result, const std::string& name,
               const Context& context) {
  for (const auto& row : result.placement) {
    bool match = row.node == name ||
                 std::find(row.sources.begin(), row.sources.end(), name) != row.sources.end();
    if (!match) continue;
    report::Table table = MakeTable({"backend", "kernel", "expected ms", "price", ""});
    nlohmann::json rows = nlohmann::json::array(), moves = nlohmann::json::array();
    for (const auto& a : row.alternatives) {
      table.AddRow({a.backend, a.kernel, Fixed(a.cost_ms, 4), compiler::SourceName(a.source),
                    a.chosen ? "chosen" : ""});
      rows.push_back({{"backend", a.backend},
                      {"kernel", a.kernel},
                      {"ms", a.cost_ms},
                      {"source", compiler::SourceName(a.source)},
                      {"chosen", a.chosen}});
    }
    report::Table around =
        MakeTable({"tensor", "conversion, or in and out of", "expected ms", "price", ""});
    for (const auto& m : row.moves) {
      const bool converts = m.what != "in" && m.what != "out";
      around.AddRow({m.value, converts ? m.what : m.what + " " + m.backend, Fixed(m.price.ms, 4),
                     compiler::SourceName(m.price.source), m.paid ? "paid" : ""});
      moves.push_back({{"tensor", m.value},
                       {"backend", m.backend},
                       {"what", m.what},
                       {"ms", m.price.ms},
                       {"source", compiler::SourceName(m.price.source)},
                       {"paid", m.paid}});
    }
    std::string text = row.op + " node '" + row.node + "'\n" + Show(table);
    if (!row.moves.empty()) text += Show(around);
    if (!row.reasons.empty()) text += "declined by " + Why(row) + "\n";
    context.Print(text, {{"node", row.node},
                         {"op", row.op},
                         {"alternatives", rows},
                         {"moves", moves},
                         {"declined", row.reasons}});
    return OkStatus();
  }
  return InvalidArgument(
      "the compiled model has no node '" + name +
      "'; `compile --json` lists them (fused nodes answer to the names of all their parts)");
}

// What was timed to choose the plan.
std::string Plans(const std::vector<deploy::PlanRow>& plans) {
  if (plans.size() < 2) return "";
  report::Table table =
      MakeTable({"plan", "nodes", "conversions", "expected ms", "measured ms", "spread", ""});
  for (const deploy::PlanRow& p : plans) {
    table.AddRow({deploy::NamesText(p), deploy::NodesText(p), std::to_string(p.conversions),
                  Fixed(p.expected_ms, 3), Fixed(p.p50_ms, 3), Fixed(p.spread_ms, 3),
                  p.chosen ? "chosen" : ""});
  }
  return Show(table);
}

std::string TunedText(const char* what, const deploy::TuneCounts& c) {
  return std::to_string(c.all) + " " + what + " (" + std::to_string(c.measured) +
         " measured now, " + std::to_string(c.known) + " before, " + std::to_string(c.skipped) +
         " cannot run alone)";
}

nlohmann::json TunedJson(const deploy::TuneCounts& c) {
  return {{"all", c.all}, {"measured", c.measured}, {"known", c.known}, {"skipped", c.skipped}};
}

// At which sizes the peak was computed.
std::string PeakAt(const compiler::CompileResult& r) {
  if (r.package.symbols.empty()) return "";
  std::string at;
  for (const auto& [symbol, value] : r.peak_at)
    at += (at.empty() ? "" : ", ") + symbol + " = " + std::to_string(value);
  if (r.peak_at.size() == r.package.symbols.size()) return " (at " + at + ")";
  return " (with " + (at.empty() ? "" : at + " and ") + "every " + (at.empty() ? "" : "other ") +
         "dynamic dimension at 1)";
}

// No kernel here gains from zeros in weights yet, and no instruction of x86 or ARM does: said where
// somebody has pruned for it.
std::string SparseWeights(const compiler::CompileResult& r, nlohmann::json& json) {
  int products = 0, pairs = 0, blocks = 0;
  double macs = 0, zero_macs = 0;
  for (const auto& row : r.placement) {
    if (!row.sparsity) continue;
    ++products;
    pairs += row.sparsity->two_of_four;
    blocks += row.sparsity->zero_blocks >= 0.25;
    macs += static_cast<double>(row.macs);
    zero_macs += row.sparsity->zeros * static_cast<double>(row.macs);
  }
  const double share = macs > 0 ? zero_macs / macs : 0;
  json = {{"products", products},
          {"two_of_four", pairs},
          {"zero_blocks", blocks},
          {"zero_mac_share", share},
          {"gains", false}};
  if (pairs == 0 && blocks == 0) return "";
  return "sparse weights: " + std::to_string(pairs) + " of " + std::to_string(products) +
         " products have 2:4 sparsity, " + std::to_string(blocks) +
         " have a quarter or more of their " + std::to_string(ir::kSparseBlockOutputs) + "x" +
         std::to_string(ir::kSparseBlockInputs) + " blocks zero, " + Fixed(100 * share, 1) +
         " % of MACs are with 0; no kernel of this platform gains from it, the dense ones run\n";
}

Status Execute(const Options& o, Context& context) {
  SLIPWAY_ASSIGN_OR_RETURN(deploy::ModelOptions model, o.read.Options());
  SLIPWAY_ASSIGN_OR_RETURN(model.symbol_ranges, ParseRanges(o.ranges));
  model.float_io = o.float_io;
  SLIPWAY_ASSIGN_OR_RETURN(auto platform, deploy::GetPlatform(o.platform));
  SLIPWAY_ASSIGN_OR_RETURN(auto graph, deploy::LoadModel(o.model, model));
  compiler::CompileOptions options;
  options.threads = o.threads;
  options.optimize = !o.no_optimize;
  options.exact = o.exact;
  options.prepack = o.prepack == "all"    ? backends::Prepack::kAll
                    : o.prepack == "none" ? backends::Prepack::kNone
                                          : backends::Prepack::kSame;
  options.disabled_passes = o.disabled;
  const std::string weights = deploy::WeightsOf(o.model, model);
  deploy::TuneReport tuned;
  deploy::Placed placed;
  if (o.tune) {
    SLIPWAY_ASSIGN_OR_RETURN(auto store, perfdb::Store::Open());
    StageProgress progress("", context);
    deploy::PlaceOptions place;
    place.greedy = o.greedy;
    place.rounds = o.rounds;
    SLIPWAY_ASSIGN_OR_RETURN(deploy::Tuned both,
                             deploy::TuneAndPlace(
                                 *graph, platform, options, place, o.estimates, *store,
                                 [&](const std::string& stage, int64_t done, int64_t all) {
                                   progress.Update(stage, done, all);
                                 },
                                 o.model, weights));
    progress.Done();
    tuned = both.report;
    placed = std::move(both.placed);
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(auto cost, deploy::CostModelFor(o.costs, platform, o.threads));
    options.cost = cost.get();
    SLIPWAY_ASSIGN_OR_RETURN(placed.model,
                             deploy::CompileModel(*graph, platform, options, o.model, weights));
  }
  const deploy::CompiledModel& compiled = placed.model;
  const compiler::CompileResult& r = compiled.result;
  if (!o.output.empty()) {
    if (auto slash = o.output.find_last_of('/'); slash != std::string::npos)
      SLIPWAY_RETURN_IF_ERROR(MakeFolder(o.output.substr(0, slash)));
    SLIPWAY_RETURN_IF_ERROR(WriteFile(o.output, compiled.bytes));
  }
  if (!o.explain.empty()) return Explain(r, o.explain, context);

  std::map<std::string, int> per_backend;
  report::Table fallback = MakeTable({"fallback node", "op", "runs on", "because"});
  nlohmann::json nodes = nlohmann::json::array();
  int fallbacks = 0;
  for (const auto& row : r.placement) {
    ++per_backend[row.backend];
    if (row.fallback) {
      ++fallbacks;
      fallback.AddRow({row.node, row.op, row.backend, Why(row)});
    }
    nodes.push_back({{"name", row.node},
                     {"op", row.op},
                     {"backend", row.backend},
                     {"kernel", row.kernel},
                     {"dtype", row.dtype},
                     {"layout", row.layout},
                     {"expected_ms", row.cost_ms},
                     {"macs", row.macs},
                     {"fallback", row.fallback},
                     {"reasons", row.reasons},
                     {"sources", row.sources}});
  }
  std::string backends;
  for (const auto& [name, count] : per_backend)
    backends += (backends.empty() ? "" : ", ") + std::to_string(count) + " on " + name;
  std::string text = Plans(placed.plans);
  if (fallbacks > 0) text += Show(fallback);
  text += std::to_string(r.placement.size()) + " nodes (" + backends + "), " +
          std::to_string(format::CountSteps(r.package)) + " steps, " +
          std::to_string(r.conversions) + " layout conversions\n";
  text += "on the platform's own backends: " + Fixed(100 * r.own_node_share, 1) + " % of nodes, " +
          Fixed(100 * r.own_mac_share, 1) + " % of MACs\n";
  text += "constants " + Bytes(r.constant_bytes) + ", peak activations " + Bytes(r.peak_bytes) +
          PeakAt(r) + "; assignment " + (r.exact ? "exact" : "by local search") + "\n";
  if (o.tune) {
    text += "tuned: " + TunedText("kernels", tuned.kernels) + ", " +
            TunedText("conversions", tuned.conversions) + ", " +
            TunedText("hand-overs", tuned.hand_overs) + "; " + std::to_string(placed.rounds) +
            (placed.rounds == 1 ? " round" : " rounds") + " of choosing by times in place" +
            (placed.compared_rounds ? " (from estimates " + std::to_string(*placed.compared_rounds) +
                                          ")"
                                    : "") +
            "; expected " + Fixed(r.expected_ms, 3) + " ms" +
            (platform.emulated ? ", all of it emulated: no device's time" : "") + "\n";
  }
  nlohmann::json sparse;
  text += SparseWeights(r, sparse);
  if (!o.output.empty()) text += "wrote " + o.output + " (" + Bytes(compiled.bytes.size()) + ")\n";
  nlohmann::json tune;
  if (o.tune) {
    tune = {{"kernels", TunedJson(tuned.kernels)},
            {"conversions", TunedJson(tuned.conversions)},
            {"hand_overs", TunedJson(tuned.hand_overs)},
            {"cannot_run_alone", tuned.skipped},
            {"rounds", placed.rounds},
            {"emulated", platform.emulated}};
    if (placed.compared_rounds) tune["compared_rounds"] = *placed.compared_rounds;
  }
  context.Print(text, {{"platform", platform.name},
                       {"file", o.output},
                       {"size", compiled.bytes.size()},
                       {"nodes", nodes},
                       {"steps", format::CountSteps(r.package)},
                       {"conversions", r.conversions},
                       {"own_node_share", r.own_node_share},
                       {"own_mac_share", r.own_mac_share},
                       {"peak_bytes", r.peak_bytes},
                       {"peak_at", r.peak_at},
                       {"constant_bytes", r.constant_bytes},
                       {"expected_ms", r.expected_ms},
                       {"exact", r.exact},
                       {"sparse_weights", sparse},
                       {"plans", deploy::ToJson(placed.plans)},
                       {"tuned", tune},
                       {"static", r.package.static_plan}});
  return OkStatus();
}

}  // namespace

Action SetupCompile(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->model, "the model file")->required();
  app.add_option("--platform", o->platform, "see `slipway platforms`")->required();
  app.add_option("-o,--output", o->output, "the package to write (.slip)");
  app.add_option("--explain", o->explain, "print the alternatives of one node and their prices");
  o->read.DeclareShape(app);
  o->read.Declare(app);
  app.add_option("--range", o->ranges,
                 "N=1..8: the sizes that dimension N may have (N=4: the only one); repeatable");
  app.add_option("--disable", o->disabled, "names of passes that do not run")->delimiter(',');
  app.add_option("--costs", o->costs,
                 "what placement is decided by: analytic, or measured (kernels in the performance "
                 "database)")
      ->check(CLI::IsMember({"analytic", "measured"}));
  CLI::Option* tune = app.add_flag(
      "--tune", o->tune,
      "measure the kernels that the model may run on, the conversions and hand-overs between "
      "them, keep their times in the performance database, place by them, correct them by what steps take inside the network, and take "
      "the fastest of all plans, each backend alone among them");
  app.add_option("--tune-rounds", o->rounds, "with --tune: rounds of timing the plans in turns")
      ->check(CLI::Range(3, 1000))
      ->needs(tune);
  app.add_flag("--compare-greedy", o->greedy,
               "with --tune: also time the plan of each node's cheapest kernel")
      ->needs(tune);
  app.add_flag("--compare-estimates", o->estimates,
               "with --tune: also go from estimated prices of conversions and hand-overs")
      ->needs(tune);
  app.add_flag(
      "--float-io", o->float_io,
      "quantized inputs and outputs of a .tflite become float32 (so that eval can feed it)");
  app.add_flag("--no-optimize", o->no_optimize, "compile the graph as imported");
  app.add_flag(
      "--exact", o->exact,
      "no algorithm that rounds more than the sums it stands for (Winograd's convolutions)");
  app.add_option(
         "--prepack", o->prepack,
         "which weights the package holds as the kernels read them, so that sessions start "
         "at once: same (the default: what takes no more room), all (also Winograd's, 2 to 4 "
         "times as large) or none (for any CPU of the architecture)")
      ->check(CLI::IsMember({"none", "same", "all"}));
  app.add_option("--threads", o->threads, "threads that costs are estimated for")
      ->check(CLI::Range(1, 1024));
  return [o](Context& c) -> Status {
    if (o->output.empty() && o->explain.empty() && !c.json)
      return InvalidArgument("give -o FILE.slip (or --explain NODE, or --json)");
    return Execute(*o, c);
  };
}

}  // namespace slipway::cli
