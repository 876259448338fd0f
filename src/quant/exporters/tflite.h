#pragma once
// A quantized graph as a TensorFlow Lite file with int8 activations and weights and int32 biases.
// Images become NHWC, inputs and outputs included; other values of four dimensions stay as they
// are. Unsigned codes are shifted to signed ones, which changes no value. Versions of operators:
// tensorflow/lite/tools/versioning/op_version.cc.

#include <map>
#include <set>
#include <string>
#include <vector>

#include "quant/exporters/exporter.h"
#include "quant/exporters/tflite_file.h"

namespace slipway::quant {

class TfliteWriter {
 public:
  // `graph`: plain operators with Quantize and Dequantize; must stay.
  TfliteWriter(const ir::Graph& graph, std::string remedy)
      : graph_(graph), remedy_(std::move(remedy)) {
    FindImages();
  }

  Result<std::string> Run();
  // Nodes that compute in float.
  const std::vector<std::string>& floats() const { return floats_; }
  size_t operators() const { return file_.operators(); }

 private:
  // A node at work.
  struct Site {
    const ir::Node* node;
    bool coded = false;                    // computes on codes
    const ir::Node* quantize = nullptr;    // behind it, of coded ones
    const ir::Node* activation = nullptr;  // Relu or Clip in between
    const ir::Node* bias = nullptr;        // an Add of a bias behind a MatMul
    fb::Activation fused = fb::Activation::NONE;
    const ir::Value* value() const;  // what it gives: the codes, or the last float value
  };
  using Emit = Status (TfliteWriter::*)(const Site& site);

  Status Refuse(const ir::Node& n, const std::string& why) const;
  Result<TfliteQuant> QuantFor(const ir::Node& n) const;  // of a Quantize or Dequantize
  Result<std::vector<int64_t>> Shape(const ir::Value* v) const;
  void FindImages();
  bool IsImage(const ir::Value* v) const { return images_.contains(v); }
  // Where an axis of a value lies in the file.
  int64_t FileAxis(int64_t axis, const ir::Value* v) const;
  // Behind a Dequantize of 8 bits.
  static bool IsCodes(const ir::Value* v);

  // Tensors: codes of a Dequantize's output, float values, what a site gives.
  Result<int> Codes(const ir::Value* dequantized);
  Result<int> CodesOf(const ir::Value* codes);
  Result<int> Real(const ir::Value* v);
  Result<int> In(const Site& s, size_t i);
  Result<int> Out(const Site& s);
  // For operators that keep codes: a tensor with the quantization of `input`, and the operator that
  // makes the wanted one of it where they differ.
  Result<int> Moved(const Site& s, int input);
  Status FinishMove(const Site& s, int moved);
  int Like(const std::string& name, const std::vector<int64_t>& shape, int like);
  int Transposed(int tensor, const std::vector<int64_t>& perm);

  Status WriteNode(const ir::Node& n);
  Status WriteQuantize(const ir::Node& n);
  Site FindSite(const ir::Node& n) const;
  bool Fuse(Site* s) const;
  static Emit EmitterOf(const ir::Node& n);

  Status Conv(const Site& s);
  Status Dense(const Site& s);
  Status Weighted(const Site& s, int x, const std::vector<int>& perm, int64_t outputs,
                  std::vector<int>* inputs, bool* per_channel);
  Status Pool(const Site& s);
  Status GlobalPool(const Site& s);
  Status Binary(const Site& s);
  Status Unary(const Site& s);
  Status SoftmaxOp(const Site& s);
  Status Concat(const Site& s);
  Status Reshape(const Site& s);
  Status Transpose(const Site& s);
  Status Pad(const Site& s);
  Status Slice(const Site& s);
  Status Resize(const Site& s);
  Status DepthToSpace(const Site& s);
  Status BatchMatMul(const Site& s);
  Status LayerNorm(const Site& s);
  Status Split(const Site& s);
  Status Gather(const Site& s);
  Status Mean(const Site& s);
  Status HardSigmoid(const Site& s);
  Status BatchNorm(const Site& s);
  // The input with explicit padding before it where SAME and VALID do not say the same.
  Result<int> Padded(const Site& s, int x, const std::vector<int64_t>& kernel, bool lowest,
                     fb::Padding* padding);

  const ir::Graph& graph_;
  std::string remedy_;
  TfliteFile file_;
  std::map<const ir::Value*, int> tensors_;
  std::set<const ir::Value*> images_;
  std::set<const ir::Node*> done_;
  std::vector<std::string> floats_;
};

}  // namespace slipway::quant
