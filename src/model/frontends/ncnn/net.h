#pragma once
// A network as ncnn stores it: layers with blobs by name, numbered parameters, weights.

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"
#include "model/ir/tensor.h"

namespace slipway::ncnn {

using ParamValue = std::variant<int64_t, float, std::vector<int64_t>, std::vector<float>>;

struct Weight {
  ir::Tensor data;      // float32; tagged ones also int8
  bool tagged = false;  // written behind a flag that says its storage type; may be float16
};

struct Layer {
  std::string type, name;
  std::vector<std::string> inputs, outputs;
  std::vector<std::pair<int, ParamValue>> params;  // sorted when written
  std::vector<Weight> weights;
};

class Net {
 public:
  // Names are made unique and fit to stand in a .param file.
  Layer* Add(std::string type, const std::string& wanted);
  std::string NewBlob(const std::string& wanted);
  std::vector<Layer>& layers() { return layers_; }

  // Puts a Split layer behind every blob that several layers read.
  void InsertSplits();

  // The .param text; needs InsertSplits.
  std::string ParamText(int* blob_count) const;
  // Appends the .bin file to `path` layer by layer; gives its size.
  Result<int64_t> WriteBin(const std::string& path, bool half) const;
  // The .bin file piece by piece.
  void Bin(bool half, const std::function<void(const void* data, size_t bytes)>& write) const;

 private:
  std::string Unique(const std::string& wanted, std::vector<std::string>* taken);
  std::vector<Layer> layers_;
  std::vector<std::string> names_, blobs_;  // sorted
};

}  // namespace slipway::ncnn
