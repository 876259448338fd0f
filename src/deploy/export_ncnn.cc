#include "deploy/export_ncnn.h"

#include "model/frontends/ncnn/export.h"
#include "quant/exporters/ncnn.h"

namespace slipway::deploy {

Result<std::vector<std::string>> ExportNcnnModel(const ir::Graph& graph, const std::string& path,
                                                 bool half_weights) {
  SLIPWAY_ASSIGN_OR_RETURN(auto copy, quant::PrepareForNcnn(graph));
  SLIPWAY_RETURN_IF_ERROR(ncnn::ExportNcnn(*copy, path, {.half_weights = half_weights}).status());
  const std::string param = ncnn::ParamPath(path);
  return std::vector<std::string>{param, param.substr(0, param.size() - 6) + ".bin"};
}

}  // namespace slipway::deploy
