#include "cli/cli.h"
#include "deploy/platform_facts.h"
#include "deploy/toolchain.h"
#include "model/ops/custom.h"
#include "report/table.h"

namespace slipway::cli {
namespace {

std::string Join(const std::vector<std::string>& list) {
  std::string out;
  for (const auto& s : list) out += (out.empty() ? "" : ", ") + s;
  return out;
}

// Paths, and those for one architecture as "aarch64: PATH".
std::vector<std::string> Plugins(const compiler::Platform& p) {
  std::vector<std::string> out = p.plugins;
  for (const auto& [arch, path] : p.arch_plugins) out.push_back(arch + ": " + path);
  return out;
}

// What of it was really run.
const char* WhatRuns(const compiler::Platform& p) {
  return !p.planned.empty() ? "planned"
         : p.simulated      ? "simulated"
         : p.emulated       ? "emulated"
                            : "here";
}

using Facts = std::map<std::string, deploy::PlatformFacts>;

nlohmann::json FactsJson(const Facts& facts, const std::string& name) {
  const auto it = facts.find(name);
  if (it == facts.end()) return nullptr;
  const deploy::PlatformFacts& f = it->second;
  return {{"run", f.run},
          {"models", f.models},
          {"right", f.right},
          {"least_mac_share", f.least_macs},
          {"most_mac_share", f.most_macs},
          {"date", f.date},
          {"revision", f.revision},
          {"machine", f.machine}};
}

nlohmann::json Json(const compiler::Platform& p, const Facts& facts) {
  return {{"name", p.name},
          {"description", p.description},
          {"vendor", p.vendor},
          {"openness", p.openness},
          {"arch", p.arch},
          {"backends", p.backends},
          {"fallback", p.fallback},
          {"plugins", Plugins(p)},
          {"precision", p.precision},
          {"device", p.device},
          {"emulated", p.emulated},
          {"run", WhatRuns(p)},
          {"ran", FactsJson(facts, p.name)},
          {"export", p.export_format},
          {"weight_bits", p.has_scheme ? p.scheme.weights.bits : 0},
          {"planned", p.planned},
          {"file", p.source}};
}

std::string Describe(const compiler::TensorScheme& t) {
  const char* sign = t.sign == compiler::Sign::kAuto     ? "signed or unsigned"
                     : t.sign == compiler::Sign::kSigned ? "signed"
                                                         : "unsigned";
  const std::string per = t.per == compiler::Granularity::kTensor ? "tensor"
                          : t.per == compiler::Granularity::kChannel
                              ? "channel"
                              : "group of " + std::to_string(t.group);
  const char* kind = t.kind == compiler::ScaleKind::kPowerOfTwo    ? ", powers of two"
                     : t.kind == compiler::ScaleKind::kLogarithmic ? ", logarithmic"
                                                                   : "";
  return std::to_string(t.bits) + " bits, " + sign +
         (t.symmetric ? ", symmetric" : ", asymmetric") + (t.narrow ? ", narrow" : "") + kind +
         ", per " + per + ", " + t.observer + " observer";
}

// "W8A8", as --bits has it, and what is unusual about it.
std::string Brief(const compiler::Platform& p) {
  if (!p.has_scheme) return p.precision;
  const compiler::Scheme& s = p.scheme;
  std::string out = "W" + std::to_string(s.weights.bits);
  if (!s.weight_only) out += "A" + std::to_string(s.activations.bits);
  const auto kind = s.weights.kind;
  if (kind == compiler::ScaleKind::kPowerOfTwo) out += " power of two";
  if (kind == compiler::ScaleKind::kLogarithmic) out += " logarithmic";
  if (!s.weights.symmetric) out += " asymmetric";
  out += s.weights.per == compiler::Granularity::kTensor    ? " per tensor"
         : s.weights.per == compiler::Granularity::kChannel ? " per channel"
                                                            : " per group";
  return out;
}

}  // namespace

Action SetupPlatforms(CLI::App& app) {
  auto show = std::make_shared<std::string>();
  CLI::App* one = app.add_subcommand("show", "everything about one platform");
  one->add_option("NAME", *show, "its name or .yaml file")->required();
  one->fallthrough();  // --json may stand behind the name
  return [show](Context& context) -> Status {
    SLIPWAY_ASSIGN_OR_RETURN(const Facts facts, deploy::GetPlatformFacts());
    if (!show->empty()) {
      SLIPWAY_ASSIGN_OR_RETURN(auto p, deploy::GetPlatform(*show));
      std::string text = p.name + ": " + p.description + "\n  openness " + p.openness +
                         ", runs on " + p.arch + "\n  backends " + Join(p.backends) +
                         (p.fallback.empty() ? "" : "; others fall back to " + Join(p.fallback)) +
                         "\n  precision " + p.precision + "\n";
      for (const std::string& plugin : p.plugins) {
        SLIPWAY_ASSIGN_OR_RETURN(const std::string path, deploy::FindPlugin(p, plugin));
        text += "  plugin " + path + "\n";
      }
      for (const auto& [arch, plugin] : p.arch_plugins) {
        // Those of devices may be elsewhere.
        const auto path = deploy::FindPlugin(p, plugin);
        text += "  plugin for " + arch + " " + (path.ok() ? *path : plugin + " (not found)") + "\n";
      }
      for (const auto& backend : deploy::Backends().all()) {
        if (!backend->plugin().empty())
          text += "  backend " + backend->name() + " " + backend->version() + " of " +
                  backend->plugin() + "\n";
      }
      for (const ops::CustomOp* op : ops::CustomOps())
        text += "  operator " + op->domain() + "." + op->name() + " version " +
                std::to_string(op->version()) + " of " + op->plugin() + "\n";
      if (p.has_scheme) {
        const compiler::Scheme& s = p.scheme;
        std::vector<std::string> integers, recurrent;
        for (const std::string& op : s.operators)
          (op == "RNN" || op == "GRU" || op == "LSTM" ? recurrent : integers).push_back(op);
        text +=
            "  weights: " + Describe(s.weights) +
            "\n  activations: " + (s.weight_only ? "float" : Describe(s.activations)) +
            "\n  biases: " +
            (s.bias == compiler::BiasKind::kFloat ? "float"
             : s.bias == compiler::BiasKind::kProducts
                 ? "32 bits on the scale of the products"
                 : std::to_string(s.bias_bits) + " bits, powers of two") +
            "\n  integer operators: " + Join(integers) +
            (s.outputs ? "; their outputs are codes too" : "; their inputs are codes") +
            (recurrent.empty() ? "" : "\n  weights alone: " + Join(recurrent)) +
            (s.shared.empty() ? "" : "\n  one scale for all that they touch: " + Join(s.shared)) +
            (s.end_bits ? "\n  layers at the ends: " + std::to_string(s.end_bits) + " bits" : "") +
            "\n";
      }
      if (!p.export_format.empty())
        text += "  its tool reads: " + p.export_format + " (slipway export --platform " + p.name +
                ")\n";
      text += p.simulated
                  ? "  not here: its integers are computed exactly on this machine; no times"
                  : "  measured on " + p.device +
                        (p.emulated ? " (emulated: times are never compared with real ones)" : "");
      if (!p.planned.empty()) text += "\n  planned: " + p.planned;
      if (const auto it = facts.find(p.name); it != facts.end())
        text += "\n  was run: " + deploy::Brief(it->second) + " (" + it->second.date + ", revision " +
                it->second.revision + ", " + it->second.machine + "; docs/matrix.md)";
      text += "\n  from " + p.source + "\n";
      context.Print(text, Json(p, facts));
      return OkStatus();
    }
    SLIPWAY_ASSIGN_OR_RETURN(auto all, deploy::GetPlatforms());
    report::Table table = MakeTable(
        {"platform", "numbers", "level", "run", "backends", "was really run", "its tool reads",
         "description"});
    nlohmann::json rows = nlohmann::json::array();
    for (const auto& p : all) {
      // Named only: plugins are loaded for a platform that the user chooses.
      const auto list = Plugins(p);
      const std::string plugins = list.empty() ? "" : " (plugin " + Join(list) + ")";
      const auto it = facts.find(p.name);
      table.AddRow({p.name, Brief(p), p.openness, WhatRuns(p), Join(p.backends) + plugins,
                    it == facts.end() ? "" : deploy::Brief(it->second), p.export_format,
                    p.description});
      rows.push_back(Json(p, facts));
    }
    context.Print(Show(table), {{"platforms", rows}});
    return OkStatus();
  };
}

}  // namespace slipway::cli
