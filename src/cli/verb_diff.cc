#include "cli/cli.h"
#include "deploy/diff.h"
#include "deploy/model_io.h"

namespace slipway::cli {
namespace {

struct Options {
  std::string first, second;
  int top = 20;
  ModelFlags read;
  std::string second_weights;
};

std::string Lines(const std::string& title, const std::vector<std::string>& lines, int most) {
  if (lines.empty()) return "";
  std::string text = title + "\n";
  for (size_t i = 0; i < lines.size() && i < static_cast<size_t>(most); ++i)
    text += "  " + lines[i] + "\n";
  if (lines.size() > static_cast<size_t>(most))
    text += "  ... " + std::to_string(lines.size() - static_cast<size_t>(most)) + " more (--top)\n";
  return text;
}

std::vector<std::string> Joined(const std::vector<deploy::NodeChange>& changes) {
  std::vector<std::string> lines;
  for (const auto& c : changes) lines.push_back(c.name + ": " + c.what);
  return lines;
}

nlohmann::json Json(const std::vector<deploy::NodeChange>& changes) {
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& c : changes) rows.push_back({{"name", c.name}, {"what", c.what}});
  return rows;
}

Status Execute(const Options& o, Context& context) {
  // Each of the two may be a Caffe net; what is not takes none of these options.
  SLIPWAY_ASSIGN_OR_RETURN(deploy::ModelOptions read, o.read.Options());
  const bool caffe[] = {o.first.ends_with(".prototxt"), o.second.ends_with(".prototxt")};
  if (read.random_weights && !caffe[0] && !caffe[1])
    return InvalidArgument("--random-weights is for a Caffe net (.prototxt)");
  const bool random = read.random_weights;
  read.random_weights = random && caffe[0];
  SLIPWAY_ASSIGN_OR_RETURN(auto first, deploy::LoadModel(o.first, read));
  read.random_weights = random && caffe[1];
  read.weights = o.second_weights;
  SLIPWAY_ASSIGN_OR_RETURN(auto second, deploy::LoadModel(o.second, read));
  const deploy::ModelDiff d = deploy::Diff(*first, *second);
  std::string text = d.Empty()          ? "the models are equal"
                     : d.same_structure ? "the structures are equal"
                                        : "the structures differ";
  text += " (" + std::to_string(d.same_nodes) + " nodes and " + std::to_string(d.same_weights) +
          " constants alike)\n";
  text += Lines("inputs and outputs", d.ports, o.top);
  if (!d.operators.empty()) {
    report::Table table = MakeTable({"operator", ">first", ">second"});
    for (const auto& [op, c] : d.operators)
      table.AddRow({op, std::to_string(c.first), std::to_string(c.second)});
    text += Show(table);
  }
  text += Lines("only in the first", d.only_first, o.top);
  text += Lines("only in the second", d.only_second, o.top);
  text += Lines("changed nodes", Joined(d.changed), o.top);
  text += Lines("constants only in the first", d.weights_only_first, o.top);
  text += Lines("constants only in the second", d.weights_only_second, o.top);
  text += Lines("constants of another type", Joined(d.weights_retyped), o.top);
  nlohmann::json weights = nlohmann::json::array();
  if (!d.weights_changed.empty()) {
    report::Table table = MakeTable(
        {"changed constant", "type", ">elements", ">different", ">largest", ">relative norm"});
    int rows = 0;
    for (const auto& w : d.weights_changed) {
      char largest[32], relative[32];
      std::snprintf(largest, sizeof largest, "%.3g", w.largest);
      std::snprintf(relative, sizeof relative, "%.3g", w.relative);
      if (rows++ < o.top)
        table.AddRow({w.name, w.type, std::to_string(w.elements), std::to_string(w.different),
                      largest, relative});
      weights.push_back({{"name", w.name},
                         {"type", w.type},
                         {"elements", w.elements},
                         {"different", w.different},
                         {"largest", w.largest},
                         {"relative", w.relative}});
    }
    text += Show(table);
    if (rows > o.top) text += "  ... " + std::to_string(rows - o.top) + " more (--top)\n";
  }
  nlohmann::json operators = nlohmann::json::object();
  for (const auto& [op, c] : d.operators) operators[op] = {c.first, c.second};
  context.Print(text, {{"equal", d.Empty()},
                       {"same_structure", d.same_structure},
                       {"same_nodes", d.same_nodes},
                       {"same_weights", d.same_weights},
                       {"ports", d.ports},
                       {"operators", operators},
                       {"only_first", d.only_first},
                       {"only_second", d.only_second},
                       {"changed", Json(d.changed)},
                       {"weights_only_first", d.weights_only_first},
                       {"weights_only_second", d.weights_only_second},
                       {"weights_retyped", Json(d.weights_retyped)},
                       {"weights_changed", weights}});
  return OkStatus();
}

}  // namespace

Action SetupDiff(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("FIRST", o->first, "a model file")->required();
  app.add_option("SECOND", o->second, "the model file to compare with")->required();
  o->read.Declare(app, "FIRST");
  app.add_option("--second-weights", o->second_weights, "the .caffemodel of SECOND, a .prototxt");
  app.add_option("--top", o->top, "rows of each list (default 20)")
      ->check(CLI::Range(1, INT32_MAX));
  return [o](Context& c) { return Execute(*o, c); };
}

}  // namespace slipway::cli
