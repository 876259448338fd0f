#pragma once
// What the run sides share that hand a step's ONNX bytes to somebody else's library.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "engine/kernels/vendor/network_blob.h"
#include "slipway/backend.h"

namespace slipway::kernels {

// Shared by the sessions of a package.
struct NetworkProgram {
  std::string name;  // the step's, for messages
  std::vector<uint8_t> blob;
  NetworkBlob parts;  // of blob
};

template <typename Check>
Status CheckTensors(const slipway_step& step, Check&& check) {
  for (uint32_t i = 0; i < step.num_inputs; ++i) SLIPWAY_RETURN_IF_ERROR(check(step.inputs[i]));
  for (uint32_t i = 0; i < step.num_outputs; ++i) SLIPWAY_RETURN_IF_ERROR(check(step.outputs[i]));
  return OkStatus();
}

// check(tensor) says whether the library takes such a tensor. DataLoss: the blob is damaged,
// another's, or not for so many tensors.
template <typename Check>
Result<std::unique_ptr<NetworkProgram>> LoadNetwork(std::string_view mark, const std::string& whose,
                                                    const slipway_step& step, Check&& check) {
  auto p = std::make_unique<NetworkProgram>();
  p->name = step.name ? step.name : "";
  p->blob.assign(step.blob, step.blob + step.blob_size);
  SLIPWAY_ASSIGN_OR_RETURN(p->parts, DecodeNetwork(mark, whose, p->blob));
  if (p->parts.inputs != step.num_inputs || p->parts.outputs != step.num_outputs)
    return DataLoss("the number of its tensors is not the network's");
  SLIPWAY_RETURN_IF_ERROR(CheckTensors(step, check));
  return p;
}

// float32 tensors of the same extents that hold zeros: a first run on them makes a library's
// buffers, and finds shapes that are not the step's.
class ZeroTensors {
 public:
  ZeroTensors(const slipway_tensor* like, uint32_t count) : tensors_(like, like + count) {
    for (slipway_tensor& t : tensors_) {
      size_t elements = 1;
      for (int d = 0; d < t.rank; ++d) elements *= static_cast<size_t>(t.dims[d]);
      memory_.emplace_back(std::max<size_t>(elements, 1));
      t.data = memory_.back().data();
    }
  }
  const slipway_tensor* data() const { return tensors_.data(); }

 private:
  std::vector<slipway_tensor> tensors_;
  std::vector<std::vector<float>> memory_;
};

}  // namespace slipway::kernels
