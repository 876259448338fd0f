#include <algorithm>
#include <cmath>
#include <cstdio>
#include <tuple>

#include "base/mapped_file.h"
#include "cli/cli.h"
#include "cli/quantize_tables.h"
#include "deploy/evaluate.h"
#include "deploy/model_io.h"
#include "deploy/quantize_config.h"
#include "deploy/quantize_model.h"
#include "deploy/runner.h"
#include "deploy/weight_only.h"
#include "engine/compiler/observer_spec.h"
#include "model/frontends/onnx/export.h"
#include "model/ir/opset.h"
#include "report/progress.h"
#include "report/quantize_report.h"
#include "report/table.h"

namespace slipway::cli {
namespace {

struct Options {
  std::string model, platform, calib, eval, output, observer, weight_observer, method, bits,
      preprocess, report;
  int64_t samples = -1, batch = 32, iterations = 0;
  uint64_t seed = 1;
  double max_drop = -1;
  std::vector<std::string> keep_float, adjust;
  ModelFlags read;
  std::string loss = "mse", work;
  int64_t group = 128;
  bool act_order = false;
  std::string config, budget, choices;
  std::map<std::string, deploy::LayerBits> layer_bits;
  int threads = 0, opset = 21;
  bool sensitivity = false;
};

Result<data::AccuracyCounter> Accuracy(std::shared_ptr<const ir::Graph> graph,
                                       const std::string& platform, const data::Dataset& data,
                                       int64_t batch, ThreadPool* pool, StageProgress& progress) {
  SLIPWAY_ASSIGN_OR_RETURN(auto runner,
                           deploy::Runner::ForGraph(graph, platform, {.threads = pool->threads()}));
  SLIPWAY_ASSIGN_OR_RETURN(auto feed, deploy::FeedFor(*graph, data, batch));
  deploy::EvaluateOptions options;
  options.pool = pool;
  options.progress = [&](int64_t done, int64_t total) { progress.Update(done, total); };
  return deploy::Evaluate([&](const auto& in) { return runner.Run(in); }, data, feed, options);
}

// "W4A8", of at most the platform's bits.
Status ParseBits(const std::string& text, const compiler::Scheme& scheme,
                 deploy::QuantizeModelOptions* options) {
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

bool IsWeightOnly(const std::string& method) {
  return method == "rtn" || method == "awq" || method == "gptq";
}

// What went in and out, shared by both ways.
struct Opened {
  std::unique_ptr<ir::Graph> graph;
  data::DatasetOptions data;
  std::unique_ptr<data::Dataset> calibration;
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
  if (!o.preprocess.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(opened.data.preprocess, data::ReadPreprocess(o.preprocess));
  }
  SLIPWAY_ASSIGN_OR_RETURN(opened.calibration, data::Dataset::Open(o.calib, opened.data));
  return opened;
}

// Accuracy before and after, and the gate.
Status Compare(const Options& o, const Opened& opened, const ir::Graph& quantized,
               const std::string& platform, ThreadPool& pool, Context& context, std::string* text,
               nlohmann::json* json, Status* gate) {
  if (o.eval.empty()) return OkStatus();
  data::DatasetOptions labelled = opened.data;
  labelled.need_labels = true;
  SLIPWAY_ASSIGN_OR_RETURN(const auto eval, data::Dataset::Open(o.eval, labelled));
  StageProgress progress("evaluating", context);
  SLIPWAY_ASSIGN_OR_RETURN(auto before,
                           Accuracy(std::shared_ptr<const ir::Graph>(opened.graph->Clone()),
                                    deploy::HostPlatform(), *eval, o.batch, &pool, progress));
  SLIPWAY_ASSIGN_OR_RETURN(auto after, Accuracy(std::shared_ptr<const ir::Graph>(quantized.Clone()),
                                                platform, *eval, o.batch, &pool, progress));
  progress.Done();
  const double drop = 100 * (before.top1() - after.top1());
  *text += "top1 " + Fixed(100 * before.top1(), 2) + " % float, " + Fixed(100 * after.top1(), 2) +
           " % quantized, drop " + Fixed(drop, 2) + " points on " + std::to_string(after.n()) +
           " samples\n";
  (*json)["float_top1"] = before.top1();
  (*json)["top1"] = after.top1();
  (*json)["drop_points"] = drop;
  (*json)["eval_samples"] = after.n();
  if (o.max_drop >= 0 && drop > o.max_drop + 1e-9)
    *gate = GateFailed("the accuracy drop of " + Fixed(drop, 2) + " points is over --max-drop " +
                       Fixed(o.max_drop, 2));
  return OkStatus();
}

// Weights alone.
Status ExecuteWeights(const Options& o, Context& context) {
  SLIPWAY_ASSIGN_OR_RETURN(const auto platform, deploy::GetPlatform(o.platform));
  quant::WeightOnlyOptions options;
  options.method = o.method == "rtn"   ? quant::WeightOnlyMethod::kNearest
                   : o.method == "awq" ? quant::WeightOnlyMethod::kAwq
                                       : quant::WeightOnlyMethod::kGptq;
  int bits = 4, end = 0;
  if (!o.bits.empty() && (std::sscanf(o.bits.c_str(), "W%d%n", &bits, &end) != 1 ||
                          static_cast<size_t>(end) != o.bits.size() || bits < 2 || bits > 8))
    return InvalidArgument("--algorithm " + o.method +
                           " quantizes weights alone: --bits W2 to W8, not '" + o.bits + "'");
  options.bits = bits;
  options.group = o.group;
  options.act_order = o.act_order;
  options.keep_float.insert(o.keep_float.begin(), o.keep_float.end());
  SLIPWAY_ASSIGN_OR_RETURN(const Opened opened, OpenAll(o));
  ThreadPool pool({.threads = o.threads});
  StageProgress progress("quantizing", context);
  options.progress = [&](const std::string& layer, size_t index, size_t count) {
    progress.Update("quantizing " + layer, static_cast<int64_t>(index),
                    static_cast<int64_t>(count));
    return true;
  };
  SLIPWAY_ASSIGN_OR_RETURN(const auto model,
                           deploy::QuantizeModelWeights(*opened.graph, *opened.calibration,
                                                        o.samples >= 0 ? o.samples : 128, o.batch,
                                                        pool, std::move(options)));
  progress.Done();
  onnx::ExportOptions out;
  out.opset = o.opset;
  SLIPWAY_RETURN_IF_ERROR(onnx::ExportOnnx(*model.quantized, o.output, out));
  std::string text =
      std::to_string(model.layers.size()) + " layers with weights of " + std::to_string(bits) +
      " bits, " + std::to_string((model.weight_bytes + 1023) / 1024) + " KiB to " +
      std::to_string((model.quantized_bytes + 1023) / 1024) + " KiB; wrote " + o.output + "\n";
  nlohmann::json json = {{"platform", platform.name},
                         {"file", o.output},
                         {"weight_bytes", model.weight_bytes},
                         {"quantized_bytes", model.quantized_bytes}};
  report::Table table = MakeTable(
      {"layer", ">inputs", ">outputs", ">bits", ">error to nearest", ">error", "factors"});
  const auto number = [](double v) {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%.3g %%", 100 * v);
    return std::string(buffer);
  };
  for (const auto& l : model.layers) {
    table.AddRow({l.name, std::to_string(l.inputs), std::to_string(l.outputs),
                  std::to_string(l.bits), number(l.nearest), number(l.chosen), l.scaled});
    json["layers"].push_back({{"node", l.name},
                              {"inputs", l.inputs},
                              {"outputs", l.outputs},
                              {"bits", l.bits},
                              {"error_nearest", l.nearest},
                              {"error", l.chosen},
                              {"factors", l.scaled}});
  }
  text += Show(table);
  Status gate;
  SLIPWAY_RETURN_IF_ERROR(
      Compare(o, opened, *model.quantized, o.platform, pool, context, &text, &json, &gate));
  context.Print(text, json);
  return gate;
}

// What the user chose, in one line.
std::string Choices(const Options& o, const compiler::Scheme& scheme) {
  std::string text =
      "activations by " + scheme.activations.observer + ", weights by " + scheme.weights.observer;
  if (!o.bits.empty()) text += ", " + o.bits;
  if (!o.method.empty()) text += ", " + o.method;
  for (size_t i = 0; i < o.adjust.size(); ++i) text += (i == 0 ? ", " : " and ") + o.adjust[i];
  return text;
}

const std::vector<std::string>& Algorithms() {
  static const std::vector<std::string> kNames = {"adaround", "brecq", "qdrop", "rtn",
                                                  "awq",      "gptq",  "auto"};
  return kNames;
}

// --algorithm auto.
Result<deploy::QuantizedModel> Search(const Options& o, const Opened& opened,
                                      const compiler::Platform& platform,
                                      const deploy::QuantizeModelOptions& options, ThreadPool& pool,
                                      Context& context, std::string* text, nlohmann::json* json,
                                      Status* gate) {
  if (o.eval.empty() || o.max_drop < 0)
    return InvalidArgument(
        "--algorithm auto climbs until the accuracy is good enough: give --eval DATA and "
        "--max-drop POINTS");
  if (!o.adjust.empty() || !o.budget.empty())
    return InvalidArgument(
        "--algorithm auto chooses adjustments and precisions itself; leave out --adjust and "
        "--budget");
  data::DatasetOptions labelled = opened.data;
  labelled.need_labels = true;
  SLIPWAY_ASSIGN_OR_RETURN(const auto eval, data::Dataset::Open(o.eval, labelled));
  StageProgress progress("evaluating", context);
  SLIPWAY_ASSIGN_OR_RETURN(auto before,
                           Accuracy(std::shared_ptr<const ir::Graph>(opened.graph->Clone()),
                                    deploy::HostPlatform(), *eval, o.batch, &pool, progress));
  deploy::AutoQuantizeOptions search;
  search.quantize = options;
  search.quantize.method.clear();
  search.float_top1 = before.top1();
  search.max_drop = o.max_drop;
  search.evaluate = [&](const ir::Graph& graph) -> Result<double> {
    SLIPWAY_ASSIGN_OR_RETURN(auto after, Accuracy(std::shared_ptr<const ir::Graph>(graph.Clone()),
                                                  o.platform, *eval, o.batch, &pool, progress));
    return after.top1();
  };
  SLIPWAY_ASSIGN_OR_RETURN(auto found, deploy::AutoQuantize(*opened.graph, platform.scheme,
                                                            *opened.calibration, search));
  progress.Done();
  *text += ShowRungs(found, *json);
  if (!found.met)
    *gate = GateFailed("no rung keeps the drop under --max-drop " + Fixed(o.max_drop, 2) +
                       "; the best loses " + Fixed(found.rungs[found.chosen].drop_points, 2) +
                       " points");
  return std::move(found.model);
}

// --budget.
Result<deploy::QuantizedModel> Mix(const Options& o, const Opened& opened,
                                   const compiler::Platform& platform,
                                   const deploy::QuantizeModelOptions& options,
                                   StageProgress& progress, std::string* text,
                                   nlohmann::json* json) {
  deploy::MixedOptions mix;
  mix.quantize = options;
  mix.platform = o.platform;
  SLIPWAY_ASSIGN_OR_RETURN(mix.budget, deploy::ParseBudget(o.budget));
  const bool latency = mix.budget.budget.kind == deploy::BudgetKind::kLatency;
  const std::string given = !o.choices.empty() ? o.choices
                            : latency          ? "float,W8A8"
                                               : "float,W8A8,W4A8,W4A4";
  for (const std::string& choice : deploy::SplitList(given)) {
    SLIPWAY_ASSIGN_OR_RETURN(const deploy::LayerBits bits, deploy::ParseLayerBits(choice));
    mix.choices.push_back(bits);
  }
  mix.progress = [&](const std::string& stage, int64_t done, int64_t total) {
    progress.Update(stage, done, total);
  };
  SLIPWAY_ASSIGN_OR_RETURN(
      auto mixed, deploy::QuantizeMixed(*opened.graph, platform.scheme, *opened.calibration, mix));
  *text += ShowMixed(mixed, mix, *json);
  return std::move(mixed.model);
}

// What the command line leaves open, from the file.
Status Configure(const CLI::App& app, Options& o) {
  if (!o.config.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(const deploy::QuantizeConfig c, deploy::LoadQuantizeConfig(o.config));
    const auto take = [&](const char* option, auto& to, const auto& from, bool given) {
      if (app.count(option) == 0 && given) to = from;
    };
    take("--platform", o.platform, c.platform, !c.platform.empty());
    take("--bits", o.bits, c.bits, !c.bits.empty());
    take("--calib", o.calib, c.calibration, !c.calibration.empty());
    take("--eval", o.eval, c.evaluation, !c.evaluation.empty());
    take("--preprocess", o.preprocess, c.preprocess, !c.preprocess.empty());
    take("--observer", o.observer, c.activation_observer, !c.activation_observer.empty());
    take("--weight-observer", o.weight_observer, c.weight_observer, !c.weight_observer.empty());
    take("--algorithm", o.method, c.algorithm, !c.algorithm.empty());
    take("--adjust", o.adjust, c.adjust, !c.adjust.empty());
    take("--budget", o.budget, c.budget, !c.budget.empty());
    take("--choices", o.choices, c.choices, !c.choices.empty());
    take("--samples", o.samples, c.samples, c.samples >= 0);
    take("--batch", o.batch, c.batch, c.batch > 0);
    take("--iterations", o.iterations, c.iterations, c.iterations > 0);
    take("--seed", o.seed, static_cast<uint64_t>(c.seed), c.seed >= 0);
    take("--max-drop", o.max_drop, c.max_drop, c.max_drop >= 0);
    if (app.count("--keep-float") == 0)
      o.keep_float.assign(c.keep_float.begin(), c.keep_float.end());
    o.layer_bits = c.layer_bits;
    const std::vector<std::string>& known = Algorithms();
    if (!o.method.empty() && std::find(known.begin(), known.end(), o.method) == known.end())
      return InvalidArgument(o.config + ": algorithm '" + o.method +
                             "' is not known; `slipway quantize --help` lists them");
  }
  if (o.platform.empty())
    return InvalidArgument("whose integers? give --platform, or 'platform' in --config");
  if (o.budget.empty() && !o.choices.empty())
    return InvalidArgument("--choices are what --budget chooses from; give a budget");
  if (!o.budget.empty() && (!o.bits.empty() || !o.layer_bits.empty()))
    return InvalidArgument(
        "--budget chooses the bits of every layer; give --choices instead of --bits and of layers "
        "with bits");
  if (o.calib.empty())
    return InvalidArgument("no calibration data; give --calib, or 'calibration' in --config");
  return OkStatus();
}

Status Execute(const Options& o, Context& context) {
  if (IsWeightOnly(o.method)) {
    if (!o.adjust.empty() || !o.report.empty() || !o.budget.empty() || !o.layer_bits.empty())
      return InvalidArgument(
          "--adjust, --report, --budget and bits of single layers are for activations and weights "
          "as codes; leave them out with --algorithm " +
          o.method);
    return ExecuteWeights(o, context);
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto platform, deploy::GetPlatform(o.platform));
  if (!platform.has_scheme)
    return InvalidArgument(
        "platform '" + platform.name +
        "' has no integers; choose one whose name ends in -int8 (`slipway platforms`)");
  for (const auto& [name, given, to] :
       {std::tuple{"--observer", &o.observer, &platform.scheme.activations.observer},
        std::tuple{"--weight-observer", &o.weight_observer, &platform.scheme.weights.observer}}) {
    if (given->empty()) continue;
    if (const auto spec = compiler::ParseObserver(*given); !spec.ok())
      return spec.status().With(name);
    *to = *given;
  }
  SLIPWAY_ASSIGN_OR_RETURN(const Opened opened, OpenAll(o));
  ThreadPool pool({.threads = o.threads});
  deploy::QuantizeModelOptions options;
  options.calibration_samples = o.samples >= 0 ? o.samples : o.method.empty() ? 256 : 1024;
  if (!o.bits.empty()) {
    SLIPWAY_RETURN_IF_ERROR(ParseBits(o.bits, platform.scheme, &options));
  }
  // Extremes waste codes where there are few; the ladder tries them all the same.
  if (options.weight_bits > 0 && options.weight_bits < 8 && o.weight_observer.empty() &&
      platform.scheme.weights.observer == "minmax")
    platform.scheme.weights.observer = "mse:2.4";
  SLIPWAY_ASSIGN_OR_RETURN(options.adjust, deploy::ParseAdjustments(o.adjust));
  options.method = o.method;
  options.iterations = o.iterations;
  options.seed = o.seed;
  options.fisher = o.loss == "fisher";
  options.work = o.work;
  options.batch = o.batch;
  options.keep_float.insert(o.keep_float.begin(), o.keep_float.end());
  options.layer_bits = o.layer_bits;
  options.pool = &pool;
  StageProgress calibrating("calibrating", context);
  options.progress = [&](int64_t done, int64_t total) { calibrating.Update(done, total); };
  StageProgress learning("reconstructing", context);
  options.learning = [&](const std::string& block, int64_t index, int64_t blocks,
                         int64_t iteration) {
    learning.Update("reconstructing " + block + " (" + std::to_string(index + 1) + " of " +
                        std::to_string(blocks) + ")",
                    iteration,
                    std::max<int64_t>(iteration, o.iterations > 0 ? o.iterations : 2000));
    return true;
  };
  std::string text;
  nlohmann::json json = {{"platform", platform.name}, {"file", o.output}};
  StageProgress searching("searching", context);
  deploy::QuantizedModel model;
  Status gate;
  if (o.method == "auto") {
    SLIPWAY_ASSIGN_OR_RETURN(
        model, Search(o, opened, platform, options, pool, context, &text, &json, &gate));
  } else if (!o.budget.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(model, Mix(o, opened, platform, options, searching, &text, &json));
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(
        model, deploy::QuantizeModel(*opened.graph, platform.scheme, *opened.calibration, options));
  }
  searching.Done();
  calibrating.Done();
  learning.Done();
  onnx::ExportOptions out;
  out.opset = o.opset;
  out.own_quantization = true;
  SLIPWAY_RETURN_IF_ERROR(onnx::ExportOnnx(*model.quantized, o.output, out));
  text += std::to_string(model.quantized_nodes) + " nodes on integers; wrote " + o.output + "\n";
  json["quantized_nodes"] = model.quantized_nodes;

  for (const std::string& note : model.notes) text += "note: " + note + "\n";
  if (!model.notes.empty()) json["notes"] = model.notes;
  if (options.adjust.any()) text += ShowAdjustments(model.adjusted, json);
  if (!model.blocks.empty()) text += ShowBlocks(model.blocks, json);
  SLIPWAY_RETURN_IF_ERROR(
      Compare(o, opened, *model.quantized, o.platform, pool, context, &text, &json, &gate));
  if (o.sensitivity || !o.report.empty() || !gate.ok()) {
    SLIPWAY_ASSIGN_OR_RETURN(auto layers, deploy::Diagnosis(model, *opened.calibration, 16, &pool));
    if (!o.report.empty()) {
      report::QuantizeReport page;
      page.model = o.model.substr(o.model.find_last_of('/') + 1);
      page.platform = platform.name;
      page.choices = Choices(o, platform.scheme);
      page.quantized_nodes = model.quantized_nodes;
      page.calibration_samples =
          options.calibration_samples > 0
              ? std::min(options.calibration_samples, opened.calibration->size())
              : opened.calibration->size();
      if (json.contains("top1")) {
        page.float_top1 = json["float_top1"].get<double>();
        page.top1 = json["top1"].get<double>();
        page.eval_samples = json["eval_samples"].get<int64_t>();
        if (o.max_drop >= 0) page.max_drop = o.max_drop;
      }
      page.layers = layers;
      page.notes = model.notes;
      SLIPWAY_RETURN_IF_ERROR(report::WriteHtml(page, o.report));
      text += "report: " + o.report + "\n";
      json["report"] = o.report;
    }
    std::stable_sort(layers.begin(), layers.end(), [](const auto& a, const auto& b) {
      return a.error.alone_db < b.error.alone_db;
    });
    if (o.sensitivity || !gate.ok()) text += Show(LayersTable(layers));
    json["layers"] = report::LayersJson(layers);
    if (!gate.ok() && !layers.empty()) {
      const std::string remedy = report::RemedyText(layers[0]);
      gate = GateFailed(gate.message() + "; layer '" + layers[0].error.node + "' hurts most (" +
                        report::DbText(layers[0].error.alone_db) + " dB): try " +
                        (remedy.empty() ? "--keep-float " + layers[0].error.node : remedy));
    }
  }
  context.Print(text, json);
  return gate;
}

}  // namespace

Action SetupQuantize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->model, "the model file")->required();
  app.add_option("--config", o->config,
                 "a YAML file with any of these options; those given here come first");
  app.add_option("--platform", o->platform, "whose integers to use");
  app.add_option("--calib", o->calib, "calibration data (labels are not needed)");
  app.add_option("--eval", o->eval, "labelled data: measure the accuracy before and after");
  app.add_option("--preprocess", o->preprocess,
                 "a preprocess.yaml, instead of the one beside the data");
  app.add_option("--max-drop", o->max_drop, "largest accepted drop in points; more exits 4");
  app.add_option("-o,--output", o->output, "the quantized ONNX file")->required();
  app.add_option(
      "--bits", o->bits,
      "W4A8: bits of weights and activations; layers at the ends keep the platform's. W4: "
      "of weights alone (rtn, awq, gptq)");
  app.add_option("--algorithm", o->method,
                 "learn the rounding of weights (adaround), by blocks and with the activations' "
                 "scales (brecq), with elements left out at random (qdrop); weights alone: rounded "
                 "to nearest (rtn), with scaled channels (awq), errors made up for (gptq); climb "
                 "from the cheapest until --max-drop holds (auto)")
      ->check(CLI::IsMember(Algorithms()));
  app.add_option("--budget", o->budget,
                 "each layer's precision is chosen for the least loss: latency=2.5ms (measured), "
                 "size=1.2MB, bitops=3G, or a share of the dearest choice, size=50%");
  app.add_option("--choices", o->choices,
                 "with --budget: the precisions (default float,W8A8,W4A8,W4A4; for a latency "
                 "float,W8A8)");
  app.add_option("--iterations", o->iterations, "of a block, of the algorithm")
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", o->seed, "of the algorithm");
  app.add_option("--loss", o->loss,
                 "of the algorithm: the squared error of a block's outputs (mse), or weighted by "
                 "what it costs the task (fisher)")
      ->check(CLI::IsMember({"mse", "fisher"}));
  app.add_option("--work", o->work,
                 "a folder in which the algorithm keeps its blocks: killed, it goes on from there");
  app.add_option("--group", o->group,
                 "rtn, awq, gptq: inputs that share a scale (0: all of an output)")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("--act-order", o->act_order, "gptq: columns by falling size of their inputs");
  app.add_option("--samples", o->samples,
                 "calibration samples (0 = all; without it 256, or 1024 for an algorithm, 128 for "
                 "weights alone)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--observer", o->observer,
                 "activation ranges, instead of the platform's: " + compiler::ObserverNames());
  app.add_option("--weight-observer", o->weight_observer,
                 "weight ranges, instead of the platform's: the same names");
  app.add_option("--adjust", o->adjust,
                 "equalize: scales move between layers; smooth[:ALPHA]: from activations behind a "
                 "LayerNormalization to weights; bias-correction: means of channels; bn: means and "
                 "deviations")
      ->delimiter(',');
  app.add_option("--keep-float", o->keep_float, "names of nodes that stay float")->delimiter(',');
  o->read.DeclareShape(app);
  o->read.Declare(app);
  app.add_option("--opset", o->opset, "ONNX opset to write")->check(CLI::Range(13, ir::kOpset));
  app.add_option("--batch", o->batch, "batch size when the model's is dynamic")
      ->check(CLI::PositiveNumber);
  app.add_option("--threads", o->threads, "threads (0 = all)")->check(CLI::Range(0, 1024));
  app.add_flag("--sensitivity", o->sensitivity,
               "print every layer's signal-to-noise, and what would help the worst");
  app.add_option("--report", o->report, "an HTML page with layers, remedies and histograms");
  return [o, &app](Context& c) -> Status {
    SLIPWAY_RETURN_IF_ERROR(Configure(app, *o));
    return Execute(*o, c);
  };
}

}  // namespace slipway::cli
