#pragma once
// What a step for OpenCV holds: a mark, the number of inputs and outputs, a hash and the ONNX
// bytes. Inputs are called i0, i1, ..., outputs o0, o1, ...

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/hash.h"
#include "base/status.h"

namespace slipway::opencv {

inline constexpr char kMark[8] = {'S', 'L', 'I', 'P', 'C', 'V', '1', '\n'};
inline constexpr uint32_t kMostTensors = 4096;

struct Blob {
  uint32_t inputs = 0, outputs = 0;
  std::span<const uint8_t> onnx;
};

inline std::vector<uint8_t> EncodeBlob(uint32_t inputs, uint32_t outputs,
                                       std::span<const uint8_t> onnx) {
  std::vector<uint8_t> out(sizeof kMark + 8 + 32 + onnx.size());
  uint8_t* p = out.data();
  std::memcpy(p, kMark, sizeof kMark);
  const Sha256Digest hash = Sha256Of(onnx);
  for (int i = 0; i < 4; ++i) {
    p[8 + i] = static_cast<uint8_t>(inputs >> (8 * i));
    p[12 + i] = static_cast<uint8_t>(outputs >> (8 * i));
  }
  std::memcpy(p + 16, hash.data(), hash.size());
  std::memcpy(p + 48, onnx.data(), onnx.size());
  return out;
}

// DataLoss for anything that EncodeBlob has not made: OpenCV's reader sees whole files only.
inline Result<Blob> DecodeBlob(std::span<const uint8_t> bytes) {
  if (bytes.size() < 48 || std::memcmp(bytes.data(), kMark, sizeof kMark) != 0)
    return DataLoss("the step is not one for OpenCV");
  Blob blob;
  for (int i = 0; i < 4; ++i) {
    blob.inputs |= uint32_t{bytes[8 + static_cast<size_t>(i)]} << (8 * i);
    blob.outputs |= uint32_t{bytes[12 + static_cast<size_t>(i)]} << (8 * i);
  }
  blob.onnx = bytes.subspan(48);
  const Sha256Digest hash = Sha256Of(blob.onnx);
  if (std::memcmp(hash.data(), bytes.data() + 16, hash.size()) != 0)
    return DataLoss("the network for OpenCV is damaged");
  if (blob.inputs > kMostTensors || blob.outputs == 0 || blob.outputs > kMostTensors)
    return DataLoss("the step has no outputs or too many tensors");
  return blob;
}

}  // namespace slipway::opencv
