#include "report/inspect_page.h"

#include <algorithm>
#include <cstdio>
#include <unordered_map>

#include "report/format.h"
#include "report/graph_svg.h"
#include "report/html.h"
#include "report/svg.h"

namespace slipway::report {
namespace {

using deploy::InspectedLayer;
using ir::Node;
using ir::Value;

// Beyond this many nodes a drawing helps nobody.
constexpr size_t kMostDrawn = 4000;

std::string Percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * share);
  return text;
}

int ColorOf(const Node& n) {
  const std::string& op = n.op();
  auto is = [&](std::initializer_list<const char*> parts) {
    return std::any_of(parts.begin(), parts.end(),
                       [&](const char* p) { return op.find(p) != std::string::npos; });
  };
  if (is({"Conv"})) return 0;
  if (is({"MatMul", "Gemm", "Linear", "Attention", "LSTM", "GRU", "Einsum"})) return 1;
  if (is({"Pool", "Reduce", "ArgM", "Softmax", "TopK"})) return 2;
  if (is({"Norm", "LRN"})) return 3;
  if (is({"Quantize", "Cast"})) return 4;
  if (is({"Reshape", "Transpose", "Concat", "Split", "Slice", "Gather", "Squeeze", "Flatten", "Pad",
          "Resize", "Expand", "Shape", "Tile", "Scatter", "Depth"}))
    return 7;
  if (is({"If", "Loop", "Scan", "Sequence"})) return 6;
  return 5;
}

std::string ValueText(const Value* v) {
  if (!v) return "(absent)";
  return v->name() + ": " + v->type().ToString() + (v->is_constant() ? " constant" : "");
}

HtmlDetail DetailOf(const InspectedLayer& l, double all_macs) {
  const Node& n = *l.node;
  HtmlDetail d;
  d.title = l.op;
  d.rows = {{"name", l.name}};
  if (const std::string a = deploy::AttributeText(n.attributes); !a.empty())
    d.rows.push_back({"attributes", a});
  for (size_t i = 0; i < n.inputs().size(); ++i)
    d.rows.push_back({"input " + std::to_string(i), ValueText(n.inputs()[i])});
  for (size_t i = 0; i < n.outputs().size(); ++i)
    d.rows.push_back({"output " + std::to_string(i), ValueText(n.outputs()[i])});
  if (l.macs_here > 0 || !l.macs.known())
    d.rows.push_back(
        {"MACs", ShortCount(static_cast<double>(l.macs_here)) + " (" +
                     Percent(all_macs > 0 ? static_cast<double>(l.macs_here) / all_macs : 0) + ")" +
                     (l.macs.known() ? "" : " = " + l.macs.ToString())});
  if (l.parameters > 0)
    d.rows.push_back({"parameters", ShortCount(static_cast<double>(l.parameters)) + " (" +
                                        FormatBytes(l.parameter_bytes) + ")"});
  d.rows.push_back({"output memory", FormatBytes(l.output_bytes)});
  d.rows.push_back({"alive while it runs", FormatBytes(l.live_bytes)});
  if (!n.sources.empty() && !(n.sources.size() == 1 && n.sources[0] == n.name())) {
    std::string list;
    for (size_t i = 0; i < n.sources.size() && i < 20; ++i) list += (i ? ", " : "") + n.sources[i];
    d.rows.push_back({"made of", list});
  }
  for (const auto& [name, body] : n.subgraphs) {
    if (body)
      d.rows.push_back(
          {"body " + name, std::to_string(body->nodes().size()) + " nodes (see Layers)"});
  }
  return d;
}

void DrawModel(HtmlPage* page, const ir::Graph& graph, const deploy::Inspection& in) {
  if (graph.nodes().size() > kMostDrawn) {
    page->Note("The graph has " + std::to_string(graph.nodes().size()) +
               " nodes, too many to draw; the table below has them all.");
    return;
  }
  std::vector<DrawnNode> nodes;
  std::vector<HtmlDetail> details;
  std::vector<std::pair<int, int>> edges;
  std::unordered_map<const Value*, int> maker;
  for (const Value* v : graph.inputs()) {
    maker[v] = static_cast<int>(nodes.size());
    nodes.push_back({v->name(), v->type().ToString(), 6, true, "graph input " + ValueText(v)});
    details.push_back({"graph input", {{"name", v->name()}, {"type", v->type().ToString()}}});
  }
  for (const InspectedLayer& l : in.layers) {
    if (l.depth > 0) continue;
    const int at = static_cast<int>(nodes.size());
    const Value* out = l.node->output();
    std::string shape = out && out->type().shape ? ToString(*out->type().shape) : "";
    nodes.push_back({l.node->op(), shape, ColorOf(*l.node), false, l.name + ": " + l.output});
    details.push_back(DetailOf(l, static_cast<double>(in.macs_here)));
    for (const Value* v : l.node->inputs()) {
      auto it = maker.find(v);
      if (it != maker.end()) edges.push_back({it->second, at});
    }
    for (const Value* v : l.node->outputs()) {
      if (v) maker[v] = at;
    }
  }
  for (const Value* v : graph.outputs()) {
    const int at = static_cast<int>(nodes.size());
    nodes.push_back({v->name(), v->type().ToString(), 6, true, "graph output " + ValueText(v)});
    details.push_back({"graph output", {{"name", v->name()}, {"type", v->type().ToString()}}});
    if (auto it = maker.find(v); it != maker.end()) edges.push_back({it->second, at});
  }
  page->Viewer(DrawGraph(nodes, edges), details);
  page->Note(
      "Drag to move, wheel or + and - to zoom, 0 to start again; click a node for its details.");
}

void LayerTable(HtmlPage* page, const deploy::Inspection& in) {
  HtmlTable table;
  table.filter = true;
  table.filter_column = 2;
  table.columns = {{"#", true},          {"layer"},      {"operator"},    {"output"},
                   {"parameters", true}, {"MACs", true}, {"share", true}, {"output memory", true},
                   {"alive", true}};
  int row = 0;
  for (const InspectedLayer& l : in.layers) {
    const double share =
        in.macs_here > 0 ? static_cast<double>(l.macs_here) / static_cast<double>(in.macs_here) : 0;
    auto number = [](const std::string& text, int64_t v) {
      return HtmlCell{text, static_cast<double>(v), v == 0 ? "dim" : "", ""};
    };
    table.rows.push_back({{std::to_string(row), static_cast<double>(row), "dim", ""},
                          {l.name, {}, "code", deploy::AttributeText(l.node->attributes)},
                          {l.op, {}, "", ""},
                          {l.output, {}, "code", ""},
                          number(ShortCount(static_cast<double>(l.parameters)), l.parameters),
                          number(ShortCount(static_cast<double>(l.macs_here)), l.macs_here),
                          number(Percent(share), l.macs_here),
                          number(FormatBytes(l.output_bytes), l.output_bytes),
                          number(FormatBytes(l.live_bytes), l.live_bytes)});
    ++row;
  }
  page->Table(table);
}

void Operators(HtmlPage* page, const deploy::Inspection& in) {
  std::vector<std::pair<std::string, deploy::InspectedOperator>> ops(in.operators.begin(),
                                                                     in.operators.end());
  std::stable_sort(ops.begin(), ops.end(),
                   [](const auto& a, const auto& b) { return a.second.macs > b.second.macs; });
  std::vector<Bar> bars;
  HtmlTable table;
  table.columns = {
      {"operator"}, {"count", true}, {"MACs", true}, {"parameters", true}, {"output memory", true}};
  for (const auto& [name, op] : ops) {
    if (op.macs > 0)
      bars.push_back({name, static_cast<double>(op.macs) / 1e6, 0,
                      ShortCount(static_cast<double>(op.macs)), name});
    auto number = [](const std::string& text, int64_t v) {
      return HtmlCell{text, static_cast<double>(v), "", ""};
    };
    table.rows.push_back({{name, {}, "name", ""},
                          number(std::to_string(op.count), op.count),
                          number(ShortCount(static_cast<double>(op.macs)), op.macs),
                          number(ShortCount(static_cast<double>(op.parameters)), op.parameters),
                          number(FormatBytes(op.output_bytes), op.output_bytes)});
  }
  if (bars.size() > 1) page->Figure(HorizontalBars(bars, {}, "million MACs"));
  page->Table(table);
}

}  // namespace

std::string ShortCount(double n) {
  const char* units[] = {"", " k", " M", " G", " T", " P"};
  int unit = 0;
  while (n >= 10000 && unit < 5) {
    n /= 1000;
    ++unit;
  }
  char text[48];
  std::snprintf(text, sizeof text, "%.*f%s", unit ? 2 : 0, n, units[unit]);
  return text;
}

std::string InspectPage(const std::string& file, const ir::Graph& graph,
                        const deploy::Inspection& in,
                        const std::vector<PlatformSupport>& platforms) {
  HtmlPage page(file);
  std::string from;
  if (auto it = graph.metadata.find("producer"); it != graph.metadata.end())
    from = "from " + it->second;
  if (auto it = graph.metadata.find("opset"); it != graph.metadata.end())
    from += (from.empty() ? "" : ", ") + std::string("opset ") + it->second;
  page.Heading(file, from);
  std::string here;
  for (const auto& s : in.symbols)
    here += (here.empty() ? "at " : ", ") + s.name + " = " + std::to_string(s.here);
  page.Tiles(
      {{"nodes", std::to_string(in.layers.size()),
        std::to_string(in.operators.size()) + " operators"},
       {"parameters", ShortCount(static_cast<double>(in.parameters)), FormatBytes(in.parameter_bytes)},
       {"MACs", ShortCount(static_cast<double>(in.macs_here)), here},
       {"activations alive at most", FormatBytes(in.peak_live_bytes), in.peak_layer}});
  page.Section("Graph");
  DrawModel(&page, graph, in);
  page.Section("Inputs and outputs");
  HtmlTable ports;
  ports.columns = {{""}, {"name"}, {"type"}};
  for (const Value* v : graph.inputs())
    ports.rows.push_back({{"input", {}, "dim", ""},
                          {v->name(), {}, "code", ""},
                          {v->type().ToString(), {}, "code", ""}});
  for (const Value* v : graph.outputs())
    ports.rows.push_back({{"output", {}, "dim", ""},
                          {v->name(), {}, "code", ""},
                          {v->type().ToString(), {}, "code", ""}});
  page.Table(ports);
  if (!in.symbols.empty()) {
    page.Subsection("Dynamic dimensions");
    HtmlTable t;
    t.columns = {{"symbol"}, {"range"}, {"numbers here are for", true}};
    for (const auto& s : in.symbols) {
      t.rows.push_back(
          {{s.name, {}, "name", ""},
           {s.bounded ? std::to_string(s.least) + " to " + std::to_string(s.most) : "any",
            {},
            "",
            ""},
           {std::to_string(s.here), static_cast<double>(s.here), "", ""}});
    }
    page.Table(t);
  }
  page.Section("Operators");
  Operators(&page, in);
  page.Section("Weights");
  HtmlTable weights;
  weights.columns = {{"element type"}, {"tensors", true}, {"elements", true}, {"size", true}};
  for (const auto& [type, w] : in.weights) {
    weights.rows.push_back(
        {{type, {}, "name", ""},
         {std::to_string(w.tensors), static_cast<double>(w.tensors), "", ""},
         {ShortCount(static_cast<double>(w.elements)), static_cast<double>(w.elements), "", ""},
         {FormatBytes(w.bytes), static_cast<double>(w.bytes), "", ""}});
  }
  page.Table(weights);
  if (!in.quantization.empty()) {
    page.Subsection("Quantization");
    HtmlTable t;
    t.columns = {{"kind"},
                 {"Quantize", true},
                 {"Dequantize", true},
                 {"of weights", true},
                 {"weights", true}};
    for (const auto& [kind, q] : in.quantization) {
      t.rows.push_back({{kind, {}, "name", ""},
                        {std::to_string(q.quantize), static_cast<double>(q.quantize), "", ""},
                        {std::to_string(q.dequantize), static_cast<double>(q.dequantize), "", ""},
                        {std::to_string(q.weights), static_cast<double>(q.weights), "", ""},
                        {ShortCount(static_cast<double>(q.weight_elements)),
                         static_cast<double>(q.weight_elements), "", ""}});
    }
    page.Table(t);
  }
  if (!platforms.empty()) {
    page.Section("Platforms");
    HtmlTable t;
    t.columns = {{"platform"},
                 {"supported"},
                 {"own nodes", true},
                 {"own MACs", true},
                 {"peak activations", true},
                 {"remark"}};
    for (const auto& p : platforms) {
      t.rows.push_back({{p.name, {}, "name", ""},
                        {p.supported ? "yes" : "no", {}, p.supported ? "good" : "bad", ""},
                        {p.supported ? Percent(p.own_nodes) : "", p.own_nodes, "", ""},
                        {p.supported ? Percent(p.own_macs) : "", p.own_macs, "", ""},
                        {p.supported ? FormatBytes(static_cast<int64_t>(p.peak_bytes)) : "",
                         static_cast<double>(p.peak_bytes), "", ""},
                        {p.reason, {}, "", ""}});
    }
    page.Table(t);
    HtmlTable f;
    f.filter = true;
    f.columns = {{"platform"}, {"node"}, {"operator"}, {"runs on"}, {"why"}};
    for (const auto& p : platforms) {
      for (const auto& b : p.fallbacks)
        f.rows.push_back({{p.name, {}, "name", ""},
                          {b.node, {}, "code", ""},
                          {b.op, {}, "", ""},
                          {b.backend, {}, "warn", ""},
                          {b.reason, {}, "", ""}});
    }
    if (!f.rows.empty()) {
      page.Subsection("Nodes that fall back");
      page.Table(f);
    }
  }
  page.Section("Layers");
  LayerTable(&page, in);
  return page.Render();
}

}  // namespace slipway::report
