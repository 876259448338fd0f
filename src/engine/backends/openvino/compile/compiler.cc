#include "engine/backends/openvino/compile/compiler.h"

#include "engine/backends/onnx_network.h"
#include "engine/backends/openvino/run/backend.h"

namespace slipway::backends {
namespace {

class OpenvinoCompiler final : public OnnxNetworkCompiler {
 public:
  OpenvinoCompiler() : OnnxNetworkCompiler(OpenvinoBackend(), kOpenvinoMark) {}

 protected:
  // Its C interface cannot describe a tensor without dimensions: ov_shape_create wants one at
  // least.
  Status Declines(const ir::Node& node) const override {
    for (const auto& values : {node.inputs(), node.outputs()}) {
      for (const ir::Value* v : values) {
        if (v && !v->is_constant() && v->type().shape && v->type().shape->empty())
          return Unsupported("a scalar that is no constant");
      }
    }
    return OkStatus();
  }
};

}  // namespace

std::unique_ptr<CompileBackend> MakeOpenvinoCompiler() {
  return std::make_unique<OpenvinoCompiler>();
}

}  // namespace slipway::backends
