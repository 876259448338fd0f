#include "deploy/model_io.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>

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

Result<Feed> FeedFor(const ir::Type& type, const std::string& name, const data::Dataset& data,
                     int64_t preferred_batch) {
  if (type.dtype != DType::kFloat32 || !type.shape || type.shape->empty()) {
    return InvalidArgument("input '" + name + "' is " + type.ToString() +
                           "; data sets feed one float32 input with a batch dimension first");
  }
  const SymShape& shape = *type.shape;
  const auto& sample = data.sample_dims();
  bool fits = shape.size() == sample.size() + 1;
  for (size_t i = 0; fits && i < sample.size(); ++i)
    fits = !shape[i + 1].known() || shape[i + 1].value() == sample[i];
  if (!fits) {
    return InvalidArgument("samples of '" + data.path() + "' are " + Text(sample) +
                           " after preprocessing, but input '" + name + "' is " + type.ToString() +
                           "; give a preprocess.yaml that resizes and lays them out so");
  }
  Feed feed;
  feed.input = name;
  feed.dynamic_batch = !shape[0].known();
  feed.batch = feed.dynamic_batch ? preferred_batch : shape[0].value();
  if (feed.batch < 1)
    return InvalidArgument("input '" + name + "' has a batch of " + shape[0].ToString() +
                           "; export the model with a batch of 1");
  return feed;
}

Result<Feed> FeedFor(const ir::Graph& graph, const data::Dataset& data, int64_t preferred_batch) {
  if (graph.inputs().size() != 1) {
    return InvalidArgument("the model has " + std::to_string(graph.inputs().size()) +
                           " inputs; data sets feed models with one input");
  }
  return FeedFor(graph.inputs()[0]->type(), graph.inputs()[0]->name(), data, preferred_batch);
}

Result<ir::Tensor> LoadBatch(const data::Dataset& data, const Feed& feed, int64_t begin,
                             int64_t end, ThreadPool* pool, std::vector<int64_t>* labels) {
  int64_t count = std::min(feed.batch, end - begin);
  int64_t rows = feed.dynamic_batch ? count : feed.batch;
  Dims dims{rows};
  for (int64_t d : data.sample_dims()) dims.push_back(d);
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor batch, ir::Tensor::Allocate(DType::kFloat32, dims));
  auto* values = reinterpret_cast<float*>(batch.mutable_data());
  const int64_t n = data.sample_elements();
  SLIPWAY_RETURN_IF_ERROR(
      data.LoadBatch(begin, count, {values, static_cast<size_t>(count * n)}, labels, pool));
  for (int64_t i = count; i < rows; ++i)
    std::memcpy(values + i * n, values + (count - 1) * n, static_cast<size_t>(n) * sizeof(float));
  return batch;
}

quant::BatchSource CalibrationBatches(const data::Dataset& data, const Feed& feed, int64_t samples,
                                      ThreadPool* pool) {
  int64_t end = samples > 0 ? std::min(samples, data.size()) : data.size();
  return [&data, feed, end, pool](int64_t i) -> Result<std::vector<ir::Tensor>> {
    if (i * feed.batch >= end) return std::vector<ir::Tensor>{};
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t,
                             LoadBatch(data, feed, i * feed.batch, end, pool, nullptr));
    return std::vector<ir::Tensor>{std::move(t)};
  };
}

}  // namespace slipway::deploy
