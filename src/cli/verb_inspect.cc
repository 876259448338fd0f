#include "base/mapped_file.h"
#include "cli/cli.h"
#include "deploy/model_io.h"
#include "deploy/runner.h"
#include "engine/format/package.h"
#include "model/ir/stats.h"
#include "model/ir/text.h"
#include "report/table.h"

namespace slipway::cli {
namespace {

struct Options {
  std::string model;
  std::vector<std::string> platforms, shapes;
  bool nodes = false, text = false;
};

nlohmann::json ValueJson(const ir::Value& v) {
  nlohmann::json dims = nlohmann::json::array();
  if (v.type().shape) {
    for (const Dim& d : *v.type().shape) {
      if (d.known()) {
        dims.push_back(d.value());
      } else {
        dims.push_back(d.ToString());
      }
    }
  }
  return {{"name", v.name()}, {"dtype", DTypeName(v.dtype())}, {"shape", dims}};
}

std::string Count(double n) {
  const char* units[] = {"", " k", " M", " G"};
  int unit = 0;
  while (n >= 10000 && unit < 3) {
    n /= 1000;
    ++unit;
  }
  return Fixed(n, unit ? 2 : 0) + units[unit];
}

Status InspectPackage(const Options& o, Context& context) {
  SLIPWAY_ASSIGN_OR_RETURN(auto p, format::ReadPackage(o.model));
  std::string text = o.model + ": package for " + p.arch + "\n";
  for (const auto& [key, value] : p.provenance) text += "  " + key + ": " + value + "\n";
  report::Table table = MakeTable({"step", "op", "backend", "kernel", "MACs"});
  nlohmann::json steps = nlohmann::json::array();
  for (const auto& s : p.steps) {
    const std::string& backend = p.backends[static_cast<size_t>(s.backend)].name;
    table.AddRow({s.name, s.op, backend, s.kernel, Count(static_cast<double>(s.macs))});
    steps.push_back({{"name", s.name},
                     {"op", s.op},
                     {"backend", backend},
                     {"kernel", s.kernel},
                     {"macs", s.macs}});
  }
  text += Show(table);
  if (p.static_plan) text += "arena " + Bytes(p.arena_size) + "\n";
  context.Print(text, {{"arch", p.arch},
                       {"provenance", p.provenance},
                       {"steps", steps},
                       {"arena_bytes", p.arena_size},
                       {"static", p.static_plan}});
  return OkStatus();
}

Status Execute(const Options& o, Context& context) {
  if (deploy::IsPackage(o.model)) return InspectPackage(o, context);
  deploy::ModelOptions model;
  SLIPWAY_ASSIGN_OR_RETURN(model.input_shapes, ParseShapes(o.shapes));
  SLIPWAY_ASSIGN_OR_RETURN(auto graph, deploy::LoadModel(o.model, model));
  if (o.text) {
    context.Print(ir::ToText(*graph, {.max_constant_elements = 16}),
                  {{"text", ir::ToText(*graph, {.max_constant_elements = 16})}});
    return OkStatus();
  }
  ir::GraphStats stats = ir::Stats(*graph);
  nlohmann::json json;
  std::string text = o.model + ": " + std::to_string(graph->nodes().size()) + " nodes";
  if (auto it = graph->metadata.find("producer"); it != graph->metadata.end())
    text += ", from " + it->second;
  if (auto it = graph->metadata.find("opset"); it != graph->metadata.end())
    text += ", opset " + it->second;
  text += "\n";
  json["inputs"] = json["outputs"] = nlohmann::json::array();
  for (const ir::Value* v : graph->inputs()) {
    text += "  input  " + v->name() + ": " + v->type().ToString() + "\n";
    json["inputs"].push_back(ValueJson(*v));
  }
  for (const ir::Value* v : graph->outputs()) {
    text += "  output " + v->name() + ": " + v->type().ToString() + "\n";
    json["outputs"].push_back(ValueJson(*v));
  }
  json["params"] = stats.parameters;
  json["parameter_bytes"] = stats.parameter_bytes;
  if (stats.macs.known()) {
    json["macs"] = stats.macs.value();
  } else {
    json["macs"] = stats.macs.ToString();
  }
  json["ops"] = stats.ops;
  text += "  parameters " + Count(static_cast<double>(stats.parameters)) + " (" +
          Bytes(static_cast<uint64_t>(stats.parameter_bytes)) + "), MACs " +
          (stats.macs.known() ? Count(static_cast<double>(stats.macs.value()))
                              : stats.macs.ToString()) +
          "\n";
  report::Table ops = MakeTable({"operator", "count"});
  for (const auto& [op, count] : stats.ops) ops.AddRow({op, std::to_string(count)});
  text += Show(ops);

  if (o.nodes) {
    report::Table table = MakeTable({"node", "op", "output", "MACs"});
    json["nodes"] = nlohmann::json::array();
    for (const auto& n : graph->nodes()) {
      Dim macs = ir::NodeMacs(*n);
      std::string m = macs.known() ? std::to_string(macs.value()) : macs.ToString();
      std::string out = n->output() ? n->output()->type().ToString() : "";
      table.AddRow({n->name(), n->FullOp(), out, m});
      json["nodes"].push_back(
          {{"name", n->name()}, {"op", n->FullOp()}, {"output", out}, {"macs", m}});
    }
    text += Show(table);
  }
  if (!o.platforms.empty()) {
    report::Table table =
        MakeTable({"platform", "supported", "own nodes", "own MACs", "peak activations", "remark"});
    json["platforms"] = nlohmann::json::array();
    for (const std::string& name : o.platforms) {
      SLIPWAY_ASSIGN_OR_RETURN(auto platform, deploy::GetPlatform(name));
      auto compiled = deploy::CompileModel(*graph, platform, {});
      if (!compiled.ok()) {
        table.AddRow({name, "no", "", "", "", compiled.status().message()});
        json["platforms"].push_back(
            {{"name", name}, {"supported", false}, {"reason", compiled.status().message()}});
        continue;
      }
      const auto& r = compiled->result;
      std::string remark;
      nlohmann::json fallbacks = nlohmann::json::array();
      for (const auto& row : r.placement) {
        if (!row.fallback) continue;
        fallbacks.push_back({{"node", row.node},
                             {"op", row.op},
                             {"backend", row.backend},
                             {"reasons", row.reasons}});
        if (remark.empty()) remark = row.op + " '" + row.node + "' falls back to " + row.backend;
      }
      table.AddRow({name, "yes", Fixed(100 * r.own_node_share, 1) + " %",
                    Fixed(100 * r.own_mac_share, 1) + " %", Bytes(r.peak_bytes), remark});
      json["platforms"].push_back({{"name", name},
                                   {"supported", true},
                                   {"own_node_share", r.own_node_share},
                                   {"own_mac_share", r.own_mac_share},
                                   {"peak_bytes", r.peak_bytes},
                                   {"fallback", fallbacks}});
    }
    text += Show(table);
  }
  context.Print(text, json);
  return OkStatus();
}

}  // namespace

Action SetupInspect(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->model, "a model file or a .slip package")->required();
  app.add_option("--platform", o->platforms, "also the support on these platforms")->delimiter(',');
  app.add_option("--shape", o->shapes, "name=1,3,224,224: fixes a dynamic input");
  app.add_flag("--nodes", o->nodes, "a row per node");
  app.add_flag("--text", o->text, "the graph in text form");
  return [o](Context& c) { return Execute(*o, c); };
}

}  // namespace slipway::cli
