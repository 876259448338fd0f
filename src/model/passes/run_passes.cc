#include <algorithm>
#include <chrono>
#include <cstdio>
#include <unordered_map>

#include "model/ir/infer.h"
#include "model/ir/verify.h"
#include "model/passes/pass.h"

namespace slipway::passes {
namespace {

using Clock = std::chrono::steady_clock;

bool Contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Status CheckNames(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (FindPass(name)) continue;
    std::string known;
    for (const PassInfo& pass : AllPasses())
      known += (known.empty() ? "" : ", ") + std::string(pass.name);
    return InvalidArgument("there is no pass '" + name + "'; the passes are " + known);
  }
  return OkStatus();
}

struct Runner {
  ir::Graph& graph;
  const PassOptions& options;
  std::vector<PassReport> reports;
  // The number of all changes so far, and what it was when a pass last ran without finding
  // anything.
  int64_t changes = 0;
  std::unordered_map<const PassInfo*, int64_t> clean_at;
  bool platform_stage = false;

  bool Wanted(const PassInfo& pass, Level level) const {
    if (Contains(options.disabled, pass.name)) return false;
    if (!options.only.empty()) return Contains(options.only, pass.name);
    return pass.level <= level ||
           (platform_stage && options.supported && pass.level == Level::kPlatform);
  }

  PassReport& Report(const PassInfo& pass) {
    auto found = std::find_if(reports.begin(), reports.end(),
                              [&](const PassReport& r) { return r.name == pass.name; });
    if (found != reports.end()) return *found;
    reports.push_back({.name = pass.name, .nodes_before = static_cast<int>(graph.nodes().size())});
    return reports.back();
  }

  // The pass on all bodies in the graph, the innermost first, then on the graph.
  Result<int> Apply(const PassInfo& pass, ir::Graph& g) {
    int changed = 0;
    for (const auto& node : g.nodes()) {
      for (auto& [name, body] : node->subgraphs) {
        auto inside = Apply(pass, *body);
        if (!inside.ok())
          return std::move(inside).status().With(node->Describe() + ", body '" + name + "'");
        changed += *inside;
      }
    }
    SLIPWAY_ASSIGN_OR_RETURN(const int here, pass.run(g, options));
    return changed + here;
  }

  // Whether it changed anything.
  Result<bool> RunOne(const PassInfo& pass) {
    auto clean = clean_at.find(&pass);
    if (clean != clean_at.end() && clean->second == changes) return false;
    PassReport& report = Report(pass);
    auto start = Clock::now();
    auto changed = Apply(pass, graph);
    if (!changed.ok()) return changed.status().With("pass " + std::string(pass.name));
    if (*changed > 0) {
      Status status = ir::InferShapes(graph);
      if (status.ok() && options.verify_each) status = ir::Verify(graph);
      if (!status.ok()) return std::move(status).With("after pass " + std::string(pass.name));
    }
    report.ms += std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    report.changes += *changed;
    report.nodes_after = static_cast<int>(graph.nodes().size());
    ++report.runs;
    changes += *changed;
    if (*changed == 0) clean_at[&pass] = changes;
    return *changed > 0;
  }

  Status RunLevel(Level level) {
    for (int round = 0; round < options.max_rounds; ++round) {
      bool any = false;
      for (const PassInfo& pass : AllPasses()) {
        if (!Wanted(pass, level)) continue;
        SLIPWAY_ASSIGN_OR_RETURN(bool changed, RunOne(pass));
        any |= changed;
      }
      if (!any) break;
    }
    return OkStatus();
  }
};

}  // namespace

Result<std::vector<PassReport>> RunPasses(ir::Graph& graph, const PassOptions& options) {
  SLIPWAY_RETURN_IF_ERROR(CheckNames(options.disabled));
  SLIPWAY_RETURN_IF_ERROR(CheckNames(options.only));
  SLIPWAY_RETURN_IF_ERROR(graph.SortTopologically());
  SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(graph));
  Runner runner{graph, options, {}, 0, {}, false};
  for (Level level : {Level::kOnnx, Level::kFused, Level::kInteger}) {
    if (level > options.level) break;
    SLIPWAY_RETURN_IF_ERROR(runner.RunLevel(level));
  }
  if (options.supported) {
    runner.platform_stage = true;
    SLIPWAY_RETURN_IF_ERROR(runner.RunLevel(options.level));
  }
  return std::move(runner.reports);
}

std::string ReportText(std::span<const PassReport> reports) {
  std::string text = "pass                      changes      nodes        ms\n";
  double ms = 0;
  int changes = 0;
  char line[160];
  for (const PassReport& r : reports) {
    ms += r.ms;
    changes += r.changes;
    if (r.changes == 0) continue;
    std::snprintf(line, sizeof line, "%-24s  %7d  %4d -> %-4d  %6.1f\n", r.name.c_str(), r.changes,
                  r.nodes_before, r.nodes_after, r.ms);
    text += line;
  }
  std::snprintf(line, sizeof line, "%-24s  %7d  %12s  %6.1f\n", "all", changes, "", ms);
  return text + line;
}

}  // namespace slipway::passes
