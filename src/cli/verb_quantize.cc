#include <algorithm>
#include <cstdio>

#include "cli/cli.h"
#include "cli/quantize_flags.h"
#include "cli/quantize_sparsity.h"
#include "cli/quantize_tables.h"
#include "deploy/model_io.h"
#include "deploy/quantize_job.h"
#include "deploy/runner.h"
#include "deploy/toolchain.h"
#include "model/frontends/onnx/export.h"
#include "model/ir/opset.h"
#include "report/quantize_report.h"

namespace slipway::cli {
namespace {

struct Options {
  std::string model, output, report;
  QuantizeFlags quantize;
  ModelFlags read;
  int threads = 0, opset = 21;
  bool sensitivity = false;
};

// What goes in.
struct Opened {
  std::unique_ptr<ir::Graph> graph;
  std::unique_ptr<data::Dataset> calibration, evaluation;  // evaluation may be null
};

Result<Opened> OpenAll(const Options& o) {
  Opened opened;
  // Before the long work, not after it.
  for (const std::string& file : {o.output, o.report}) {
    if (auto slash = file.find_last_of('/'); slash != std::string::npos)
      SLIPWAY_RETURN_IF_ERROR(MakeFolder(file.substr(0, slash)));
  }
  SLIPWAY_ASSIGN_OR_RETURN(const deploy::ModelOptions model_options, o.read.Options());
  SLIPWAY_ASSIGN_OR_RETURN(opened.graph, deploy::LoadModel(o.model, model_options));
  if (o.quantize.calib.empty() && deploy::NeedsCalibration(o.quantize.request))
    return InvalidArgument("no calibration data; give --calib, or 'calibration' in --config");
  SLIPWAY_ASSIGN_OR_RETURN(data::DatasetOptions data, o.quantize.DataOptions());
  if (!o.quantize.calib.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(opened.calibration, data::Dataset::Open(o.quantize.calib, data));
  }
  if (o.quantize.eval.empty()) return opened;
  data.need_labels = true;
  SLIPWAY_ASSIGN_OR_RETURN(opened.evaluation, data::Dataset::Open(o.quantize.eval, data));
  return opened;
}

// Accuracy before and after, and the gate.
Status Compare(const Options& o, const Opened& opened, const deploy::QuantizeOutcome& outcome,
               const compiler::Platform& platform, ThreadPool& pool, StageProgress& progress,
               std::string* text, nlohmann::json* json, Status* gate) {
  if (!opened.evaluation) return OkStatus();
  double before = 0, after = 0;
  int64_t samples = 0;
  if (outcome.ladder) {  // it has evaluated both
    before = outcome.ladder->float_top1;
    after = outcome.ladder->rungs[outcome.ladder->chosen].top1;
    samples = outcome.evaluated;
  } else {
    const auto accuracy = [&](const ir::Graph& graph, const compiler::Platform& on) {
      return deploy::GraphAccuracy(
          graph, on, *opened.evaluation, 0, o.quantize.request.batch, pool,
          [&](int64_t done, int64_t total) { progress.Update("evaluating", done, total); });
    };
    SLIPWAY_ASSIGN_OR_RETURN(const auto host, deploy::GetPlatform(deploy::HostPlatform()));
    SLIPWAY_ASSIGN_OR_RETURN(const auto in_float, accuracy(*opened.graph, host));
    SLIPWAY_ASSIGN_OR_RETURN(const auto quantized, accuracy(outcome.quantized(), platform));
    before = in_float.top1();
    after = quantized.top1();
    samples = quantized.n();
  }
  progress.Done();
  const double drop = 100 * (before - after), most = o.quantize.request.max_drop;
  *text += "top1 " + Fixed(100 * before, 2) + " % float, " + Fixed(100 * after, 2) +
           (deploy::StaysFloat(o.quantize.request) ? " % pruned, drop " : " % quantized, drop ") +
           Fixed(drop, 2) + " points on " + std::to_string(samples) + " samples\n";
  (*json)["float_top1"] = before;
  (*json)["top1"] = after;
  (*json)["drop_points"] = drop;
  (*json)["eval_samples"] = samples;
  if (most >= 0 && drop > most + 1e-9)
    *gate = GateFailed("the accuracy drop of " + Fixed(drop, 2) + " points is over --max-drop " +
                       Fixed(most, 2));
  return OkStatus();
}

// Layers with their errors and remedies: the page, the table, and what the gate says.
Status Diagnose(const Options& o, const Opened& opened, const deploy::QuantizeOutcome& outcome,
                const std::string& platform, ThreadPool& pool, std::string* text,
                nlohmann::json* json, Status* gate) {
  SLIPWAY_ASSIGN_OR_RETURN(auto layers,
                           deploy::Diagnosis(outcome.model, *opened.calibration, 16, &pool));
  if (!o.report.empty()) {
    report::QuantizeReport page;
    page.model = o.model.substr(o.model.find_last_of('/') + 1);
    page.platform = platform;
    page.choices = outcome.choices;
    page.quantized_nodes = outcome.model.quantized_nodes;
    page.calibration_samples =
        deploy::CalibrationSamples(o.quantize.request, opened.calibration->size());
    if (json->contains("top1")) {
      page.float_top1 = (*json)["float_top1"].get<double>();
      page.top1 = (*json)["top1"].get<double>();
      page.eval_samples = (*json)["eval_samples"].get<int64_t>();
      if (o.quantize.request.max_drop >= 0) page.max_drop = o.quantize.request.max_drop;
    }
    page.ladder = outcome.ladder;
    page.mixed = outcome.mixed;
    page.layers = layers;
    page.notes = outcome.model.notes;
    SLIPWAY_RETURN_IF_ERROR(report::WriteHtml(page, o.report));
    *text += "report: " + o.report + "\n";
    (*json)["report"] = o.report;
  }
  std::stable_sort(layers.begin(), layers.end(), [](const auto& a, const auto& b) {
    return a.error.alone_db < b.error.alone_db;
  });
  if (o.sensitivity || !gate->ok()) *text += Show(LayersTable(layers));
  (*json)["layers"] = report::LayersJson(layers);
  if (!gate->ok() && !layers.empty()) {
    const std::string remedy = report::RemedyText(layers[0]);
    *gate = GateFailed(gate->message() + "; layer '" + layers[0].error.node + "' hurts most (" +
                       report::DbText(layers[0].error.alone_db) + " dB): try " +
                       (remedy.empty() ? "--keep-float " + layers[0].error.node : remedy));
  }
  return OkStatus();
}

Status Execute(const Options& o, Context& context) {
  const deploy::QuantizeRequest& request = o.quantize.request;
  const bool weights_alone = deploy::IsWeightOnly(request.algorithm);
  const bool stays_float = deploy::StaysFloat(request);
  if (stays_float && (!o.report.empty() || o.sensitivity))
    return InvalidArgument(
        "--report and --sensitivity are for codes; leave them out with --bits none");
  if (weights_alone && (!o.report.empty() || o.sensitivity))
    return InvalidArgument(
        "--report and --sensitivity are for activations and weights as codes; leave them out with "
        "--algorithm " +
        request.algorithm);
  SLIPWAY_ASSIGN_OR_RETURN(const auto platform, deploy::GetPlatform(o.quantize.platforms));
  SLIPWAY_ASSIGN_OR_RETURN(const Opened opened, OpenAll(o));
  ThreadPool pool({.threads = o.threads});
  StageProgress progress("quantizing", context);
  deploy::QuantizeInputs inputs;
  inputs.graph = opened.graph.get();
  inputs.calibration = opened.calibration.get();
  inputs.evaluation = opened.evaluation.get();
  inputs.pool = &pool;
  inputs.progress = [&](const std::string& stage, int64_t done, int64_t total) {
    progress.Update(stage, done, total);
  };
  SLIPWAY_ASSIGN_OR_RETURN(const deploy::QuantizeOutcome outcome,
                           deploy::RunQuantize(platform, request, inputs));
  progress.Done();
  onnx::ExportOptions out;
  out.opset = o.opset;
  out.own_quantization = !weights_alone && !stays_float;
  SLIPWAY_RETURN_IF_ERROR(onnx::ExportOnnx(outcome.quantized(), o.output, out));

  std::string text;
  nlohmann::json json = {{"platform", platform.name}, {"file", o.output}};
  Status gate = outcome.gate;
  if (outcome.ladder) text += ShowRungs(*outcome.ladder, json);
  if (outcome.mixed) text += ShowMixed(*outcome.mixed, json);
  if (outcome.sparse) text += ShowSparsity(*outcome.sparse, outcome.sparse_bits, platform, json);
  if (stays_float) {
    text += "wrote " + o.output + "\n";
  } else if (weights_alone) {
    text += ShowWeightOnly(*outcome.weights, outcome.weight_only_bits, o.output, json);
  } else {
    const deploy::QuantizedModel& model = outcome.model;
    text += deploy::IntegerShareText(model) + "; wrote " + o.output + "\n";
    json["quantized_nodes"] = model.quantized_nodes;
    for (const deploy::RecurrentWeights& r : model.recurrent)
      json["recurrent_layers"].push_back({{"node", r.node}, {"bits", r.bits}});
    for (const std::string& note : model.notes) text += "note: " + note + "\n";
    if (!model.notes.empty()) json["notes"] = model.notes;
    if (!request.adjust.empty()) text += ShowAdjustments(model.adjusted, json);
    if (!model.blocks.empty()) text += ShowBlocks(model.blocks, json);
  }
  SLIPWAY_RETURN_IF_ERROR(
      Compare(o, opened, outcome, platform, pool, progress, &text, &json, &gate));
  if (!weights_alone && !stays_float && (o.sensitivity || !o.report.empty() || !gate.ok()))
    SLIPWAY_RETURN_IF_ERROR(Diagnose(o, opened, outcome, platform.name, pool, &text, &json, &gate));
  context.Print(text, json);
  return gate;
}

}  // namespace

Action SetupQuantize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->model, "the model file")->required();
  app.add_option("--platform", o->quantize.platforms, "whose integers to use");
  o->quantize.Declare(app);
  app.add_option("--work", o->quantize.request.work,
                 "a folder in which the algorithm keeps its blocks: killed, it goes on from there");
  app.add_option("-o,--output", o->output, "the quantized ONNX file")->required();
  o->read.DeclareShape(app);
  o->read.Declare(app);
  app.add_option("--opset", o->opset, "ONNX opset to write")->check(CLI::Range(13, ir::kOpset));
  app.add_option("--threads", o->threads, "threads (0 = all)")->check(CLI::Range(0, 1024));
  app.add_flag("--sensitivity", o->sensitivity,
               "print every layer's signal-to-noise, and what would help the worst");
  app.add_option("--report", o->report,
                 "an HTML page with layers, remedies and histograms, the rungs of auto and the "
                 "choices under a budget");
  return [o, &app](Context& c) -> Status {
    SLIPWAY_RETURN_IF_ERROR(o->quantize.Complete(app, "--platform"));
    return Execute(*o, c);
  };
}

}  // namespace slipway::cli
