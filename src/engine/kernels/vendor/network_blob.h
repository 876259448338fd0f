#pragma once
// What a step for somebody else's reader of ONNX holds: the mark of whose it is, the number of
// inputs and outputs, a hash and the ONNX bytes. Inputs are called i0, i1, ..., outputs o0, o1, ...

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/status.h"

namespace slipway::kernels {

inline constexpr uint32_t kMostNetworkTensors = 4096;

struct NetworkBlob {
  uint32_t inputs = 0, outputs = 0;
  std::span<const uint8_t> onnx;
};

// `mark` has 8 bytes.
inline std::vector<uint8_t> EncodeNetwork(std::string_view mark, uint32_t inputs, uint32_t outputs,
                                          std::span<const uint8_t> onnx) {
  std::vector<uint8_t> out(8 + 8 + 32 + onnx.size());
  uint8_t* p = out.data();
  std::memcpy(p, mark.data(), 8);
  const Sha256Digest hash = Sha256Of(onnx);
  for (int i = 0; i < 4; ++i) {
    p[8 + i] = static_cast<uint8_t>(inputs >> (8 * i));
    p[12 + i] = static_cast<uint8_t>(outputs >> (8 * i));
  }
  std::memcpy(p + 16, hash.data(), hash.size());
  std::memcpy(p + 48, onnx.data(), onnx.size());
  return out;
}

// DataLoss for anything that EncodeNetwork has not made: the other reader (`whose`) sees whole
// files only.
inline Result<NetworkBlob> DecodeNetwork(std::string_view mark, const std::string& whose,
                                         std::span<const uint8_t> bytes) {
  if (bytes.size() < 48 || std::memcmp(bytes.data(), mark.data(), 8) != 0)
    return DataLoss("the step is not one for " + whose);
  NetworkBlob blob;
  for (int i = 0; i < 4; ++i) {
    blob.inputs |= uint32_t{bytes[8 + static_cast<size_t>(i)]} << (8 * i);
    blob.outputs |= uint32_t{bytes[12 + static_cast<size_t>(i)]} << (8 * i);
  }
  blob.onnx = bytes.subspan(48);
  const Sha256Digest hash = Sha256Of(blob.onnx);
  if (std::memcmp(hash.data(), bytes.data() + 16, hash.size()) != 0)
    return DataLoss("the network for " + whose + " is damaged");
  if (blob.inputs > kMostNetworkTensors || blob.outputs == 0 || blob.outputs > kMostNetworkTensors)
    return DataLoss("the step has no outputs or too many tensors");
  return blob;
}

}  // namespace slipway::kernels
