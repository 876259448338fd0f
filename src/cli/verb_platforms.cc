#include "cli/cli.h"
#include "deploy/toolchain.h"
#include "report/table.h"

namespace slipway::cli {
namespace {

std::string Join(const std::vector<std::string>& list) {
  std::string out;
  for (const auto& s : list) out += (out.empty() ? "" : ", ") + s;
  return out;
}

nlohmann::json Json(const compiler::Platform& p) {
  return {{"name", p.name},         {"description", p.description},
          {"vendor", p.vendor},     {"openness", p.openness},
          {"arch", p.arch},         {"backends", p.backends},
          {"fallback", p.fallback}, {"precision", p.precision},
          {"device", p.device},     {"emulated", p.emulated},
          {"file", p.source}};
}

std::string Describe(const compiler::TensorScheme& t) {
  const char* sign = t.sign == compiler::Sign::kAuto     ? "signed or unsigned"
                     : t.sign == compiler::Sign::kSigned ? "signed"
                                                         : "unsigned";
  const char* per = t.per == compiler::Granularity::kTensor    ? "tensor"
                    : t.per == compiler::Granularity::kChannel ? "channel"
                                                               : "group";
  return std::to_string(t.bits) + " bits, " + sign +
         (t.symmetric ? ", symmetric" : ", asymmetric") + (t.narrow ? ", narrow" : "") + ", per " +
         per + ", " + t.observer + " observer";
}

}  // namespace

Action SetupPlatforms(CLI::App& app) {
  auto show = std::make_shared<std::string>();
  CLI::App* one = app.add_subcommand("show", "everything about one platform");
  one->add_option("NAME", *show, "its name or .yaml file")->required();
  one->fallthrough();  // --json may stand behind the name
  return [show](Context& context) -> Status {
    if (!show->empty()) {
      SLIPWAY_ASSIGN_OR_RETURN(auto p, deploy::GetPlatform(*show));
      std::string text = p.name + ": " + p.description + "\n  openness " + p.openness +
                         ", runs on " + p.arch + "\n  backends " + Join(p.backends) +
                         (p.fallback.empty() ? "" : "; others fall back to " + Join(p.fallback)) +
                         "\n  precision " + p.precision + "\n";
      if (p.has_scheme) {
        text += "  weights: " + Describe(p.scheme.weights) +
                "\n  activations: " + Describe(p.scheme.activations) +
                "\n  integer operators: " + Join(p.scheme.operators) + "\n";
      }
      text += "  measured on " + p.device +
              (p.emulated ? " (emulated: times are never compared with real ones)" : "") +
              "\n  from " + p.source + "\n";
      context.Print(text, Json(p));
      return OkStatus();
    }
    SLIPWAY_ASSIGN_OR_RETURN(auto all, deploy::GetPlatforms());
    report::Table table = MakeTable(
        {"platform", "precision", "arch", "backends", "fallback", "measured on", "description"});
    nlohmann::json rows = nlohmann::json::array();
    for (const auto& p : all) {
      table.AddRow({p.name, p.precision, p.arch, Join(p.backends), Join(p.fallback),
                    p.device + (p.emulated ? " (emulated)" : ""), p.description});
      rows.push_back(Json(p));
    }
    context.Print(Show(table), {{"platforms", rows}});
    return OkStatus();
  };
}

}  // namespace slipway::cli
