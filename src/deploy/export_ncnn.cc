#include "deploy/export_ncnn.h"

#include <set>

#include "model/frontends/ncnn/export.h"
#include "model/passes/pass.h"

namespace slipway::deploy {
namespace {

// Symbols that stand first in the shape of an input of several dimensions, and nowhere else.
std::set<std::string> BatchSymbols(const ir::Graph& graph) {
  std::set<std::string> first, elsewhere;
  for (const ir::Value* v : graph.inputs()) {
    if (!v->type().shape) continue;
    const SymShape& shape = *v->type().shape;
    for (size_t i = 0; i < shape.size(); ++i) {
      for (const std::string& s : shape[i].Symbols())
        (i == 0 && shape.size() > 1 ? first : elsewhere).insert(s);
    }
  }
  for (const std::string& s : elsewhere) first.erase(s);
  return first;
}

void SetToOne(ir::Graph* graph, const std::set<std::string>& symbols) {
  for (const auto& v : graph->values()) {
    if (v->is_constant() || !v->type().shape) continue;
    ir::Type type = v->type();
    for (Dim& d : *type.shape) {
      d = d.Substitute([&](std::string_view s) -> std::optional<Dim> {
        return symbols.contains(std::string(s)) ? std::optional<Dim>(1) : std::nullopt;
      });
    }
    v->set_type(std::move(type));
  }
}

}  // namespace

Result<std::vector<std::string>> ExportNcnnModel(const ir::Graph& graph, const std::string& path,
                                                 bool half_weights) {
  auto copy = graph.Clone();
  SetToOne(copy.get(), BatchSymbols(*copy));
  passes::PassOptions options;
  options.level = passes::Level::kFused;
  options.disabled = {"keep-weight-codes", "recover-channel-shuffle"};
  SLIPWAY_RETURN_IF_ERROR(passes::RunPasses(*copy, options).status());
  SLIPWAY_RETURN_IF_ERROR(ncnn::ExportNcnn(*copy, path, {.half_weights = half_weights}).status());
  const std::string param = ncnn::ParamPath(path);
  return std::vector<std::string>{param, param.substr(0, param.size() - 6) + ".bin"};
}

}  // namespace slipway::deploy
