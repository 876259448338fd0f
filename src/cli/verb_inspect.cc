#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "base/mapped_file.h"
#include "cli/cli.h"
#include "deploy/inspect.h"
#include "deploy/model_io.h"
#include "deploy/runner.h"
#include "engine/format/package.h"
#include "model/ir/text.h"
#include "report/inspect_page.h"
#include "report/table.h"

namespace slipway::cli {
namespace {

struct Options {
  std::string model;
  std::vector<std::string> platforms, at;
  ModelFlags read;
  std::string sort = "order", html;
  int top = 0;
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

// The steps of a program; those of bodies follow the step they belong to.
void AddSteps(const format::PackageData& p, const std::string& prefix, report::Table& table,
              nlohmann::json& steps) {
  for (const auto& s : p.steps) {
    const std::string backend =
        s.backend < 0 ? "session" : p.backends[static_cast<size_t>(s.backend)].name;
    table.AddRow({prefix + s.name, s.op, backend, s.kernel, Count(static_cast<double>(s.macs))});
    steps.push_back({{"name", prefix + s.name},
                     {"op", s.op},
                     {"backend", backend},
                     {"kernel", s.kernel},
                     {"macs", s.macs}});
    if (!s.control) continue;
    for (const int i : s.control->bodies) {
      const auto& body = p.programs[static_cast<size_t>(i)];
      AddSteps(body, prefix + s.name + "/" + body.name + "/", table, steps);
    }
  }
}

Status InspectPackage(const Options& o, Context& context) {
  SLIPWAY_ASSIGN_OR_RETURN(auto p, format::ReadPackage(o.model));
  std::string text = o.model + ": package for " + p.arch + "\n";
  for (const auto& [key, value] : p.provenance) text += "  " + key + ": " + value + "\n";
  report::Table table = MakeTable({"step", "op", "backend", "kernel", "MACs"});
  nlohmann::json steps = nlohmann::json::array();
  AddSteps(p, "", table, steps);
  text += Show(table);
  if (p.static_plan) text += "arena " + Bytes(p.arena_size) + "\n";
  context.Print(text, {{"arch", p.arch},
                       {"provenance", p.provenance},
                       {"steps", steps},
                       {"arena_bytes", p.arena_size},
                       {"static", p.static_plan}});
  return OkStatus();
}

std::string Bar(double share) {
  // Eighths of a cell, as terminals draw them.
  const char* parts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  constexpr int kCells = 10;
  const int eighths = static_cast<int>(std::clamp(share, 0.0, 1.0) * kCells * 8 + 0.5);
  std::string bar;
  for (int i = 0; i < eighths / 8; ++i) bar += "█";
  return bar + parts[eighths % 8];
}

double Share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

std::string MacsText(const deploy::InspectedLayer& l) {
  if (l.macs_here == 0 && l.macs.known()) return "";
  return Count(static_cast<double>(l.macs_here));
}

// The layers to show, in the wanted order.
std::vector<const deploy::InspectedLayer*> Chosen(const deploy::Inspection& in, const Options& o) {
  std::vector<const deploy::InspectedLayer*> rows;
  for (const auto& l : in.layers) rows.push_back(&l);
  auto key = [&](const deploy::InspectedLayer* l) -> int64_t {
    if (o.sort == "macs") return l->macs_here;
    if (o.sort == "params") return l->parameters;
    if (o.sort == "memory") return l->output_bytes;
    return l->live_bytes;
  };
  if (o.sort != "order") {
    std::stable_sort(rows.begin(), rows.end(),
                     [&](const auto* a, const auto* b) { return key(a) > key(b); });
  }
  if (o.top > 0 && rows.size() > static_cast<size_t>(o.top))
    rows.resize(static_cast<size_t>(o.top));
  return rows;
}

std::string LayerTable(const deploy::Inspection& in, const Options& o) {
  report::Table table = MakeTable(
      {"layer", "operator", "output", ">parameters", ">MACs", ">share", "", ">output", ">alive"});
  const auto rows = Chosen(in, o);
  double largest = 0;
  const bool by_memory = o.sort == "memory" || o.sort == "alive";
  auto share = [&](const deploy::InspectedLayer& l) {
    if (o.sort == "params") return Share(l.parameters, in.parameters);
    if (o.sort == "memory") return Share(l.output_bytes, in.activation_bytes);
    if (o.sort == "alive") return Share(l.live_bytes, in.peak_live_bytes);
    return Share(l.macs_here, in.macs_here);
  };
  for (const auto& l : in.layers) largest = std::max(largest, share(l));
  for (const auto* l : rows) {
    const double s = share(*l);
    table.AddRow({std::string(static_cast<size_t>(2 * l->depth), ' ') + l->name, l->op, l->output,
                  l->parameters ? Count(static_cast<double>(l->parameters)) : "", MacsText(*l),
                  s > 0 || by_memory ? Fixed(100 * s, 1) + " %" : "",
                  Bar(largest > 0 ? s / largest : 0), Bytes(static_cast<uint64_t>(l->output_bytes)),
                  Bytes(static_cast<uint64_t>(l->live_bytes))});
  }
  std::string text = Show(table);
  if (rows.size() < in.layers.size()) {
    text += "  " + std::to_string(rows.size()) + " of " + std::to_string(in.layers.size()) +
            " layers; all of them: --top 0\n";
  }
  return text;
}

nlohmann::json LayersJson(const deploy::Inspection& in) {
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& l : in.layers) {
    nlohmann::json inputs = nlohmann::json::array(), outputs = nlohmann::json::array();
    for (const ir::Value* v : l.node->inputs()) inputs.push_back(v ? v->name() : "");
    for (const ir::Value* v : l.node->outputs()) outputs.push_back(v ? v->name() : "");
    nlohmann::json row = {{"name", l.name},
                          {"op", l.op},
                          {"output", l.output},
                          {"inputs", inputs},
                          {"outputs", outputs},
                          {"attributes", deploy::AttributeText(l.node->attributes)},
                          {"depth", l.depth},
                          {"params", l.parameters},
                          {"parameter_bytes", l.parameter_bytes},
                          {"macs_here", l.macs_here},
                          {"output_bytes", l.output_bytes},
                          {"live_bytes", l.live_bytes}};
    if (l.macs.known()) {
      row["macs"] = l.macs.value();
    } else {
      row["macs"] = l.macs.ToString();
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string ReasonText(const std::vector<std::string>& reasons) {
  std::string text;
  for (const std::string& r : reasons) text += (text.empty() ? "" : "; ") + r;
  return text;
}

Result<std::vector<report::PlatformSupport>> Platforms(const Options& o, const ir::Graph& graph,
                                                       nlohmann::json* json) {
  std::vector<report::PlatformSupport> out;
  *json = nlohmann::json::array();
  for (const std::string& name : o.platforms) {
    SLIPWAY_ASSIGN_OR_RETURN(auto platform, deploy::GetPlatform(name));
    report::PlatformSupport row;
    row.name = name;
    auto compiled = deploy::CompileModel(graph, platform, {});
    if (!compiled.ok()) {
      row.reason = compiled.status().message();
      json->push_back({{"name", name}, {"supported", false}, {"reason", row.reason}});
      out.push_back(std::move(row));
      continue;
    }
    const auto& r = compiled->result;
    row.supported = true;
    row.own_nodes = r.own_node_share;
    row.own_macs = r.own_mac_share;
    row.peak_bytes = r.peak_bytes;
    nlohmann::json fallbacks = nlohmann::json::array();
    for (const auto& p : r.placement) {
      if (!p.fallback) continue;
      fallbacks.push_back(
          {{"node", p.node}, {"op", p.op}, {"backend", p.backend}, {"reasons", p.reasons}});
      row.fallbacks.push_back({p.node, p.op, p.backend, ReasonText(p.reasons)});
    }
    json->push_back({{"name", name},
                     {"supported", true},
                     {"own_node_share", r.own_node_share},
                     {"own_mac_share", r.own_mac_share},
                     {"peak_bytes", r.peak_bytes},
                     {"fallback", fallbacks}});
    out.push_back(std::move(row));
  }
  return out;
}

std::string PlatformTables(const std::vector<report::PlatformSupport>& platforms) {
  report::Table table = MakeTable(
      {"platform", "supported", ">own nodes", ">own MACs", ">peak activations", "remark"});
  for (const auto& p : platforms) {
    if (!p.supported) {
      table.AddRow({p.name, "no", "", "", "", p.reason});
      continue;
    }
    table.AddRow(
        {p.name, "yes", Fixed(100 * p.own_nodes, 1) + " %", Fixed(100 * p.own_macs, 1) + " %",
         Bytes(p.peak_bytes),
         p.fallbacks.empty() ? "" : std::to_string(p.fallbacks.size()) + " nodes fall back"});
  }
  std::string text = Show(table);
  // Nodes of one operator that fall back for one reason are one row.
  report::Table why = MakeTable({"platform", "operator", ">nodes", "runs on", "why", "such as"});
  for (const auto& p : platforms) {
    std::map<std::array<std::string, 3>, std::pair<int, std::string>> groups;
    for (const auto& f : p.fallbacks) {
      auto& group = groups[{f.op, f.backend, f.reason}];
      if (group.first++ == 0) group.second = f.node;
    }
    for (const auto& [key, group] : groups)
      why.AddRow({p.name, key[0], std::to_string(group.first), key[1], key[2], group.second});
  }
  if (why.rows() > 0) text += Show(why);
  return text;
}

int64_t PeakMemory() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

// name=value of --at.
Result<std::map<std::string, int64_t>> Sizes(const std::vector<std::string>& texts) {
  std::map<std::string, int64_t> sizes;
  SLIPWAY_ASSIGN_OR_RETURN(auto pairs, ParseAssignments(texts, "--at"));
  for (const auto& [name, text] : pairs) {
    char* end = nullptr;
    const long long v = std::strtoll(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0' || v < 0 || v > INT32_MAX)
      return InvalidArgument("--at '" + name + "=" + text + "': give a size, as in N=8");
    sizes[name] = v;
  }
  return sizes;
}

Status Execute(const Options& o, Context& context) {
  SLIPWAY_ASSIGN_OR_RETURN(const deploy::ModelOptions model, o.read.Options());
  if (deploy::IsPackage(o.model)) {
    SLIPWAY_RETURN_IF_ERROR(deploy::CheckPackageOptions(o.model, model));
    return InspectPackage(o, context);
  }
  SLIPWAY_ASSIGN_OR_RETURN(const auto sizes, Sizes(o.at));
  const auto begin = std::chrono::steady_clock::now();
  SLIPWAY_ASSIGN_OR_RETURN(auto graph, deploy::LoadModel(o.model, model));
  const double import_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  const int64_t peak = PeakMemory();
  if (o.text) {
    context.Print(ir::ToText(*graph, {.max_constant_elements = 16}),
                  {{"text", ir::ToText(*graph, {.max_constant_elements = 16})}});
    return OkStatus();
  }
  const deploy::Inspection in = deploy::Inspect(*graph, sizes);
  nlohmann::json json;
  std::string text = o.model + ": " + std::to_string(graph->nodes().size()) + " nodes";
  if (auto it = graph->metadata.find("producer"); it != graph->metadata.end())
    text += ", from " + it->second;
  if (auto it = graph->metadata.find("opset"); it != graph->metadata.end())
    text += ", opset " + it->second;
  if (in.bodies > 0) text += ", " + std::to_string(in.bodies) + " control-flow bodies";
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
  json["symbols"] = nlohmann::json::array();
  std::string at;
  for (const auto& s : in.symbols) {
    text += "  dynamic " + s.name + ": " +
            (s.bounded ? std::to_string(s.least) + " to " + std::to_string(s.most) : "any size") +
            "\n";
    at += (at.empty() ? " at " : ", ") + s.name + " = " + std::to_string(s.here);
    json["symbols"].push_back({{"name", s.name},
                               {"min", s.least},
                               {"max", s.most},
                               {"bounded", s.bounded},
                               {"here", s.here},
                               {"inputs", s.inputs}});
  }
  json["params"] = in.parameters;
  json["parameter_bytes"] = in.parameter_bytes;
  if (in.macs.known()) {
    json["macs"] = in.macs.value();
  } else {
    json["macs"] = in.macs.ToString();
  }
  json["macs_here"] = in.macs_here;
  json["activation_bytes"] = in.activation_bytes;
  json["peak_live_bytes"] = in.peak_live_bytes;
  json["peak_layer"] = in.peak_layer;
  json["bodies"] = in.bodies;
  json["import_ms"] = import_ms;
  json["peak_rss"] = peak;
  json["ops"] = nlohmann::json::object();
  for (const auto& [op, row] : in.operators) {
    json["ops"][op] = row.count;
    json["operators"][op] = {{"count", row.count},
                             {"macs", row.macs},
                             {"params", row.parameters},
                             {"output_bytes", row.output_bytes}};
  }
  for (const auto& [type, w] : in.weights) {
    json["weights"][type] = {{"tensors", w.tensors}, {"elements", w.elements}, {"bytes", w.bytes}};
  }
  for (const auto& [kind, q] : in.quantization) {
    json["quantization"][kind] = {{"quantize", q.quantize},
                                  {"dequantize", q.dequantize},
                                  {"weights", q.weights},
                                  {"weight_elements", q.weight_elements}};
  }
  json["nodes"] = LayersJson(in);

  text += "  parameters " + Count(static_cast<double>(in.parameters)) + " (" +
          Bytes(static_cast<uint64_t>(in.parameter_bytes)) + "), MACs " +
          Count(static_cast<double>(in.macs_here)) + at;
  if (!in.macs.known() && in.macs.ToString().size() < 100) text += " (" + in.macs.ToString() + ")";
  text += "\n  activations alive at most " + Bytes(static_cast<uint64_t>(in.peak_live_bytes)) + at +
          (in.peak_layer.empty() ? "" : ", while '" + in.peak_layer + "' runs") + "\n";
  std::string weights;
  for (const auto& [type, w] : in.weights) {
    weights += (weights.empty() ? "  weights " : ", ") + type + " " +
               Count(static_cast<double>(w.elements)) + " (" +
               Bytes(static_cast<uint64_t>(w.bytes)) + ")";
  }
  if (!weights.empty()) text += weights + "\n";
  for (const auto& [kind, q] : in.quantization) {
    text += "  quantization " + kind + ": " + std::to_string(q.quantize) + " Quantize, " +
            std::to_string(q.dequantize) + " Dequantize";
    if (q.weights > 0)
      text += ", of them " + std::to_string(q.weights) + " of weights (" +
              Count(static_cast<double>(q.weight_elements)) + " elements)";
    text += "\n";
  }
  report::Table ops =
      MakeTable({"operator", ">count", ">MACs", ">share", "", ">parameters", ">output memory"});
  std::vector<std::pair<std::string, deploy::InspectedOperator>> sorted(in.operators.begin(),
                                                                        in.operators.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second.macs, a.second.count) > std::pair(b.second.macs, b.second.count);
  });
  for (const auto& [op, row] : sorted) {
    const double share = Share(row.macs, in.macs_here);
    ops.AddRow({op, std::to_string(row.count), row.macs ? Count(static_cast<double>(row.macs)) : "",
                row.macs ? Fixed(100 * share, 1) + " %" : "", Bar(share),
                row.parameters ? Count(static_cast<double>(row.parameters)) : "",
                Bytes(static_cast<uint64_t>(row.output_bytes))});
  }
  text += Show(ops);
  if (o.nodes) text += LayerTable(in, o);
  std::vector<report::PlatformSupport> platforms;
  if (!o.platforms.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(platforms, Platforms(o, *graph, &json["platforms"]));
    text += PlatformTables(platforms);
  }
  if (!o.html.empty()) {
    SLIPWAY_RETURN_IF_ERROR(
        WriteFile(o.html, std::string_view(report::InspectPage(o.model, *graph, in, platforms))));
    json["html"] = o.html;
    text += "wrote " + o.html + "\n";
  }
  context.Print(text, json);
  return OkStatus();
}

}  // namespace

Action SetupInspect(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->model, "a model file or a .slip package")->required();
  app.add_option("--platform", o->platforms, "also the support on these platforms")->delimiter(',');
  o->read.DeclareShape(app);
  o->read.Declare(app);
  app.add_option("--at", o->at, "N=8: the size of a dynamic dimension that numbers are given for");
  app.add_flag("--nodes", o->nodes, "a row per layer: parameters, MACs and memory");
  auto* sort =
      app.add_option("--sort", o->sort,
                     "rows of --nodes by order | macs | params | memory (of the outputs) | "
                     "alive (all that exists meanwhile)");
  sort->check(CLI::IsMember({"order", "macs", "params", "memory", "alive"}));
  auto* top = app.add_option("--top", o->top, "only so many rows; implies --nodes");
  top->check(CLI::Range(0, INT32_MAX));
  app.add_option("--html", o->html, "write a page that draws the graph to this file");
  app.add_flag("--text", o->text, "the graph in text form");
  return [o, sort, top](Context& c) {
    o->nodes |= sort->count() > 0 || top->count() > 0;
    return Execute(*o, c);
  };
}

}  // namespace slipway::cli
