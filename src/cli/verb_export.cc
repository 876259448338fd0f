#include <filesystem>
#include <set>

#include "cli/cli.h"
#include "deploy/export_model.h"
#include "deploy/model_io.h"
#include "deploy/toolchain.h"
#include "model/ir/opset.h"
#include "model/passes/pass.h"
#include "quant/exporters/exporter.h"

namespace slipway::cli {
namespace {

struct Options {
  std::string model, output, to = "onnx", level = "onnx", platform;
  int opset = 17;
  bool float_weights = false;
  std::vector<std::string> disabled, only;
  ModelFlags read;
};

}  // namespace

Action SetupExport(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->model, "the model file")->required();
  std::string formats;
  std::set<std::string> known;
  for (const deploy::ExportFormat& f : deploy::ExportFormats()) {
    formats += std::string(formats.empty() ? "" : "; ") + f.name + ": " + f.help;
    known.insert(f.name);
  }
  formats += "; of a quantized model, into a folder:";
  for (const quant::QuantExporter& f : quant::QuantExporters()) {
    formats += std::string(" ") + f.name;
    known.insert(f.name);
  }
  CLI::Option* to = app.add_option("--to", o->to, formats)->check(CLI::IsMember(known));
  app.add_option("--platform", o->platform,
                 "of a quantized model: the files that this platform's tool reads")
      ->excludes(to);
  CLI::Option* opset =
      app.add_option("--opset", o->opset, "ONNX opset to write")->check(CLI::Range(11, ir::kOpset));
  app.add_flag("--float-weights", o->float_weights,
               "of a quantized model: float weights that round to the codes, behind QuantizeLinear "
               "(TensorRT 8)");
  app.add_option("-o,--output", o->output,
                 "the file to write; for formats of several files the folder")
      ->required();
  o->read.DeclareShape(app);
  o->read.Declare(app);
  return [o, opset](Context& context) -> Status {
    if (!o->platform.empty()) {
      SLIPWAY_ASSIGN_OR_RETURN(auto platform, deploy::GetPlatform(o->platform));
      if (platform.export_format.empty()) {
        return InvalidArgument("platform '" + platform.name +
                               "' has no tool of a vendor (no 'export' in " + platform.source +
                               "): `slipway compile` makes its package; --to writes other formats");
      }
      const auto* exporter = quant::FindQuantExporter(platform.export_format);
      const auto* format = deploy::FindExportFormat(platform.export_format);
      if (!exporter && !format) {
        return InvalidArgument(platform.source + ": 'export: " + platform.export_format +
                               "' is no format; `slipway export --help` lists them");
      }
      o->to = exporter ? exporter->name : format->name;
    }
    SLIPWAY_ASSIGN_OR_RETURN(const deploy::ModelOptions model, o->read.Options());
    SLIPWAY_ASSIGN_OR_RETURN(auto graph, deploy::LoadModel(o->model, model));
    deploy::ExportRequest request;
    request.platform = o->platform;
    request.quantized_opset = opset->count() > 0 ? o->opset : 0;
    request.float_weights = o->float_weights;
    request.output = o->output;
    request.stem = std::filesystem::path(o->model).stem().string();
    request.opset = o->opset;
    SLIPWAY_ASSIGN_OR_RETURN(auto files, deploy::ExportModel(*graph, o->to, request));
    const deploy::ExportFormat* row = deploy::FindExportFormat(o->to);
    std::string text = "wrote ";
    for (size_t i = 0; i < files.size(); ++i) text += (i ? ", " : "") + files[i];
    nlohmann::json value = {{"format", o->to}, {"file", files[0]}, {"files", files}};
    if (row && row->opset) {
      text += " (opset " + std::to_string(o->opset) + ")";
      value["opset"] = o->opset;
    }
    context.Print(text, value);
    return OkStatus();
  };
}

Action SetupOptimize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->model, "the model file")->required();
  app.add_option(
      "-o,--output", o->output,
      "the ONNX file to write; .txt for the readable form; without it only the table is shown");
  app.add_option("--opset", o->opset, "ONNX opset to write")->check(CLI::Range(11, ir::kOpset));
  app.add_option("--level", o->level,
                 "onnx | fused | integer: which operators may appear (fused ones are taken apart "
                 "again in ONNX)");
  app.add_option("--disable", o->disabled, "names of passes that do not run")->delimiter(',');
  app.add_option("--only", o->only, "run only these passes")->delimiter(',');
  o->read.DeclareShape(app);
  o->read.Declare(app);
  return [o](Context& context) -> Status {
    SLIPWAY_ASSIGN_OR_RETURN(const deploy::ModelOptions model, o->read.Options());
    SLIPWAY_ASSIGN_OR_RETURN(auto graph, deploy::LoadModel(o->model, model));
    passes::PassOptions options;
    options.disabled = o->disabled;
    options.only = o->only;
    SLIPWAY_ASSIGN_OR_RETURN(options.level, passes::LevelFromName(o->level));
    size_t before = graph->nodes().size();
    SLIPWAY_ASSIGN_OR_RETURN(auto reports, passes::RunPasses(*graph, options));
    if (!o->output.empty()) {
      deploy::ExportRequest request;
      request.output = o->output;
      request.opset = o->opset;
      SLIPWAY_RETURN_IF_ERROR(deploy::ExportModel(*graph, "onnx", request).status());
    }
    nlohmann::json rows = nlohmann::json::array();
    for (const auto& r : reports) {
      rows.push_back({{"name", r.name},
                      {"runs", r.runs},
                      {"changes", r.changes},
                      {"ms", r.ms},
                      {"nodes_before", r.nodes_before},
                      {"nodes_after", r.nodes_after}});
    }
    std::string text = passes::ReportText(reports);
    if (!o->output.empty()) text += "wrote " + o->output + "\n";
    context.Print(text, {{"nodes_before", before},
                         {"nodes_after", graph->nodes().size()},
                         {"passes", rows},
                         {"file", o->output}});
    return OkStatus();
  };
}

}  // namespace slipway::cli
