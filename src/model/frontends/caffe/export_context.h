#pragma once
// What writing one node as Caffe layers reads and writes. Internal to this folder.

#include <deque>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "model/frontends/caffe/export.h"
#include "model/frontends/caffe/text_format.h"
#include "model/frontends/wire.h"
#include "model/ir/graph.h"

namespace slipway::caffe {

using Names = std::vector<std::string>;

std::string Number(double v);

class ExportContext {
 public:
  explicit ExportContext(const ir::Graph& graph);

  Status Start();
  // The node's layers.
  Status Write(const ir::Node& node);
  Result<CaffeFiles> Finish();

  // --- of the node at work ---
  const ir::Node& node() const { return *node_; }
  const ops::Attributes& A() const { return node_->attributes; }
  Dims Shape(const ir::Value* v) const { return v->type().StaticDims().value_or(Dims()); }
  Dims In(size_t i = 0) const { return Shape(node_->input(i)); }
  Dims Out(size_t i = 0) const { return Shape(node_->output(i)); }
  int Rank() const { return In().rank(); }
  // The attribute `axis`, counted from the front.
  int64_t Axis(int64_t fallback) const;
  static Status No(const std::string& why) { return Unsupported(why); }
  // A float32 constant input; Unsupported says what is none.
  Result<const ir::Tensor*> Weight(size_t i, const char* what) const;
  // The one number of a constant.
  static std::optional<float> Scalar(const ir::Tensor* t);

  // The blob of input i; a constant becomes a Parameter layer.
  Result<std::string> Bottom(size_t i);
  std::string Top(size_t i = 0);
  // A blob between two layers of this node.
  std::string Fresh(const std::string& suffix);

  // A layer called as its first top.
  Message& Layer(const std::string& type, const Names& bottoms, const Names& tops);
  // The learned blobs of the layer `name`. Bytes are kept by reference: those of the graph's
  // constants, or of Own.
  void Blobs(const std::string& name, const std::string& type,
             const std::vector<std::pair<Dims, std::span<const uint8_t>>>& blobs);
  std::span<const uint8_t> Own(std::vector<float> values);
  std::span<const uint8_t> Filled(int64_t count, float value) {
    return Own(std::vector<float>(static_cast<size_t>(count), value));
  }

  // --- layers that several operators are made of; each writes `to` and returns it ---
  // (shift + scale * x) ^ power
  std::string Power(const std::string& x, double power, double scale, double shift,
                    const std::string& to);
  std::string Eltwise(const char* operation, const Names& bottoms, const std::string& to,
                      const std::vector<double>& coeff = {});
  std::string Reshape(const std::string& x, const Dims& dims, const std::string& to);
  std::string Permute(const std::string& x, std::span<const int64_t> order, const std::string& to);
  // [start, start + length) of an axis: a Slice whose other pieces are silenced.
  std::string Cut(const std::string& x, const Dims& dims, int axis, int64_t start, int64_t length,
                  const std::string& to);

 private:
  std::string NameOf(const ir::Value* v);

  const ir::Graph& graph_;
  const ir::Node* node_ = nullptr;
  Message net_;
  wire::WireWriter model_;
  std::deque<std::vector<float>> own_;
  std::vector<std::pair<std::string, std::string>> layers_;  // name, type
  std::set<std::string> taken_, learned_;
  std::unordered_map<const ir::Value*, std::string>
      inner_;                              // outputs of the graph that layers read
  std::set<const ir::Value*> parameters_;  // constants that have their layer
};

using ExportFunction = Status (*)(ExportContext&);
struct ExportEntry {
  const char* domain;
  const char* op;
  ExportFunction function;
};
// Each family's table.
std::span<const ExportEntry> WindowExports();
std::span<const ExportEntry> ElementwiseExports();
std::span<const ExportEntry> ShapeExports();

}  // namespace slipway::caffe
