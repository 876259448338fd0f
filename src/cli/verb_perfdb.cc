#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "cli/cli.h"
#include "deploy/model_io.h"
#include "engine/compiler/cost.h"
#include "model/ir/stats.h"
#include "perfdb/store.h"

namespace slipway::cli {
namespace {

struct Options {
  std::string database, platform, model, structure, precision, file, op, backend;
  ModelFlags read;
  int64_t batch = 0, threads = 0, limit = 20;
  bool any_shape = false, stable = false, samples = false, kernels = false;
};

std::string Database(const Options& o) {
  return o.database.empty() ? perfdb::Store::DefaultPath() : o.database;
}

std::string HexHash(uint64_t hash) {
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

nlohmann::json Json(const perfdb::MeasurementResult& r, const Options& o) {
  const auto& [structure, key, row] = r;
  nlohmann::json json = {{"structure", structure.hash_with_shapes},
                         {"family", structure.hash_without_shapes},
                         {"name", structure.name},
                         {"platform", key.platform},
                         {"platform_key", row.platform_key},
                         {"hardware", key.hardware},
                         {"cpu_model", key.cpu_model},
                         {"runtime", key.runtime},
                         {"runtime_version", key.runtime_version},
                         {"precision", key.precision},
                         {"batch", key.batch},
                         {"threads", key.threads},
                         {"emulated", key.emulated},
                         {"date", row.date},
                         {"n", row.stats.n},
                         {"min_ms", row.stats.min},
                         {"p50_ms", row.stats.p50},
                         {"p90_ms", row.stats.p90},
                         {"p99_ms", row.stats.p99},
                         {"spread", row.stats.spread},
                         {"unstable", row.unstable},
                         {"unstable_why", row.unstable_why},
                         {"peak_bytes", row.peak_bytes},
                         {"source", "measured"}};
  if (o.samples) json["samples_ms"] = row.samples_ms;
  if (o.kernels) {
    json["nodes"] = nlohmann::json::array();
    for (const auto& k : row.kernels) {
      json["nodes"].push_back({{"name", k.node},
                               {"op", k.op},
                               {"backend", k.backend},
                               {"kernel", k.kernel},
                               {"ms", k.ms},
                               {"macs", k.macs}});
    }
  }
  return json;
}

Status Query(const Options& o, Context& context) {
  perfdb::MeasurementQuery query;
  query.structure = o.structure;
  query.platform = o.platform;
  query.precision = o.precision;
  if (o.batch > 0) query.batch = o.batch;
  if (o.threads > 0) query.threads = o.threads;
  query.stable_only = o.stable;
  query.with_samples = o.samples;
  query.with_kernels = o.kernels;
  query.limit = o.limit;
  if (!o.model.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(const deploy::ModelOptions model, o.read.Options());
    SLIPWAY_ASSIGN_OR_RETURN(auto graph, deploy::LoadModel(o.model, model));
    query.structure = HexHash(ir::StructureHash(*graph, !o.any_shape));
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto store, perfdb::Store::Open(Database(o), {.read_only = true}));
  SLIPWAY_ASSIGN_OR_RETURN(auto found, store->Measurements(query));
  nlohmann::json rows = nlohmann::json::array();
  report::Table table =
      MakeTable({"structure", "name", "platform", "precision", ">batch", ">threads", ">p50 ms",
                 ">p90 ms", ">spread", ">peak", "date", "remark"});
  for (const auto& r : found) {
    rows.push_back(Json(r, o));
    std::string remark = r.key.emulated ? "emulated" : "";
    if (r.row.unstable) remark += std::string(remark.empty() ? "" : ", ") + "unstable";
    table.AddRow({r.structure.hash_with_shapes, r.structure.name, r.key.platform, r.key.precision,
                  std::to_string(r.key.batch), std::to_string(r.key.threads),
                  Fixed(r.row.stats.p50, 3), Fixed(r.row.stats.p90, 3),
                  Fixed(100 * r.row.stats.spread, 1) + " %",
                  Bytes(static_cast<uint64_t>(r.row.peak_bytes)), r.row.date, remark});
  }
  std::string text = Show(table);
  if (found.empty()) {
    text = "nothing measured that fits" +
           (query.structure.empty() ? "" : " (structure " + query.structure + ")") +
           "; `slipway bench MODEL --platform P` measures and stores\n";
  }
  context.Print(text, {{"structure", query.structure}, {"measurements", rows}});
  return OkStatus();
}

// What was measured by itself: kernels, conversions between layouts, hand-overs.
Status Steps(const Options& o, Context& context) {
  SLIPWAY_ASSIGN_OR_RETURN(auto store, perfdb::Store::Open(Database(o), {.read_only = true}));
  SLIPWAY_ASSIGN_OR_RETURN(auto found, store->Steps(o.op, o.backend, o.limit));
  nlohmann::json rows = nlohmann::json::array();
  report::Table table =
      MakeTable({"backend", "kernel", "op", "types", ">ms", "hardware", ">threads", "remark"});
  for (const auto& [key, row] : found) {
    rows.push_back({{"op", row.op},
                    {"backend", row.backend},
                    {"kernel", row.kernel},
                    {"signature", row.signature},
                    {"node", row.node},
                    {"ms", row.ms},
                    {"platform_key", key.Hash()},
                    {"hardware", key.hardware},
                    {"cpu_model", key.cpu_model},
                    {"threads", key.threads},
                    {"emulated", key.emulated},
                    {"in_network", !row.node.empty()}});
    // Behind the operator's attributes.
    const size_t types = row.signature.rfind('|');
    std::string remark = key.emulated ? "emulated" : "";
    if (!row.node.empty()) remark += std::string(remark.empty() ? "" : ", ") + "in a network";
    table.AddRow({row.backend, row.kernel, row.op,
                  types == std::string::npos ? "" : row.signature.substr(types + 1),
                  Fixed(row.ms, 4), key.hardware, std::to_string(key.threads), remark});
  }
  std::string text = Show(table);
  if (found.empty())
    text = "no step was measured by itself; `slipway compile MODEL --platform P --tune` does\n";
  context.Print(text, {{"steps", rows}});
  return OkStatus();
}

Status Export(const Options& o, Context& context) {
  SLIPWAY_ASSIGN_OR_RETURN(auto store, perfdb::Store::Open(Database(o), {.read_only = true}));
  std::FILE* probe =
      std::fopen(o.file.c_str(), "ab");  // a wrong place is the user's mistake, not the database's
  if (!probe)
    return InvalidArgument("cannot write '" + o.file + "': " + std::strerror(errno) +
                           "; choose a writable place");
  std::fclose(probe);
  SLIPWAY_RETURN_IF_ERROR(store->ExportFile(o.file));
  SLIPWAY_ASSIGN_OR_RETURN(auto counts, store->Counts());
  context.Print(
      "wrote " + std::to_string(counts.measurements) + " measurements and " +
          std::to_string(counts.accuracies) + " accuracies to " + o.file,
      {{"file", o.file}, {"measurements", counts.measurements}, {"accuracies", counts.accuracies}});
  return OkStatus();
}

Status Import(const Options& o, Context& context) {
  struct stat st;
  if (::stat(o.file.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) {
    return NotFound("there is no file '" + o.file + "'; give a file of `slipway perfdb export`");
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto store, perfdb::Store::Open(Database(o)));
  SLIPWAY_ASSIGN_OR_RETURN(auto counts, store->ImportFile(o.file));
  context.Print("added " + std::to_string(counts.measurements) + " measurements, " +
                    std::to_string(counts.accuracies) + " accuracies and " +
                    std::to_string(counts.kernels) + " kernels to " + store->path() + "; " +
                    std::to_string(counts.known) + " were known",
                {{"database", store->path()},
                 {"measurements", counts.measurements},
                 {"accuracies", counts.accuracies},
                 {"kernels", counts.kernels},
                 {"known", counts.known}});
  return OkStatus();
}

Status Statistics(const Options& o, Context& context) {
  SLIPWAY_ASSIGN_OR_RETURN(auto store, perfdb::Store::Open(Database(o), {.read_only = true}));
  SLIPWAY_ASSIGN_OR_RETURN(auto counts, store->Counts());
  SLIPWAY_ASSIGN_OR_RETURN(auto all, store->Measurements());
  std::map<std::pair<std::string, std::string>, std::pair<int64_t, int64_t>>
      per;  // platform, CPU -> rows, unstable
  for (const auto& r : all) {
    auto& entry = per[{r.key.platform + (r.key.emulated ? " (emulated)" : ""), r.key.cpu_model}];
    ++entry.first;
    entry.second += r.row.unstable;
  }
  report::Table table = MakeTable({"platform", "CPU", ">measurements", ">unstable"});
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& [key, n] : per) {
    table.AddRow({key.first, key.second, std::to_string(n.first), std::to_string(n.second)});
    rows.push_back({{"platform", key.first},
                    {"cpu_model", key.second},
                    {"measurements", n.first},
                    {"unstable", n.second}});
  }
  std::string text =
      store->path() + ": " + std::to_string(counts.structures) + " structures, " +
      std::to_string(counts.platforms) + " platform keys, " + std::to_string(counts.measurements) +
      " measurements, " + std::to_string(counts.kernels) + " kernel rows, " +
      std::to_string(counts.accuracies) + " accuracies\n" + (per.empty() ? "" : Show(table));
  context.Print(text, {{"database", store->path()},
                       {"structures", counts.structures},
                       {"platforms", counts.platforms},
                       {"measurements", counts.measurements},
                       {"kernels", counts.kernels},
                       {"accuracies", counts.accuracies},
                       {"rows", rows}});
  return OkStatus();
}

}  // namespace

Action SetupPerfdb(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.require_subcommand(1);
  app.add_option(
      "--db", o->database,
      "the database file (default: $SLIPWAY_PERFDB, else ~/.local/share/slipway/perf.db)");
  CLI::App* query = app.add_subcommand("query", "measurements, the newest first");
  query->add_option("--platform", o->platform, "of this platform only");
  query->add_option("--model", o->model,
                    "of networks with this model's structure (weights do not matter)");
  o->read.DeclareShape(*query);
  o->read.Declare(*query, "--model");
  query->add_flag("--any-shape", o->any_shape, "with --model: of any input size");
  query->add_option("--structure", o->structure, "of this structure hash")->excludes("--model");
  query->add_option("--precision", o->precision, "float32, bfloat16, float16 or int8");
  query->add_option("--batch", o->batch, "at this batch size")->check(CLI::PositiveNumber);
  query->add_option("--threads", o->threads, "with so many threads")->check(CLI::PositiveNumber);
  query->add_option("--limit", o->limit, "at most so many (0 = all)")
      ->check(CLI::NonNegativeNumber);
  query->add_flag("--stable", o->stable, "without those marked unstable");
  query->add_flag("--samples", o->samples, "with --json: the raw samples too");
  query->add_flag("--nodes", o->kernels, "with --json: the time of every node too");
  CLI::App* steps = app.add_subcommand(
      "steps", "kernels, conversions and hand-overs measured by themselves, the newest first");
  steps->add_option("--op", o->op,
                    std::string("of this operator only: Conv, ..., ") + compiler::kConvertOp +
                        " (conversions between layouts), " + compiler::kHandOverOp +
                        " (into and out of steps of network-level backends)");
  steps->add_option("--backend", o->backend, "of this backend only");
  steps->add_option("--limit", o->limit, "at most so many (0 = all)")
      ->check(CLI::NonNegativeNumber);
  CLI::App* exported = app.add_subcommand("export", "write everything as JSON lines");
  exported->add_option("FILE", o->file, "the .jsonl file to write")->required();
  CLI::App* imported =
      app.add_subcommand("import", "add the rows of an export; what is known already is skipped");
  imported->add_option("FILE", o->file, "a .jsonl file")->required();
  CLI::App* stats = app.add_subcommand("stats", "how much is in it");
  for (CLI::App* sub : {query, steps, exported, imported, stats})
    sub->fallthrough();  // --json and --db may stand behind the word too
  return [=](Context& c) -> Status {
    if (*query) return Query(*o, c);
    if (*steps) return Steps(*o, c);
    if (*exported) return Export(*o, c);
    if (*imported) return Import(*o, c);
    return Statistics(*o, c);
  };
}

}  // namespace slipway::cli
