#pragma once
// What the mapping of one Caffe layer to IR operators reads and writes. Internal to this folder.

#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/frontends/caffe/net.h"
#include "model/frontends/caffe/weights.h"
#include "model/ir/graph.h"
#include "model/ir/inferer.h"

namespace slipway::caffe {

// The fields of one parameter message, read once each. The first wrong value is kept as an error,
// and a field that the mapping never asked for is one too: a fork's field may change the meaning.
class Params {
 public:
  Params(const Message* message, std::string name) : m_(message), name_(std::move(name)) {}

  bool Has(std::string_view field);
  int64_t Int(std::string_view field, int64_t fallback, int64_t low = -INT32_MAX,
              int64_t high = INT32_MAX);
  double Float(std::string_view field, double fallback);
  bool Bool(std::string_view field, bool fallback);
  // An enumerator or string.
  std::string Text(std::string_view field, std::string_view fallback);
  std::vector<int64_t> Ints(std::string_view field, int64_t low, int64_t high);
  std::vector<double> Floats(std::string_view field);
  const Message* Sub(std::string_view field);
  // Fields without a meaning for inference.
  void Ignore(std::initializer_list<std::string_view> fields);
  void Fail(std::string what);
  // The kept error, or one that names a field nobody asked for.
  Status Finish() const;

 private:
  const TextField* Get(std::string_view field);
  const Message* m_;
  std::string name_;
  std::set<std::string, std::less<>> asked_;
  Status status_;
};

enum class Fill : uint8_t { kWeight, kZero, kPositive, kOne };

class LayerContext {
 public:
  LayerContext(ir::Graph* graph, ir::Inferer* inferer, const LayerSpec& spec,
               std::vector<ir::Value*> bottoms, const LayerBlobs* blobs, bool random)
      : graph_(graph),
        inferer_(inferer),
        spec_(spec),
        bottoms_(std::move(bottoms)),
        blobs_(blobs),
        random_(random) {
    tops_.resize(spec.tops.size());
  }

  const LayerSpec& spec() const { return spec_; }
  ir::Graph* graph() { return graph_; }
  size_t num_bottoms() const { return bottoms_.size(); }
  ir::Value* bottom(size_t i) const { return bottoms_[i]; }
  // The extent of a value. A layer that asks for one that is not known is refused, whatever it
  // makes of the answer (1 for each dimension without a number).
  Dims Shape(const ir::Value* v) const;
  Dims BottomShape(size_t i) const { return Shape(bottoms_[i]); }
  const ir::Value* unknown() const { return unknown_; }
  // What layers use that go without numbers: possibly symbolic extents, and single dimensions that
  // must be known.
  const SymShape& Sym(const ir::Value* v) const { return *v->type().shape; }
  const SymShape& BottomSym(size_t i) const { return Sym(bottoms_[i]); }
  int Rank(size_t i) const { return static_cast<int>(BottomSym(i).size()); }
  Result<int64_t> Extent(size_t i, int axis) const;
  Status Require(size_t least, size_t most, size_t least_tops = 1, size_t most_tops = 1) const;
  Status RequireRank(size_t i, int rank) const;
  // An axis as Caffe counts it, negative ones from the end; `size` too when `end` is set.
  Result<int> Axis(int64_t axis, int rank, bool end = false) const;

  Params Group(std::string_view message) const {
    return Params(spec_.params.Sub(message), std::string(message));
  }

  // The learned blobs. An extent with the same count is taken (old files pad to four dimensions).
  size_t num_blobs() const { return blobs_ ? blobs_->blobs.size() : 0; }
  bool random() const { return random_; }
  Status RequireBlobs(size_t count) const;
  Result<ir::Tensor> Blob(size_t i, const Dims& dims, Fill fill = Fill::kWeight);

  ir::Value* Constant(std::string_view suffix, ir::Tensor tensor);
  ir::Value* Scalar(float value) { return Constant("c", ir::Tensor::Scalar<float>(value)); }
  ir::Value* Ints(const std::vector<int64_t>& values) {
    return Constant("i", ir::Tensor::Vector<int64_t>(values));
  }
  // Appends a node and infers its outputs.
  Result<std::vector<ir::Value*>> EmitMany(const std::string& op, std::vector<ir::Value*> inputs,
                                           ir::Attributes attributes, size_t outputs,
                                           const std::string& domain = "");
  Result<ir::Value*> Emit(const std::string& op, std::vector<ir::Value*> inputs,
                          ir::Attributes attributes = {}, const std::string& domain = "");
  Result<ir::Value*> Reshape(ir::Value* x, const Dims& dims);
  // With `count` dimensions of 1 behind.
  Result<ir::Value*> Widen(ir::Value* x, int count);
  void SetTop(size_t i, ir::Value* value) { tops_[i] = value; }
  // The last emitted value as the only top.
  Status Top(Result<ir::Value*> value);
  const std::vector<ir::Value*>& tops() const { return tops_; }

  Status Bad(const std::string& what) const { return InvalidArgument(what); }

 private:
  ir::Graph* graph_;
  ir::Inferer* inferer_;
  const LayerSpec& spec_;
  std::vector<ir::Value*> bottoms_, tops_;
  const LayerBlobs* blobs_;
  bool random_;
  int emitted_ = 0;
  mutable const ir::Value* unknown_ = nullptr;
};

using LayerFunction = Status (*)(LayerContext&);
struct LayerEntry {
  const char* type;
  LayerFunction function;
};
// Each family's table.
std::span<const LayerEntry> LinearLayers();
std::span<const LayerEntry> ElementwiseLayers();
std::span<const LayerEntry> NormLayers();
std::span<const LayerEntry> ShapeLayers();
std::span<const LayerEntry> DetectionLayers();
std::span<const LayerEntry> RecurrentLayers();
// Null when unknown.
LayerFunction FindLayer(std::string_view type);

}  // namespace slipway::caffe
