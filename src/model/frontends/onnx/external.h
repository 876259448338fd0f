#pragma once
// Tensors that keep their data in files beside the model (TensorProto.external_data).

#include <memory>
#include <string>
#include <unordered_map>

#include "base/mapped_file.h"
#include "base/status.h"
#include "model/frontends/onnx/tensor_proto.h"
#include "model/ir/tensor.h"

namespace slipway::onnx {

// Maps each file once. A file must lie inside the model's folder after all links are followed.
class ExternalFiles {
 public:
  // An empty path (a model in memory) refuses all external data.
  explicit ExternalFiles(std::string model_path) : model_path_(std::move(model_path)) {}
  Result<ir::Tensor> Read(const TensorProto& proto);

 private:
  Result<std::shared_ptr<const MappedFile>> Open(const TensorProto& proto);

  std::string model_path_;
  std::unordered_map<std::string, std::shared_ptr<const MappedFile>> files_;  // by location
};

}  // namespace slipway::onnx
