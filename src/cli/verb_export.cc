#include "base/mapped_file.h"
#include "cli/cli.h"
#include "deploy/model_io.h"
#include "model/frontends/onnx/export.h"
#include "model/ir/text.h"
#include "model/passes/pass.h"

namespace slipway::cli {
namespace {

struct Options {
  std::string model, output, to = "onnx", level = "onnx";
  int opset = 17;
  std::vector<std::string> disabled, only, shapes;
};

Status Write(const ir::Graph& graph, const std::string& output, int opset, bool qonnx = false) {
  if (auto slash = output.find_last_of('/'); slash != std::string::npos)
    SLIPWAY_RETURN_IF_ERROR(MakeFolder(output.substr(0, slash)));
  if (output.ends_with(".txt"))
    return WriteFile(output, ir::ToText(graph, {.max_constant_elements = 64}));
  onnx::ExportOptions options;
  options.opset = opset;
  options.qonnx = qonnx;
  return onnx::ExportOnnx(graph, output, options);
}

}  // namespace

Action SetupExport(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->model, "the model file")->required();
  app.add_option("--to", o->to, "format")->check(CLI::IsMember({"onnx", "qonnx"}));
  app.add_option("--opset", o->opset, "ONNX opset to write")->check(CLI::Range(11, 25));
  app.add_option("-o,--output", o->output, "the file to write")->required();
  return [o](Context& context) -> Status {
    SLIPWAY_ASSIGN_OR_RETURN(auto graph, deploy::LoadModel(o->model));
    SLIPWAY_RETURN_IF_ERROR(Write(*graph, o->output, o->opset, o->to == "qonnx"));
    context.Print("wrote " + o->output + " (opset " + std::to_string(o->opset) + ")",
                  {{"file", o->output}, {"opset", o->opset}});
    return OkStatus();
  };
}

Action SetupOptimize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->model, "the model file")->required();
  app.add_option(
      "-o,--output", o->output,
      "the ONNX file to write; .txt for the readable form; without it only the table is shown");
  app.add_option("--opset", o->opset, "ONNX opset to write")->check(CLI::Range(11, 25));
  app.add_option("--level", o->level,
                 "onnx | fused | integer: which operators may appear (fused ones are taken apart "
                 "again in ONNX)");
  app.add_option("--disable", o->disabled, "names of passes that do not run")->delimiter(',');
  app.add_option("--only", o->only, "run only these passes")->delimiter(',');
  app.add_option("--shape", o->shapes, "name=1,3,224,224: fixes a dynamic input");
  return [o](Context& context) -> Status {
    deploy::ModelOptions model;
    SLIPWAY_ASSIGN_OR_RETURN(model.input_shapes, ParseShapes(o->shapes));
    SLIPWAY_ASSIGN_OR_RETURN(auto graph, deploy::LoadModel(o->model, model));
    passes::PassOptions options;
    options.disabled = o->disabled;
    options.only = o->only;
    SLIPWAY_ASSIGN_OR_RETURN(options.level, passes::LevelFromName(o->level));
    size_t before = graph->nodes().size();
    SLIPWAY_ASSIGN_OR_RETURN(auto reports, passes::RunPasses(*graph, options));
    if (!o->output.empty()) SLIPWAY_RETURN_IF_ERROR(Write(*graph, o->output, o->opset));
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
