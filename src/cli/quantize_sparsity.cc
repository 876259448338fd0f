#include "cli/quantize_sparsity.h"

#include <algorithm>
#include <cstdio>

#include "cli/cli.h"
#include "report/table.h"

namespace slipway::cli {

std::string ShowSparsity(const deploy::SparseModel& sparse, int bits,
                         const compiler::Platform& platform, nlohmann::json& json) {
  const auto percent = [](double v) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3g %%", 100 * v);
    return std::string(v < 0 ? "-" : text);
  };
  report::Table table = MakeTable({"pruned layer", ">inputs", ">outputs", ">zeros",
                                   ">error by magnitude", ">error", ">bytes", ">compressed"});
  nlohmann::json layers = nlohmann::json::array(), dense = nlohmann::json::array();
  int64_t before = 0, after = 0;
  for (const quant::PrunedLayer& l : sparse.report.layers) {
    const int64_t bytes = (l.weights * bits + 7) / 8, compressed = l.Bytes(sparse.pattern, bits);
    before += bytes;
    after += compressed;
    table.AddRow({l.name,
                  std::to_string(l.shape.channels * l.groups) +
                      (l.shape.taps > 1 ? " x " + std::to_string(l.shape.taps) : ""),
                  std::to_string(l.shape.rows * l.groups),
                  percent(static_cast<double>(l.zeros) / static_cast<double>(l.weights)),
                  percent(l.magnitude), percent(l.chosen), std::to_string(bytes),
                  std::to_string(compressed)});
    nlohmann::json row = {{"node", l.name},
                          {"weights", l.weights},
                          {"zeros", l.zeros},
                          {"bytes", bytes},
                          {"compressed_bytes", compressed}};
    if (l.chosen >= 0) {
      row["error_magnitude"] = l.magnitude;
      row["error"] = l.chosen;
    }
    layers.push_back(std::move(row));
  }
  std::string text = Show(table);
  text += std::to_string(sparse.report.layers.size()) + " layers are " + sparse.pattern.ToString() +
          ", " +
          percent(static_cast<double>(sparse.report.zeros()) /
                  static_cast<double>(std::max<int64_t>(1, sparse.report.weights()))) +
          " of their weights zero; " + std::to_string((before + 1023) / 1024) + " KiB of " +
          (bits == 32 ? std::string("float32") : std::to_string(bits) + "-bit codes") + " are " +
          std::to_string((after + 1023) / 1024) + " KiB in compressed form, with their indices\n";
  // Those with the same reason together.
  std::vector<std::pair<std::string, std::vector<std::string>>> reasons;
  for (const quant::DenseLayer& d : sparse.report.dense) {
    dense.push_back({{"node", d.name}, {"reason", d.reason}});
    auto it = std::find_if(reasons.begin(), reasons.end(),
                           [&](const auto& r) { return r.first == d.reason; });
    if (it == reasons.end()) it = reasons.insert(it, {d.reason, {}});
    it->second.push_back(d.name);
  }
  for (const auto& [reason, names] : reasons) {
    text += "dense, " + reason + ": ";
    for (size_t i = 0; i < names.size() && i < 3; ++i) text += (i > 0 ? ", " : "") + names[i];
    if (names.size() > 3) text += " and " + std::to_string(names.size() - 3) + " more";
    text += "\n";
  }
  if (!sparse.blocks.empty()) {
    report::Table blocks =
        MakeTable({"trained block", ">layers", ">error before", ">after", ">iterations", ">s"});
    nlohmann::json rows = nlohmann::json::array();
    for (const quant::BlockReport& b : sparse.blocks) {
      const auto number = [](double v) {
        char text[32];
        std::snprintf(text, sizeof text, "%.3g", v);
        return std::string(text);
      };
      blocks.AddRow({b.block.name, std::to_string(b.block.layers.size()), number(b.loss_before),
                     number(b.loss_after), std::to_string(b.iterations), Fixed(b.seconds, 1)});
      rows.push_back({{"block", b.block.name},
                      {"layers", b.block.layers},
                      {"error_before", b.loss_before},
                      {"error_after", b.loss_after},
                      {"iterations", b.iterations},
                      {"seconds", b.seconds}});
      if (!b.kept.empty()) rows.back()["kept"] = b.kept;
    }
    text += Show(blocks);
    for (const quant::BlockReport& b : sparse.blocks) {
      if (!b.kept.empty())
        text += "note: block '" + b.block.name + "' is pruned but not trained: " + b.kept + "\n";
    }
    json["sparsity"]["blocks"] = std::move(rows);
  }
  const std::string warning = deploy::SparsityWarning(platform, sparse.pattern);
  if (!warning.empty()) {
    text += "note: " + warning + "\n";
    json["sparsity"]["warning"] = warning;
  }
  json["sparsity"]["pattern"] = sparse.pattern.ToString();
  json["sparsity"]["layers"] = std::move(layers);
  json["sparsity"]["dense"] = std::move(dense);
  json["sparsity"]["bytes"] = before;
  json["sparsity"]["compressed_bytes"] = after;
  return text;
}

}  // namespace slipway::cli
