#pragma once
// Model files and data as the road takes them.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/dataset.h"
#include "model/ir/graph.h"
#include "quant/calibrate/calibrate.h"

namespace slipway::deploy {

struct ModelOptions {
  // Fixes dynamic inputs. Of a Caffe net any input takes a new extent, symbols included.
  std::map<std::string, SymShape> input_shapes;
  // Smallest and largest value of a symbol in the inputs' shapes (or of one that the data decide);
  // equal: the symbol is replaced by it. InvalidArgument when no dimension has the symbol.
  std::map<std::string, std::pair<int64_t, int64_t>> symbol_ranges;
  // Quantized inputs and outputs of a .tflite become float32, as data sets feed them.
  bool float_io = false;
  // A .prototxt's weights: this .caffemodel instead of the one of the same stem, or numbers drawn
  // from the layers' names (for shapes and speed). InvalidArgument with any other kind of model.
  std::string weights;
  bool random_weights = false;
};

// Reads a model file by its kind (.onnx, .prototxt with its .caffemodel, .tflite). Errors name the
// file.
Result<std::unique_ptr<ir::Graph>> LoadModel(const std::string& path,
                                             const ModelOptions& options = {});
bool IsPackage(const std::string& path);
// The file of the weights that LoadModel reads beside `path`; empty when there is none.
std::string WeightsOf(const std::string& path, const ModelOptions& options = {});
// InvalidArgument when options say how to read a model file, which a package is not.
Status CheckPackageOptions(const std::string& path, const ModelOptions& options);
// SHA-256 over the model's bytes, weights file included, in hexadecimal.
Result<std::string> ModelHash(const std::string& path, const ModelOptions& options = {});

// An input or output of a model.
struct Port {
  std::string name;
  ir::Type type;
};

// How a data set feeds a model: its inputs in the model's order, and the batch size to use.
struct Feed {
  struct Input {
    std::string name;
    DType dtype = DType::kFloat32;
    std::vector<int64_t> dims;         // of a sample
    int64_t offset = 0, elements = 0;  // of the sample's values
  };
  std::vector<Input> inputs;
  int64_t batch = 1;
  bool dynamic_batch = false;
  // A sample is the whole of every input, batch axis included if there is one, and feeds one run:
  // of models without a batch, and of those that have it elsewhere than first (sequences by time).
  bool whole = false;
};
// A set of images or of `inputs` feeds a model of one input, a set with named arrays any. Inputs
// are float32 or float16 or, where no preprocessing makes the values, int32, int64 or bool; a batch
// comes first, or a sample has the extents of the whole input. InvalidArgument names the input that
// does not fit, with both extents.
Result<Feed> FeedFor(const std::vector<Port>& inputs, const data::Dataset& data,
                     int64_t preferred_batch);
Result<Feed> FeedFor(const ir::Graph& graph, const data::Dataset& data, int64_t preferred_batch);

// Samples [begin, begin + feed.batch) as the input tensors (one sample where it is whole); a static
// batch is filled up by repeating the last sample. `labels` gets those of the real samples.
// InvalidArgument: a value that an integer input cannot take.
Result<std::vector<ir::Tensor>> LoadBatch(const data::Dataset& data, const Feed& feed,
                                          int64_t begin, int64_t end, ThreadPool* pool,
                                          std::vector<int64_t>* labels);

quant::BatchSource CalibrationBatches(const data::Dataset& data, const Feed& feed, int64_t samples,
                                      ThreadPool* pool);

}  // namespace slipway::deploy
