#include "deploy/quantize_json.h"

#include <cmath>
#include <limits>

namespace slipway::deploy {
namespace {

using nlohmann::json;

constexpr const char* kKinds[] = {"latency", "size", "bitops"};  // of BudgetKind

json Number(double v) {
  if (std::isfinite(v)) return v;
  return v > 0 ? json("inf") : json();
}

double ToNumber(const json& j) {
  if (j.is_number()) return j.get<double>();
  return j.is_string() ? std::numeric_limits<double>::infinity()
                       : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

json ToJson(const LadderOutcome& ladder) {
  json rows = json::array();
  for (size_t i = 0; i < ladder.rungs.size(); ++i) {
    const Rung& r = ladder.rungs[i];
    json row = {{"name", r.name},
                {"what", r.what},
                {"seconds", r.seconds},
                {"wider_layers", r.wider_layers},
                {"float_layers", r.float_layers},
                {"chosen", i == ladder.chosen},
                {"why", WhyRung(ladder, i)}};
    if (r.status.ok()) {
      row["top1"] = r.top1;
      row["drop_points"] = r.drop_points;
      row["float_share"] = r.float_share;
      row["size_bytes"] = r.size_bytes;
      if (r.latency_ms > 0) row["latency_ms"] = r.latency_ms;
    } else {
      row["error"] = r.status.message();
    }
    rows.push_back(std::move(row));
  }
  return {{"rungs", std::move(rows)},
          {"met", ladder.met},
          {"float_top1", ladder.float_top1},
          {"max_drop", ladder.max_drop}};
}

std::optional<LadderOutcome> LadderFromJson(const json& j) {
  try {
    LadderOutcome ladder;
    ladder.met = j.at("met");
    ladder.float_top1 = j.at("float_top1");
    ladder.max_drop = j.at("max_drop");
    for (const json& row : j.at("rungs")) {
      Rung r{.name = row.at("name"), .what = row.at("what")};
      r.seconds = row.at("seconds");
      r.wider_layers = row.at("wider_layers");
      r.float_layers = row.at("float_layers");
      if (row.contains("error")) {
        r.status = Unsupported(row["error"]);
      } else {
        r.top1 = row.at("top1");
        r.drop_points = row.at("drop_points");
        r.float_share = row.at("float_share");
        r.size_bytes = row.at("size_bytes");
        r.latency_ms = row.value("latency_ms", 0.0);
      }
      if (row.at("chosen")) ladder.chosen = ladder.rungs.size();
      ladder.rungs.push_back(std::move(r));
    }
    if (ladder.rungs.empty()) return std::nullopt;
    return ladder;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

json ToJson(const MixedChoice& mixed) {
  json rows = json::array();
  for (size_t l = 0; l < mixed.layers.size(); ++l) {
    const compiler::LayerOptions& layer = mixed.layers[l];
    json list = json::array();
    for (const compiler::LayerOption& o : layer.options)
      list.push_back({{"precision", o.name}, {"cost", o.cost}, {"loss", o.loss}});
    rows.push_back({{"node", layer.node},
                    {"precision", layer.options[mixed.picks[l]].name},
                    {"options", std::move(list)}});
  }
  json front = json::array();
  for (const compiler::BudgetChoice& c : mixed.front)
    front.push_back({{"cost", c.cost + mixed.rest}, {"loss", c.loss}});
  json out = {{"kind", kKinds[static_cast<int>(mixed.kind)]},
              {"layers", std::move(rows)},
              {"front", std::move(front)},
              {"limit", mixed.limit},
              {"cost", mixed.cost},
              {"loss", mixed.loss},
              {"rest", mixed.rest}};
  if (mixed.kind == BudgetKind::kLatency) {
    out["measured"] = mixed.measured;
    out["conversions"] = mixed.conversions;
  }
  return out;
}

std::optional<MixedChoice> MixedFromJson(const json& j) {
  try {
    MixedChoice mixed;
    int kind = -1;
    for (int k = 0; k < 3; ++k) {
      if (j.at("kind") == kKinds[k]) kind = k;
    }
    if (kind < 0) return std::nullopt;
    mixed.kind = static_cast<BudgetKind>(kind);
    mixed.limit = j.at("limit");
    mixed.cost = j.at("cost");
    mixed.loss = j.at("loss");
    mixed.rest = j.at("rest");
    mixed.measured = j.value("measured", 0.0);
    mixed.conversions = j.value("conversions", 0.0);
    for (const json& row : j.at("layers")) {
      compiler::LayerOptions layer{row.at("node"), {}};
      std::optional<size_t> picked;
      for (const json& o : row.at("options")) {
        if (o.at("precision") == row.at("precision")) picked = layer.options.size();
        layer.options.push_back({o.at("precision"), o.at("cost"), o.at("loss")});
      }
      if (!picked) return std::nullopt;
      mixed.picks.push_back(*picked);
      mixed.layers.push_back(std::move(layer));
    }
    for (const json& c : j.at("front"))
      mixed.front.push_back({{}, c.at("cost").get<double>() - mixed.rest, c.at("loss")});
    return mixed;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

json ToJson(const std::vector<quant::LayerError>& layers) {
  json rows = json::array();
  for (const quant::LayerError& e : layers) {
    rows.push_back({{"node", e.node},
                    {"op", e.op},
                    {"alone_db", Number(e.alone_db)},
                    {"accumulated_db", Number(e.accumulated_db)},
                    {"cosine", Number(e.cosine)}});
  }
  return rows;
}

json ToJson(const std::vector<PluginUse>& plugins) {
  json rows = json::array();
  for (const PluginUse& p : plugins) {
    rows.push_back({{"file", p.file},
                    {"sha256", p.sha256},
                    {"backend", p.backend},
                    {"version", p.version},
                    {"operators", p.operators},
                    {"operators_version", p.operators_version}});
  }
  return rows;
}

std::optional<std::vector<quant::LayerError>> LayerErrorsFromJson(const json& j) {
  if (!j.is_array()) return std::nullopt;
  try {
    std::vector<quant::LayerError> layers;
    for (const json& row : j) {
      quant::LayerError e;
      e.node = row.at("node");
      e.op = row.at("op");
      e.alone_db = ToNumber(row.at("alone_db"));
      e.accumulated_db = ToNumber(row.at("accumulated_db"));
      e.cosine = ToNumber(row.at("cosine"));
      layers.push_back(std::move(e));
    }
    return layers;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

}  // namespace slipway::deploy
