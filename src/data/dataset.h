#pragma once
// DATA, as every verb of the command line takes it: labelled or unlabelled samples for calibration
// and evaluation.
//
//   x.npz, x.npy                    key `images` (N,H,W,C or N,H,W uint8) or `inputs` (N,...
//   numeric), and `labels` (N); or one numeric array (N,...) for each
//                                   input of the network, under its name;
//                                   a single .npy is one of the two by its type, its labels in
//                                   labels.npy beside it
//   train-images-idx3-ubyte[.gz]    raw IDX (MNIST family); labels found beside it by name
//   a folder                        of one of the above, of images with labels.csv (`file,label`),
//   or of one .npy a sample a .zip or .tar[.*]              the same, unpacked under limits into a
//   temporary folder
//
// plus an optional preprocess.yaml in the folder or beside the file. `inputs` are what the network
// takes: they are handed over as they are. Nothing is decoded before it is asked for: image folders
// stream, .npy and IDX files are mapped.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "data/preprocess.h"

namespace slipway::data {

struct DatasetOptions {
  // Used whatever is beside the data; a --preprocess of the user.
  std::optional<Preprocess> preprocess;
  // Used when the data brings no preprocess.yaml: the model's own default. Without it: pixel/255,
  // NCHW.
  std::optional<Preprocess> fallback;
  // Keep samples first, first+step, ... and at most `count` of them (0 = all).
  int64_t first = 0, step = 1, count = 0;
  // Labels outside 0..num_classes-1 are an error; 0 = only negative ones are.
  int64_t num_classes = 0;
  bool need_labels = false;  // an error at once when there are none
};

// One input's share of a sample, in a set whose arrays bear the names of a network's inputs.
struct Part {
  std::string name;
  std::vector<int64_t> dims;         // without the batch axis
  int64_t offset = 0, elements = 0;  // of the sample's values
};

struct Sample {
  std::vector<int64_t> dims;  // without the batch axis
  std::vector<float> values;
  std::optional<int64_t> label;
  std::string name;  // file or "images[12]"
};

struct Batch {
  std::vector<int64_t> dims;    // [count, ...sample dims]
  AlignedBuffer bytes;          // float32
  std::vector<int64_t> labels;  // empty when there are none
  std::span<const float> values() const {
    return {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
  }
};

// Where samples come from; one class a format (dataset_sources.cc).
class SampleSource {
 public:
  virtual ~SampleSource() = default;
  virtual int64_t size() const = 0;
  virtual bool is_images() const = 0;
  virtual std::string name(int64_t i) const = 0;
  virtual std::optional<int64_t> label(int64_t i) const = 0;
  // is_images(): the 8-bit image.
  virtual Result<Image> image(int64_t i) const;
  // !is_images(): dims and values as the network takes them.
  virtual std::vector<int64_t> tensor_dims() const { return {}; }
  virtual Status tensor(int64_t i, std::span<float> out) const;
  // Not empty: a sample is these, one behind the other.
  virtual std::vector<Part> parts() const { return {}; }
  virtual std::string description() const = 0;
  virtual std::vector<std::string> files() const = 0;  // all that the samples are made of
};

// Thread-safe after Open: any number of Get and Batch at once (one Batch at a time per pool).
class Dataset {
 public:
  static Result<std::unique_ptr<Dataset>> Open(const std::string& path,
                                               const DatasetOptions& options = {});
  ~Dataset();

  int64_t size() const { return count_; }
  bool has_labels() const { return has_labels_; }
  // Dims of every sample without the batch axis.
  const std::vector<int64_t>& sample_dims() const { return dims_; }
  int64_t sample_elements() const { return elements_; }
  const Preprocess& preprocess() const { return preprocess_; }
  // Of a set with one array an input, in the file's order; then sample_dims() is the number of all
  // elements. Else empty.
  const std::vector<Part>& parts() const { return parts_; }
  // False when the samples are `inputs`, which no preprocessing touches.
  bool is_images() const;
  const std::string& path() const { return path_; }
  // "5000 images 32x32x3 from test.npz, labelled".
  std::string Describe() const;

  // Errors name the sample. 0 <= i < size().
  Result<Sample> Get(int64_t i) const;
  // Into the caller's memory: sample_elements() floats; `label` may be null, gets -1 where there is
  // none.
  Status Load(int64_t i, std::span<float> out, int64_t* label) const;
  // Samples begin..begin+count-1 (cut at the end of the data), decoded in parallel when there is a
  // pool.
  Result<Batch> GetBatch(int64_t begin, int64_t count, ThreadPool* pool = nullptr) const;
  Status LoadBatch(int64_t begin, int64_t count, std::span<float> out, std::vector<int64_t>* labels,
                   ThreadPool* pool = nullptr) const;

  // SHA-256 over the files' bytes, the preprocessing and the selection: the same figure means the
  // same samples.
  Result<std::string> ContentHash() const;

 private:
  Dataset() = default;
  int64_t SourceIndex(int64_t i) const { return first_ + i * step_; }

  std::string path_;
  std::shared_ptr<void> temporary_;  // an unpacked archive
  std::unique_ptr<SampleSource> source_;
  Preprocess preprocess_;
  std::vector<int64_t> dims_;
  std::vector<Part> parts_;
  int64_t elements_ = 0, count_ = 0, first_ = 0, step_ = 1;
  bool has_labels_ = false;
};

}  // namespace slipway::data
