#pragma once
// What the files layers_*.cc share: the graph's values as blobs of the network under construction.

#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "model/frontends/ncnn/export.h"
#include "model/frontends/ncnn/net.h"
#include "model/ir/graph.h"

namespace slipway::ncnn {

using Extents = std::vector<int64_t>;  // outermost first: [c, d, h, w], [c, h, w], [h, w] or [w]

// The same elements in the same order as the value it stands for, in whatever shape they came: a
// Reshape layer is written only where a layer needs another shape.
struct Blob {
  std::string name;
  Extents dims;
};

class Converter {
 public:
  explicit Converter(const ir::Graph& graph, const ExportOptions& options = {})
      : graph_(graph), options_(options) {}
  Status Run(Net* net);

  // --- values ---
  // All dimensions, the batch included. The types were checked before.
  static Extents Dimensions(const ir::Value* v);
  // Without the batch: a leading 1 of more than one dimension.
  static Extents Shape(const ir::Value* v);
  // Constants become MemoryData. `dims` may be of any number of dimensions up to four.
  Result<Blob> Get(const ir::Value* v);
  Result<Blob> Get(const ir::Value* v, const Extents& dims);
  Blob As(const Blob& blob, const Extents& dims);
  // `v` seen as [before, axis, behind]: its own shape where that has the axis and at most
  // `most` dimensions, else reshaped; `axis` becomes the blob's.
  Result<Blob> Along(const ir::Value* v, int64_t* axis, size_t most = 4);
  void Set(const ir::Value* v, Blob blob) { blobs_[v] = std::move(blob); }
  std::string NewBlob(const std::string& wanted) { return net_->NewBlob(wanted); }

  // --- layers ---
  // One input, one output of `dims`, named after the node.
  Layer* Add(const std::string& type, const ir::Node& n, const std::vector<Blob>& inputs,
             const Extents& dims, Blob* out);
  // Binary operation 0 add 1 sub 2 mul 3 div 4 max 5 min 6 pow 7 rsub 8 rdiv with a number.
  Blob WithScalar(const ir::Node& n, const Blob& x, int operation, float value);
  Result<Blob> Binary(const ir::Node& n, const ir::Value* a, const ir::Value* b, int operation);
  Result<Blob> Activate(const ir::Node& n, const Blob& x, const std::string& activation,
                        std::span<const float> params);
  // activation_type 9 and activation_params 10; false when ncnn has no such number.
  static bool SetActivation(const ir::Node& n, Layer* layer);

  // The codes of the node's weights, or null.
  const Int8Weights* Int8Of(const ir::Node& n) const;
  // The scales behind weights (and bias) that are codes, `parts` of them, and parameter 8.
  Status AddScales(const ir::Node& n, const Int8Weights& weights, int64_t outputs, int64_t parts,
                   int64_t term, Layer* layer);

  // Of the layers that took codes.
  const std::string& table() const { return table_; }
  int int8_layers() const { return static_cast<int>(taken_.size()); }

  static Status Refuse(const ir::Node& n, const std::string& why);
  // A constant float32 input, aligned in memory; an error names it.
  static Result<ir::Tensor> Constant(const ir::Node& n, size_t index, const char* what);

 private:
  Status CheckTypes() const;
  Status WriteNode(const ir::Node& n);
  Status Outputs();
  void GiveName(const std::string& from, const std::string& to);  // to a blob

  const ir::Graph& graph_;
  const ExportOptions& options_;
  std::string table_, table_inputs_;
  std::set<std::string> taken_;  // names in options_.int8
  Net* net_ = nullptr;
  std::unordered_map<const ir::Value*, Blob> blobs_;
};

// `x`, which stands for [dims], with its dimensions in another order (layers_movement.cc).
Result<Blob> Permute(Converter& c, const ir::Node& n, const Blob& x, const Extents& dims,
                     const std::vector<int64_t>& perm);

int64_t Elements(const Extents& dims);
ir::Tensor FloatVector(const std::vector<float>& values);

using Writer = Status (*)(Converter&, const ir::Node&);
// null when no layer of ncnn does what the node does.
Writer FindConvolution(const ir::Node& n);  // layers_conv.cc
Writer FindElementwise(const ir::Node& n);  // layers_elementwise.cc
Writer FindMovement(const ir::Node& n);     // layers_movement.cc
Writer FindNormal(const ir::Node& n);       // layers_norm.cc
Writer FindRecurrent(const ir::Node& n);    // layers_recurrent.cc

}  // namespace slipway::ncnn
