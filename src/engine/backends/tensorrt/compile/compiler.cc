#include "engine/backends/tensorrt/compile/compiler.h"

#include <algorithm>

#include "engine/backends/onnx_network.h"
#include "engine/backends/tensorrt/run/backend.h"

namespace slipway::backends {
namespace {

constexpr size_t kMostDims = 8;  // nvinfer1::Dims::MAX_DIMS

class TensorrtCompiler final : public OnnxNetworkCompiler {
 public:
  TensorrtCompiler() : OnnxNetworkCompiler(TensorrtBackend(), kTensorrtMark) {}

 protected:
  // What docs/operators.md of onnx-tensorrt excludes for TensorRT 10.15.
  Status Declines(const ir::Node& node) const override {
    for (const auto& values : {node.inputs(), node.outputs()}) {
      for (const ir::Value* v : values) {
        if (v && v->type().shape && v->type().shape->size() > kMostDims)
          return Unsupported("more than " + std::to_string(kMostDims) + " dimensions");
      }
    }
    if (node.Is("MaxPool") || node.Is("AveragePool")) {
      const size_t rank = node.input(0)->type().shape->size();
      if (rank != 4 && rank != 5) return Unsupported("pooling other than in 2 or 3 dimensions");
      const auto dilations = node.attributes.Ints("dilations");
      if (std::any_of(dilations.begin(), dilations.end(), [](int64_t d) { return d != 1; }))
        return Unsupported("dilated pooling");
    }
    return OkStatus();
  }
};

}  // namespace

std::unique_ptr<CompileBackend> MakeTensorrtCompiler() {
  return std::make_unique<TensorrtCompiler>();
}

}  // namespace slipway::backends
