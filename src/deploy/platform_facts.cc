#include "deploy/platform_facts.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "engine/compiler/platform.h"

namespace slipway::deploy {
namespace {

using nlohmann::json;

std::string Text(const json& j, const char* key) {
  const auto it = j.find(key);
  return it != j.end() && it->is_string() ? it->get<std::string>() : "";
}

}  // namespace

std::string Brief(const PlatformFacts& f) {
  // Rounded down: 99.97 is not all.
  const auto percent = [](double share) {
    return static_cast<int>(std::floor(share * 100 + 1e-9));
  };
  const int least = percent(f.least_macs), most = percent(f.most_macs);
  char text[96];
  std::snprintf(text, sizeof text, least == most ? "%d %% of MACs" : "%d-%d %% of MACs", least,
                most);
  return std::to_string(f.right) + " of " + std::to_string(f.models) + " models, " +
         (f.run.empty() ? "native" : f.run) + ", " + text;
}

Result<std::map<std::string, PlatformFacts>> ParsePlatformFacts(const std::string& text) {
  const json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!root.is_object()) return DataLoss("no JSON object");
  const auto format = root.find("format");
  if (format == root.end() || !format->is_number_integer() || *format != 1)
    return DataLoss("'format' is not 1: written by another version of tests/matrix.py");
  const auto platforms = root.find("platforms");
  if (platforms == root.end() || !platforms->is_object()) return DataLoss("no 'platforms'");
  std::map<std::string, PlatformFacts> out;
  for (const auto& [name, entry] : platforms->items()) {
    const auto models = entry.is_object() ? entry.find("models") : entry.end();
    if (!entry.is_object() || models == entry.end() || !models->is_object() || models->empty())
      return DataLoss("platform '" + name + "' has no 'models'");
    PlatformFacts f;
    f.run = Text(entry, "run");
    f.date = Text(entry, "date");
    f.revision = Text(entry, "revision");
    f.machine = Text(entry, "machine");
    f.least_macs = 1;
    for (const auto& [model, row] : models->items()) {
      const auto macs = row.is_object() ? row.find("macs") : row.end();
      const auto ok = row.is_object() ? row.find("ok") : row.end();
      if (!row.is_object() || macs == row.end() || !macs->is_number() || ok == row.end() ||
          !ok->is_boolean())
        return DataLoss("model '" + model + "' on '" + name + "' has no 'macs' and 'ok'");
      const double share = macs->get<double>();
      if (!(share >= 0 && share <= 1))
        return DataLoss("model '" + model + "' on '" + name + "' has a share outside of 0 to 1");
      ++f.models;
      f.right += ok->get<bool>() ? 1 : 0;
      f.least_macs = std::min(f.least_macs, share);
      f.most_macs = std::max(f.most_macs, share);
    }
    out[name] = std::move(f);
  }
  return out;
}

Result<std::map<std::string, PlatformFacts>> GetPlatformFacts() {
  std::map<std::string, PlatformFacts> out;
  for (const std::string& folder : compiler::DefaultPlatformFolders()) {
    const std::string path = folder + "/matrix.json";
    std::ifstream file(path);
    if (!file) continue;
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    auto facts = ParsePlatformFacts(text);
    if (!facts.ok())
      return facts.status().With(
          "'" + path + "' (made by tests/matrix.py --docs; take it away to go on without)");
    for (auto& [name, f] : *facts) out[name] = std::move(f);
  }
  return out;
}

}  // namespace slipway::deploy
