#include <algorithm>
#include <cmath>

#include "cli/cli.h"
#include "deploy/bench.h"
#include "deploy/model_io.h"
#include "deploy/quantize_json.h"
#include "report/progress.h"
#include "report/table.h"

namespace slipway::cli {
namespace {

struct Options {
  std::string costs = "analytic";
  std::string model, platform;
  std::vector<std::string> shapes;
  ModelFlags read;
  int threads = 1, batch = 0, samples = 0, warmup = 0;
  double seconds = 1;
  bool profile = false, no_record = false, pin = false;
  std::string wait = "auto";
};

Status Execute(const Options& o, Context& context) {
  deploy::BenchRequest request;
  request.path = o.model;
  request.platform = o.platform;
  SLIPWAY_ASSIGN_OR_RETURN(request.shapes, ParseShapes(o.shapes));
  SLIPWAY_ASSIGN_OR_RETURN(request.read, o.read.OptionsFor(o.model, request.shapes));
  request.batch = o.batch;
  request.record = !o.no_record;
  request.options.ceilings = o.profile;
  request.costs = o.costs;
  request.options.session = {.threads = o.threads, .pin = o.pin};
  if (o.wait != "auto") {
    request.options.session.spin = o.wait == "spin" ? 1'000'000 : 0;
    request.options.session.yield = o.wait == "yield" ? 100'000 : 0;
  }
  request.options.measure.min_seconds = o.seconds;
  request.options.measure.max_seconds = std::max(20.0, 2 * o.seconds);
  if (o.samples > 0)
    request.options.measure.min_samples = request.options.measure.max_samples = o.samples;
  if (o.warmup > 0) request.options.measure.min_warmup = o.warmup;
  StageProgress progress("measuring", context);
  request.options.progress = [&](double fraction) {
    progress.Update(static_cast<int64_t>(fraction * 1000), 1000);
  };
  SLIPWAY_ASSIGN_OR_RETURN(deploy::BenchOutcome outcome, deploy::Bench(request));
  progress.Done();
  const deploy::BenchResult& r = outcome.result;
  const auto& s = r.measurement.stats;

  double total = 0;
  bool repeated = false;
  for (const auto& n : r.nodes) {
    total += n.total_ms();
    repeated |= n.calls != 1;
  }
  nlohmann::json nodes = nlohmann::json::array();
  std::map<std::string, double> by_op;
  for (const auto& n : r.nodes) {
    double gops = n.ms > 0 ? 2.0 * static_cast<double>(n.macs) / (n.ms * 1e6) : 0;
    nodes.push_back({{"name", n.name},
                     {"op", n.op},
                     {"backend", n.backend},
                     {"kernel", n.kernel},
                     {"ms", n.ms},
                     {"calls", n.calls},
                     {"gops", gops},
                     {"ceiling_share", n.compute_share},
                     {"bytes", n.bytes},
                     {"memory_share", n.memory_share},
                     {"macs", n.macs}});
    by_op[n.op + " on " + n.backend] += n.total_ms();
  }
  std::string text = outcome.platform + ", batch " + std::to_string(outcome.batch) + ", " +
                     std::to_string(o.threads) + " thread(s)" +
                     (r.emulated ? ", EMULATED: not comparable with real devices" : "") + "\n";
  text += "p50 " + Fixed(s.p50, 3) + " ms   p90 " + Fixed(s.p90, 3) + "   p99 " + Fixed(s.p99, 3) +
          "   min " + Fixed(s.min, 3) + "   spread " + Fixed(100 * s.spread, 1) + " %   " +
          std::to_string(s.n) + " samples after " + std::to_string(r.measurement.warmup_runs) +
          " warm-up runs\n";
  if (r.measurement.unstable) text += "UNSTABLE: " + r.measurement.unstable_why + "\n";
  for (const deploy::PluginUse& p : r.plugins) {
    text += "plugin " + p.file + ":" +
            (p.backend.empty() ? "" : " backend " + p.backend + " " + p.version) +
            (p.operators.empty() ? "" : " operators " + p.operators + " " + p.operators_version) +
            " sha256 " + p.sha256.substr(0, 16) + "\n";
  }
  text += "activations and workspace " + Bytes(r.peak_bytes) +
          (outcome.record.empty() ? "" : "; recorded as " + outcome.record) + "\n";
  if (o.profile) {
    // Calls are those of nodes in bodies; ms is of all of them.
    report::Table table = repeated ? MakeTable({"node", "op", "backend", "kernel", "ms", "%",
                                                "GOPS", "% ceiling", "MB", "% memory", "calls"})
                                   : MakeTable({"node", "op", "backend", "kernel", "ms", "%",
                                                "GOPS", "% ceiling", "MB", "% memory"});
    for (const auto& n : r.nodes) {
      double gops = n.ms > 0 ? 2.0 * static_cast<double>(n.macs) / (n.ms * 1e6) : 0;
      std::vector<std::string> row = {n.name,
                                      n.op,
                                      n.backend,
                                      n.kernel,
                                      Fixed(n.total_ms(), 4),
                                      Fixed(100 * n.total_ms() / std::max(total, 1e-9), 1),
                                      n.macs ? Fixed(gops, 1) : "",
                                      n.compute_share > 0 ? Fixed(100 * n.compute_share, 1) : "",
                                      Fixed(static_cast<double>(n.bytes) * 1e-6, 3),
                                      Fixed(100 * n.memory_share, 0)};
      if (repeated) row.push_back(Fixed(n.calls, n.calls == std::floor(n.calls) ? 0 : 2));
      table.AddRow(row);
    }
    text += Show(table);
    if (r.ceiling_read_gbps > 0) text += "ceilings of one thread, GOPS:";
    for (int k = 0; k < kernels::kCeilingKinds; ++k) {
      if (r.ceiling_gmacs[k] <= 0) continue;
      text += std::string(" ") + kernels::CeilingName(static_cast<kernels::CeilingKind>(k)) + " " +
              Fixed(2 * r.ceiling_gmacs[k], 0);
    }
    if (r.ceiling_read_gbps > 0)
      text += "; reading memory " + Fixed(r.ceiling_read_gbps, 1) + " GB/s\n";
  } else if (!by_op.empty()) {
    std::vector<std::pair<double, std::string>> sorted;
    for (const auto& [op, ms] : by_op) sorted.push_back({ms, op});
    std::sort(sorted.rbegin(), sorted.rend());
    report::Table table = MakeTable({"where the time goes", "ms", "%"});
    for (const auto& [ms, op] : sorted)
      table.AddRow({op, Fixed(ms, 3), Fixed(100 * ms / std::max(total, 1e-9), 1)});
    text += Show(table);
  }
  nlohmann::json ceilings = {{"read_gbps", r.ceiling_read_gbps}};
  for (int k = 0; k < kernels::kCeilingKinds; ++k) {
    ceilings[std::string(kernels::CeilingName(static_cast<kernels::CeilingKind>(k))) + "_gops"] =
        2 * r.ceiling_gmacs[k];
  }
  context.Print(text, {{"platform", outcome.platform},
                       {"threads", o.threads},
                       {"batch", outcome.batch},
                       {"p50_ms", s.p50},
                       {"p90_ms", s.p90},
                       {"p99_ms", s.p99},
                       {"min_ms", s.min},
                       {"mean_ms", s.mean},
                       {"spread", s.spread},
                       {"n", s.n},
                       {"warmup", r.measurement.warmup_runs},
                       {"unstable", r.measurement.unstable},
                       {"unstable_why", r.measurement.unstable_why},
                       {"emulated", r.emulated},
                       {"peak_bytes", r.peak_bytes},
                       {"samples_ms", r.measurement.samples_ms},
                       {"plugins", deploy::ToJson(r.plugins)},
                       {"nodes", nodes},
                       {"ceilings", ceilings},
                       {"record", outcome.record}});
  return OkStatus();
}

}  // namespace

Action SetupBench(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->model, "a .slip package or a model file")->required();
  app.add_option(
      "--platform", o->platform,
      "a platform (default: the best here); for a package the one that it was compiled for");
  app.add_option("--threads", o->threads, "threads")->check(CLI::Range(0, 1024));
  app.add_option("--batch", o->batch, "extent of a dynamic first dimension")
      ->check(CLI::PositiveNumber);
  app.add_option("--shape", o->shapes, "name=1,3,224,224: extent of a dynamic input");
  o->read.Declare(app);
  app.add_option("--seconds", o->seconds, "measure at least so long")
      ->check(CLI::Range(0.0, 3600.0));
  app.add_option("--samples", o->samples, "exactly so many samples")->check(CLI::PositiveNumber);
  app.add_option("--warmup", o->warmup, "at least so many warm-up runs")
      ->check(CLI::PositiveNumber);
  app.add_flag("--profile", o->profile, "a row per node");
  app.add_flag("--pin", o->pin, "bind worker threads to CPUs");
  app.add_option(
         "--wait", o->wait,
         "how an idle worker waits: auto (spins for some 40 us, yields, then sleeps), spin, "
         "yield or sleep")
      ->check(CLI::IsMember({"auto", "spin", "yield", "sleep"}));
  app.add_option("--costs", o->costs,
                 "what placement is decided by: analytic, or measured (kernels in the performance "
                 "database)")
      ->check(CLI::IsMember({"analytic", "measured"}));
  app.add_flag("--no-record", o->no_record,
               "do not store the measurement in the performance database");
  return [o](Context& c) { return Execute(*o, c); };
}

}  // namespace slipway::cli
