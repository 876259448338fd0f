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

// Plain float32 with an extent that memory can have; `sized`: also with room for its elements.
inline Status CheckFloatTensor(const std::string& whose, const slipway_tensor& t, bool sized) {
  constexpr uint32_t kFloat = 1;
  if (t.dtype != kFloat || t.layout != 0 || t.rank < 0 || t.rank > SLIPWAY_MAX_RANK)
    return InvalidArgument(whose + " gets plain float32 tensors only");
  if (!sized) return OkStatus();
  uint64_t count = 1;
  for (int i = 0; i < t.rank; ++i) {
    if (t.dims[i] < 0 || t.dims[i] > (int64_t{1} << 40))
      return InvalidArgument("an extent of a tensor is negative or too large");
    if (t.dims[i] > 0 && count > (uint64_t{1} << 40) / static_cast<uint64_t>(t.dims[i]))
      return InvalidArgument("a tensor is too large");
    count *= static_cast<uint64_t>(t.dims[i]);
  }
  if (count * 4 > t.bytes) return InvalidArgument("a tensor without room for its elements");
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
