#include "deploy/export_c.h"

#include "base/mapped_file.h"
#include "engine/backends/csource/compiler.h"
#include "engine/backends/reference/compile/compiler.h"
#include "engine/compiler/compile.h"
#include "model/ir/infer.h"

namespace slipway::deploy {

Result<backends::csource::Source> GenerateC(const ir::Graph& graph, const std::string& stem) {
  auto fixed = graph.Clone();
  ir::InferOptions infer;
  for (const ir::Value* input : fixed->inputs()) {
    if (!input->type().shape) continue;
    const SymShape& shape = *input->type().shape;
    for (size_t i = 0; i < shape.size(); ++i) {
      for (const std::string& symbol : shape[i].Symbols()) {
        if (i == 0) {
          infer.symbols[symbol] = 1;
        } else if (!infer.symbols.contains(symbol)) {
          return Unsupported("input '" + input->name() + "' has the extent '" + symbol +
                             "', and C source has static extents; fix it with --shape");
        }
      }
    }
  }
  if (!infer.symbols.empty()) SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(*fixed, infer));
  compiler::Platform platform;
  platform.name = "csource";
  platform.arch = "any";
  platform.backends = {"csource"};
  platform.precision = "int8";  // of what is quantized
  compiler::BackendSet backends;
  backends.Add(backends::MakeCsourceCompiler());
  backends.Add(backends::MakeReferenceCompiler());  // for layout conversions, of which C has none
  const auto compiled = compiler::Compile(*fixed, platform, backends, {});
  if (!compiled.ok()) {
    // Here is no platform to choose.
    std::string message = compiled.status().message();
    const size_t at = message.find("; choose a platform with another fallback, or ");
    if (at != std::string::npos)
      message = message.substr(0, at) + "; change the model, or compile a package";
    return Status(compiled.status().code(), message);
  }
  return backends::csource::GenerateSource(compiled->package, {.name = stem});
}

Result<std::vector<std::string>> ExportC(const ir::Graph& graph, const std::string& folder,
                                         const std::string& stem) {
  SLIPWAY_ASSIGN_OR_RETURN(const backends::csource::Source source, GenerateC(graph, stem));
  const std::string path = folder + "/" + source.name;
  SLIPWAY_RETURN_IF_ERROR(WriteFile(path + ".h", source.header));
  SLIPWAY_RETURN_IF_ERROR(WriteFile(path + ".c", source.source));
  return std::vector<std::string>{path + ".h", path + ".c"};
}

}  // namespace slipway::deploy
