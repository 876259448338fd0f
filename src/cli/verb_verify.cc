#include <algorithm>
#include <cmath>

#include "base/cpu.h"
#include "cli/cli.h"
#include "deploy/model_io.h"
#include "deploy/parity.h"
#include "deploy/runner.h"
#include "engine/format/package.h"

namespace slipway::cli {
namespace {

struct Options {
  std::string package, model, data, platform;
  int runs = 4, threads = 1;
  double tolerance = -1;
  std::vector<std::string> shapes;
  ModelFlags read;
};

Status Execute(const Options& o, Context& context) {
  std::vector<format::SegmentReport> segments;
  SLIPWAY_RETURN_IF_ERROR(format::VerifyHashes(o.package, &segments));
  SLIPWAY_ASSIGN_OR_RETURN(auto package, format::ReadPackage(o.package));
  std::string text = o.package + ": " + std::to_string(segments.size()) + " segments, " +
                     std::to_string(format::CountSteps(package)) +
                     " steps; hashes and structure are right\n";
  nlohmann::json json = {{"segments", segments.size()},
                         {"steps", format::CountSteps(package)},
                         {"provenance", package.provenance}};
  if (o.model.empty()) {
    context.Print(text, json);
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto shapes, ParseShapes(o.shapes));
  deploy::SessionOptions session{.threads = o.threads};
  // What this machine cannot run goes to the device that it was compiled for.
  const bool foreign =
      !package.arch.empty() && package.arch != "any" && package.arch != ThisCpu().arch;
  const std::string platform =
      o.platform.empty() && foreign ? package.provenance["platform"] : o.platform;
  SLIPWAY_ASSIGN_OR_RETURN(auto runner, deploy::Runner::OnDevice(o.package, platform, session));
  // A package with float inputs and outputs was compiled from the model in that form.
  SLIPWAY_ASSIGN_OR_RETURN(deploy::ModelOptions model, o.read.OptionsFor(o.model, shapes));
  const auto holds_codes = [](const deploy::Runner::Port& port) {
    const DType t = port.type.dtype;
    return t == DType::kInt8 || t == DType::kUInt8 || t == DType::kInt16;
  };
  model.float_io = std::none_of(runner.inputs().begin(), runner.inputs().end(), holds_codes) &&
                   std::none_of(runner.outputs().begin(), runner.outputs().end(), holds_codes);
  SLIPWAY_ASSIGN_OR_RETURN(auto graph, deploy::LoadModel(o.model, model));
  std::shared_ptr<const ir::Graph> shared(std::move(graph));
  SLIPWAY_ASSIGN_OR_RETURN(auto oracle, deploy::Runner::ForGraph(shared, "interpreter", session));
  std::vector<std::vector<ir::Tensor>> inputs;
  if (!o.data.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(auto dataset, data::Dataset::Open(o.data));
    SLIPWAY_ASSIGN_OR_RETURN(auto feed, deploy::FeedFor(*shared, *dataset, 1));
    for (int64_t i = 0; i < std::min<int64_t>(o.runs, dataset->size()); ++i) {
      SLIPWAY_ASSIGN_OR_RETURN(
          auto t, deploy::LoadBatch(*dataset, feed, i, dataset->size(), nullptr, nullptr));
      inputs.push_back(std::move(t));
    }
  } else {
    for (int i = 0; i < o.runs; ++i) {
      SLIPWAY_ASSIGN_OR_RETURN(auto set, deploy::MakeInputs(oracle.inputs(), {}, shapes, true,
                                                            static_cast<uint64_t>(i + 1)));
      inputs.push_back(std::move(set));
    }
  }
  std::vector<std::string> names;
  for (const auto& port : oracle.outputs()) names.push_back(port.name);
  SLIPWAY_ASSIGN_OR_RETURN(
      auto parity, deploy::Compare([&](const auto& in) { return oracle.Run(in); },
                                   [&](const auto& in) { return runner.Run(in); }, inputs, names));
  bool integer = package.provenance["precision"] == "int8",
       half = package.provenance["precision"] == "bfloat16",
       float16 = package.provenance["precision"] == "float16";
  // Float platforms differ by rounding only, bfloat16 by that of eight bits, float16 by that of
  // eleven, in sums too. Integers compute other numbers by design: there the ratio of signal to
  // noise is what counts.
  double tolerance = o.tolerance >= 0 ? o.tolerance
                     : integer        ? 0.25
                     : half           ? 0.05
                     : float16        ? 0.02
                                      : 1e-4;
  text += "against " + o.model + " (interpreter, " + std::to_string(parity.runs) +
          " inputs): largest difference " + Fixed(100 * parity.max_error, 5) +
          " % of the output's range ('" + parity.worst_output + "'), signal to noise " +
          (std::isinf(parity.sqnr_db) ? "infinite" : Fixed(parity.sqnr_db, 1) + " dB") + "\n";
  json["platform"] = runner.platform();
  json["max_error"] = parity.max_error;
  json["sqnr_db"] = std::isinf(parity.sqnr_db) ? nlohmann::json() : nlohmann::json(parity.sqnr_db);
  json["tolerance"] = tolerance;
  context.Print(text, json);
  if (parity.max_error > tolerance) {
    return GateFailed("the package differs from the model by more than " +
                      Fixed(100 * tolerance, 4) + " % of the range of output '" +
                      parity.worst_output + "'; docs/debug-accuracy.md says how to find the node");
  }
  return OkStatus();
}

}  // namespace

Action SetupVerify(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("PACKAGE", o->package, "the .slip file")->required();
  app.add_option("--against", o->model,
                 "the model it was compiled from: compare outputs with the interpreter's");
  app.add_option(
      "--platform", o->platform,
      "the platform that it was compiled for, whose device runs it (default: this machine, "
      "and for a package of another processor its platform's device)");
  app.add_option("--data", o->data, "compare on these samples instead of random inputs");
  app.add_option("--runs", o->runs, "how many inputs")->check(CLI::Range(1, 100000));
  app.add_option("--tolerance", o->tolerance,
                 "largest difference as a share of the output's range");
  app.add_option("--shape", o->shapes, "name=1,3,224,224: extent of a dynamic input");
  o->read.Declare(app, "--against");
  app.add_option("--threads", o->threads, "threads")->check(CLI::Range(0, 1024));
  return [o](Context& c) { return Execute(*o, c); };
}

}  // namespace slipway::cli
