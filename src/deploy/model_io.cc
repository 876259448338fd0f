#include "deploy/model_io.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <set>

#include "base/float16.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "model/frontends/caffe/import.h"
#include "model/frontends/onnx/import.h"
#include "model/frontends/tflite/import.h"
#include "model/ir/infer.h"

namespace slipway::deploy {

bool IsPackage(const std::string& path) { return path.ends_with(".slip"); }

namespace {

bool IsCaffe(const std::string& path) { return path.ends_with(".prototxt"); }

Result<std::unique_ptr<ir::Graph>> LoadCaffe(const std::string& path, const ModelOptions& options) {
  if (options.random_weights && !options.weights.empty())
    return InvalidArgument("--weights and --random-weights exclude each other");
  caffe::ImportOptions import;
  import.input_shapes = options.input_shapes;
  import.random_weights = options.random_weights;
  const std::string weights = WeightsOf(path, options);
  if (!weights.empty() || options.random_weights) return caffe::ImportCaffe(path, weights, import);
  // A net without learned layers needs none.
  auto graph = caffe::ImportCaffe(path, "", import);
  if (graph.ok() || graph.status().message().find("no weights") == std::string::npos) return graph;
  return NotFound("'" + path + "' has no weights: there is no '" +
                  std::filesystem::path(path).replace_extension(".caffemodel").string() +
                  "' beside it; put the net's .caffemodel there, name it with --weights, or take "
                  "--random-weights for shapes and speed");
}

// Shapes for the frontends that take numbers only.
Result<std::map<std::string, std::vector<int64_t>>> Numbers(
    const std::map<std::string, SymShape>& shapes) {
  std::map<std::string, std::vector<int64_t>> out;
  for (const auto& [name, shape] : shapes) {
    auto& dims = out[name];
    for (const Dim& d : shape) {
      if (!d.known())
        return InvalidArgument(
            "--shape gives '" + d.ToString() + "' for a dimension of '" + name +
            "'; symbols are for Caffe nets: this model's dynamic dimensions keep "
            "the names they have, so give a number");
      dims.push_back(d.value());
    }
  }
  return out;
}

Status SetRanges(ir::Graph& graph, const ModelOptions& options) {
  if (options.symbol_ranges.empty()) return OkStatus();
  std::set<std::string> known;
  for (const auto& v : graph.values()) {
    for (const Dim& d : v->type().shape ? *v->type().shape : SymShape()) {
      for (std::string& s : d.Symbols()) known.insert(std::move(s));
    }
  }
  ir::InferOptions infer;
  for (const auto& [symbol, range] : options.symbol_ranges) {
    if (!known.count(symbol)) {
      std::string all;
      for (const std::string& s : known) all += (all.empty() ? "" : ", ") + s;
      return InvalidArgument("--range names '" + symbol + "', which is no dimension; " +
                             (all.empty() ? "all dimensions are fixed" : "there are: " + all));
    }
    if (range.first == range.second) {
      infer.symbols[symbol] = range.first;
    } else {
      graph.symbol_ranges[symbol] = range;
    }
  }
  return infer.symbols.empty() ? OkStatus() : ir::InferShapes(graph, infer);
}

Result<std::unique_ptr<ir::Graph>> Import(const std::string& path, const ModelOptions& options) {
  if (!IsCaffe(path) && (!options.weights.empty() || options.random_weights)) {
    return InvalidArgument("--weights and --random-weights are for a Caffe net (.prototxt); '" +
                           path + "' holds its weights");
  }
  if (path.ends_with(".tflite")) {
    tflite::ImportOptions import;
    SLIPWAY_ASSIGN_OR_RETURN(import.input_shapes, Numbers(options.input_shapes));
    import.float_io = options.float_io;
    return tflite::ImportTflite(path, import);
  }
  if (IsCaffe(path)) return LoadCaffe(path, options);
  if (path.ends_with(".caffemodel")) {
    return InvalidArgument("'" + path +
                           "' holds a Caffe net's weights; give its .prototxt, with the weights of "
                           "the same stem beside it or named by --weights");
  }
  onnx::ImportOptions import;
  SLIPWAY_ASSIGN_OR_RETURN(import.input_shapes, Numbers(options.input_shapes));
  return onnx::ImportOnnx(path, import);
}

}  // namespace

std::string WeightsOf(const std::string& path, const ModelOptions& options) {
  if (!IsCaffe(path) || options.random_weights) return "";
  if (!options.weights.empty()) return options.weights;
  const auto beside = std::filesystem::path(path).replace_extension(".caffemodel");
  std::error_code error;
  return std::filesystem::is_regular_file(beside, error) ? beside.string() : "";
}

Status CheckPackageOptions(const std::string& path, const ModelOptions& options) {
  if (options.weights.empty() && !options.random_weights) return OkStatus();
  return InvalidArgument(
      "--weights and --random-weights are for a Caffe net (.prototxt); the package '" + path +
      "' holds its weights");
}

Result<std::string> ModelHash(const std::string& path, const ModelOptions& options) {
  Sha256 hash;
  for (const std::string& file : {path, WeightsOf(path, options)}) {
    if (file.empty()) continue;
    SLIPWAY_ASSIGN_OR_RETURN(auto mapped, MappedFile::Open(file));
    hash.Update(mapped->bytes());
  }
  return ToHex(hash.Finish());
}

Result<std::unique_ptr<ir::Graph>> LoadModel(const std::string& path, const ModelOptions& options) {
  if (IsPackage(path))
    return InvalidArgument(
        "'" + path +
        "' is a compiled package; this command takes a model file (.onnx, .prototxt, .tflite)");
  auto graph = Import(path, options);
  if (!graph.ok()) {
    const std::string& message = graph.status().message();
    return message.find(path) == std::string::npos ? graph.status().With(path) : graph.status();
  }
  SLIPWAY_RETURN_IF_ERROR(SetRanges(**graph, options).With(path));
  return graph;
}

namespace {

std::string Text(const std::vector<int64_t>& dims) {
  return Dims(std::span<const int64_t>(dims)).ToString();
}

}  // namespace

namespace {

// Which part of a sample an input takes, and whether that is the whole input.
Result<Feed::Input> InputOf(const Port& port, const data::Dataset& data, bool* all) {
  Feed::Input input{port.name, port.type.dtype, data.sample_dims(), 0, data.sample_elements()};
  if (!data.parts().empty()) {
    const auto part = std::find_if(data.parts().begin(), data.parts().end(),
                                   [&](const data::Part& p) { return p.name == port.name; });
    if (part == data.parts().end()) {
      std::string names;
      for (const data::Part& p : data.parts()) names += (names.empty() ? "" : ", ") + p.name;
      return InvalidArgument("'" + data.path() + "' has no array for input '" + port.name +
                             "' (it has: " + names +
                             "); save with numpy.savez(path, NAME=...), one array an input");
    }
    input.dims = part->dims;
    input.offset = part->offset;
    input.elements = part->elements;
  }
  const DType t = port.type.dtype;
  const bool real = t == DType::kFloat32 || t == DType::kFloat16;
  const bool whole = t == DType::kInt64 || t == DType::kInt32 || t == DType::kBool;
  if (!port.type.shape || port.type.shape->empty() || !(real || (whole && !data.is_images()))) {
    return InvalidArgument("input '" + port.name + "' is " + port.type.ToString() +
                           "; data sets feed inputs of at least one dimension, float32 or "
                           "float16, and from arrays also int32, int64 and bool");
  }
  const SymShape& shape = *port.type.shape;
  const size_t rank = input.dims.size();
  *all = shape.size() == rank;
  bool fits = *all || shape.size() == rank + 1;
  for (size_t i = 0; fits && i < rank; ++i) {
    const Dim& extent = shape[shape.size() - rank + i];
    fits = !extent.known() || extent.value() == input.dims[i];
  }
  if (!fits) {
    const std::string what = "samples of '" + data.path() + "' are " + Text(input.dims);
    if (!data.is_images())
      return InvalidArgument(
          what + ", but input '" + port.name + "' is " + port.type.ToString() +
          "; give arrays of [N, ...] with the extents behind the batch behind N, or "
          "with all of the input's");
    return InvalidArgument(what + " after preprocessing, but input '" + port.name + "' is " +
                           port.type.ToString() +
                           "; give a preprocess.yaml that resizes and lays them out so");
  }
  return input;
}

// One sample's values as an input's elements. Whole numbers reach float32 exactly below 2^24.
Status Store(std::span<const float> from, const Feed::Input& input, uint8_t* to) {
  if (input.dtype == DType::kFloat32) {
    std::memcpy(to, from.data(), from.size_bytes());
    return OkStatus();
  }
  for (size_t i = 0; i < from.size(); ++i) {
    const float v = from[i];
    if (input.dtype == DType::kFloat16) {
      reinterpret_cast<Float16*>(to)[i] = Float16(v);
      continue;
    }
    if (!(std::fabs(v) < 16777216.f) || v != std::floor(v)) {
      return InvalidArgument("a sample has " + std::to_string(v) + " for input '" + input.name +
                             "', which is " + std::string(DTypeName(input.dtype)) +
                             "; it takes whole numbers below 2^24");
    }
    if (input.dtype == DType::kInt64)
      reinterpret_cast<int64_t*>(to)[i] = static_cast<int64_t>(v);
    else if (input.dtype == DType::kInt32)
      reinterpret_cast<int32_t*>(to)[i] = static_cast<int32_t>(v);
    else
      to[i] = v != 0;
  }
  return OkStatus();
}

}  // namespace

Result<Feed> FeedFor(const std::vector<Port>& inputs, const data::Dataset& data,
                     int64_t preferred_batch) {
  if (data.parts().empty() && inputs.size() != 1) {
    std::string names;
    for (const Port& p : inputs) names += (names.empty() ? "" : "=..., ") + p.name;
    return InvalidArgument("the model has " + std::to_string(inputs.size()) + " inputs, '" +
                           data.path() + "' has samples for one; save one array an input: " +
                           "numpy.savez(path, " + names + "=..., labels=...)");
  }
  if (inputs.empty()) return InvalidArgument("the model has no inputs to feed");
  Feed feed;
  std::string fixed;
  for (const Port& port : inputs) {
    bool whole = false;
    SLIPWAY_ASSIGN_OR_RETURN(Feed::Input input, InputOf(port, data, &whole));
    if (!feed.inputs.empty() && whole != feed.whole) {
      const std::string &first = feed.inputs[0].name, row = whole ? first : port.name;
      return InvalidArgument("a sample of '" + data.path() + "' is a row of input '" + row +
                             "', but all of input '" + (whole ? port.name : first) +
                             "'; data sets feed one row of every input, or all of each");
    }
    feed.whole = whole;
    const Dim& batch = (*port.type.shape)[0];
    if (batch.known() && !whole) {
      if (batch.value() < 1)
        return InvalidArgument("input '" + port.name + "' has a batch of " + batch.ToString() +
                               "; export the model with a batch of 1");
      if (!fixed.empty() && batch.value() != feed.batch)
        return InvalidArgument("input '" + port.name + "' has a batch of " + batch.ToString() +
                               ", input '" + fixed + "' of " + std::to_string(feed.batch) +
                               "; data sets feed inputs that have a row for each sample");
      feed.batch = batch.value();
      fixed = port.name;
    }
    feed.inputs.push_back(std::move(input));
  }
  feed.dynamic_batch = fixed.empty() && !feed.whole;
  if (feed.dynamic_batch) feed.batch = preferred_batch;
  return feed;
}

Result<Feed> FeedFor(const ir::Graph& graph, const data::Dataset& data, int64_t preferred_batch) {
  std::vector<Port> ports;
  for (const ir::Value* v : graph.inputs()) ports.push_back({v->name(), v->type()});
  return FeedFor(ports, data, preferred_batch);
}

Result<std::vector<ir::Tensor>> LoadBatch(const data::Dataset& data, const Feed& feed,
                                          int64_t begin, int64_t end, ThreadPool* pool,
                                          std::vector<int64_t>* labels) {
  const int64_t count = std::min(feed.batch, end - begin);
  const int64_t rows = feed.dynamic_batch ? count : feed.batch;
  std::vector<ir::Tensor> batch;
  for (const Feed::Input& input : feed.inputs) {
    Dims dims;
    if (!feed.whole) dims.push_back(rows);
    for (int64_t d : input.dims) dims.push_back(d);
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, ir::Tensor::Allocate(input.dtype, dims));
    batch.push_back(std::move(t));
  }
  const int64_t n = data.sample_elements();
  const bool direct = data.parts().empty() && feed.inputs[0].dtype == DType::kFloat32;
  std::vector<float> samples(direct ? 0 : static_cast<size_t>(count * n));
  float* values = direct ? reinterpret_cast<float*>(batch[0].mutable_data()) : samples.data();
  SLIPWAY_RETURN_IF_ERROR(
      data.LoadBatch(begin, count, {values, static_cast<size_t>(count * n)}, labels, pool));
  for (size_t k = 0; k < batch.size(); ++k) {
    const Feed::Input& input = feed.inputs[k];
    uint8_t* to = batch[k].mutable_data();
    const size_t each = batch[k].bytes().size() / static_cast<size_t>(rows);
    for (int64_t i = 0; i < count && !direct; ++i) {
      SLIPWAY_RETURN_IF_ERROR(
          Store({values + i * n + input.offset, static_cast<size_t>(input.elements)}, input,
                to + static_cast<size_t>(i) * each)
              .With("sample " + std::to_string(begin + i)));
    }
    for (int64_t i = count; i < rows; ++i)
      std::memcpy(to + static_cast<size_t>(i) * each, to + static_cast<size_t>(count - 1) * each,
                  each);
  }
  return batch;
}

quant::BatchSource CalibrationBatches(const data::Dataset& data, const Feed& feed, int64_t samples,
                                      ThreadPool* pool) {
  int64_t end = samples > 0 ? std::min(samples, data.size()) : data.size();
  return [&data, feed, end, pool](int64_t i) -> Result<std::vector<ir::Tensor>> {
    if (i * feed.batch >= end) return std::vector<ir::Tensor>{};
    return LoadBatch(data, feed, i * feed.batch, end, pool, nullptr);
  };
}

}  // namespace slipway::deploy
