#pragma once
// One sub-graph on its way into the IR: the values of its tensors in the layouts and number systems
// that operators ask for, and what the operators' handlers (ops_*.cc) use to add nodes.
//
// The first error sticks: after it handlers go on with placeholders and the driver stops behind the
// current operator, so that handlers need no checks between steps.

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "model/frontends/tflite/import.h"
#include "model/frontends/tflite/reader.h"
#include "model/ir/graph.h"
#include "model/ir/inferer.h"

namespace slipway::tflite {

using ir::Attributes;
using ir::Tensor;
using ir::Value;
using Ints = std::vector<int64_t>;

class Builder {
 public:
  Builder(const Model& model, const SubGraphInfo& subgraph, std::shared_ptr<const void> owner,
          const ImportOptions& options, ir::Graph* graph);

  Status Run();  // inputs, operators, outputs

  // Another sub-graph as the body of a control-flow node, behind `formal`, inputs that the
  // sub-graph does not have. `given`: the tensors for its inputs, with their values in the file's
  // layout; `varies`: only the first time, others come later (a loop). A failure and null when it
  // cannot be.
  using Given = std::vector<std::pair<int32_t, Value*>>;
  std::unique_ptr<ir::Graph> Body(int32_t subgraph, const Given& given, bool varies,
                                  const std::vector<std::pair<std::string, ir::Type>>& formal = {});
  // Adds a control-flow node.
  std::vector<Value*> EmitControl(std::string_view op, std::vector<Value*> inputs,
                                  Attributes attributes,
                                  std::map<std::string, std::unique_ptr<ir::Graph>> bodies,
                                  size_t outputs);

  // --- for handlers ---
  const SubGraphInfo& subgraph() const { return subgraph_; }
  // Tensor 0 stands for missing ones, also in a sub-graph without tensors.
  const TensorInfo& tensor(int32_t index) const {
    static const TensorInfo kNone;
    const auto i = static_cast<size_t>(index);
    return i < subgraph_.tensors.size() ? subgraph_.tensors[i] : kNone;
  }
  const ImportOptions& options() const { return options_; }
  ir::Graph* graph() { return graph_; }
  bool failed() const { return !status_.ok(); }
  void Fail(Status status);  // keeps the first

  Value* Emit(std::string_view op, std::vector<Value*> inputs, Attributes attributes = {},
              std::string_view domain = "");
  std::vector<Value*> EmitMany(std::string_view op, std::vector<Value*> inputs,
                               Attributes attributes, size_t outputs, std::string_view domain = "");
  Value* Constant(Tensor tensor);
  Value* Int64s(const Ints& values) { return Constant(Tensor::Vector<int64_t>(values)); }
  Value* Float(float value) { return Constant(Tensor::Scalar<float>(value)); }
  // A scalar of the element type of `like` (float or integer).
  Value* ScalarLike(const Value* like, double value);

  // -1 and a failure when it is not known.
  int Rank(const Value* v);
  // Extent i when it is a number.
  std::optional<int64_t> Extent(const Value* v, size_t i) const;
  std::optional<Ints> Extents(const Value* v) const;

  Value* Transpose(Value* v, const Ints& perm);
  Value* Nchw(Value* nhwc);  // rank 4
  Value* Nhwc(Value* nchw);
  Value* Reshape(Value* v, const Ints& shape);  // 0 copies, -1 is what remains
  Value* Cast(Value* v, DType to);
  Value* Quantize(Value* real, const TensorInfo& as);
  Value* Dequantize(Value* codes, const TensorInfo& as);

  // The values of a tensor as the file stores them (codes when it is quantized), or as real
  // numbers.
  Value* Raw(int32_t tensor, bool nchw = false);
  Value* Real(int32_t tensor, bool nchw = false);
  // Whether an earlier operator made it as an image in NCHW.
  bool IsImage(int32_t tensor) const;
  void SetRaw(int32_t tensor, Value* v, bool nchw = false);
  void SetReal(int32_t tensor, Value* v, bool nchw = false);  // quantized when the tensor is
  // `real` holds exactly the real numbers of the tensor's codes, so that nothing needs quantizing
  // until somebody asks for codes.
  void SetExact(int32_t tensor, Value* real, bool nchw = false);
  // The constant behind a tensor, with int4 unpacked to int8; absent when it is none.
  const Tensor* ConstantOf(int32_t tensor);
  bool IsQuantized(int32_t tensor) const;
  // An input tensor of the graph that carries state, see States; its value before the run.
  Value* State(int32_t tensor, bool one_step);
  void SetState(int32_t tensor, Value* next);

  std::string TensorName(int32_t tensor) const;  // never empty

 private:
  // What a model's builders share: the sub-graphs being built, outermost first, and operators so
  // far.
  struct Nesting {
    std::vector<int32_t> path = {0};
    size_t operators = 0;
  };
  Builder(const Builder& outer, const SubGraphInfo& subgraph, const ImportOptions& options,
          ir::Graph* graph);
  Status AddBodyInputs(const Builder& outer, const Given& given, bool varies);

  struct Place {
    Value *raw = nullptr, *real = nullptr;
    bool raw_nchw = false, real_nchw = false;
  };

  Status CheckOperators();
  Status AddInputs();
  Status AddOperators();
  Status AddOperator(size_t index);
  Status AddOutputs();
  Result<ir::Type> InputType(int32_t tensor, const std::string& name);
  void NameSignature();
  void Adopt(int32_t tensor, Value* v, const std::string& suffix);
  void CheckDeclared(int32_t tensor, Value* v, bool nchw);
  Result<Tensor> ReadConstant(const TensorInfo& t);

  const Model& model_;
  const SubGraphInfo& subgraph_;
  std::shared_ptr<const void> owner_;
  const ImportOptions& options_;
  ir::Graph* graph_;
  ir::Inferer inferer_;
  Status status_;
  std::vector<Place> places_;
  std::vector<bool> produced_;  // by an operator
  std::unordered_map<int32_t, Tensor> constants_;
  std::unordered_map<Value*, Value*> to_nchw_, to_nhwc_;
  std::unordered_set<Value*> named_;
  std::unordered_map<int32_t, std::string> signature_names_;
  std::vector<std::pair<int32_t, Value*>> next_states_;
  std::string label_;  // of the operator at work
  Nesting own_nesting_;
  Nesting* nesting_ = &own_nesting_;
  bool is_body_ = false;
  bool declared_hold_ = true;  // the file's extents: no input was given others
};

// An operator at work: what its handler sees.
class Op {
 public:
  Op(Builder& b, const OperatorInfo& info) : b(b), info(info) {}

  Builder& b;
  const OperatorInfo& info;

  size_t num_inputs() const { return info.inputs.size(); }
  size_t num_outputs() const { return info.outputs.size(); }
  bool has(size_t i) const { return i < info.inputs.size() && info.inputs[i] >= 0; }
  // Index of an input or output tensor that must be there; a failure and tensor 0 when it is not.
  int32_t in_index(size_t i);
  int32_t out_index(size_t i = 0);
  const TensorInfo& in(size_t i) { return b.tensor(in_index(i)); }
  const TensorInfo& out(size_t i = 0) { return b.tensor(out_index(i)); }

  Value* Real(size_t i, bool nchw = false) { return b.Real(in_index(i), nchw); }
  Value* Raw(size_t i, bool nchw = false) { return b.Raw(in_index(i), nchw); }
  void SetReal(Value* v, size_t o = 0, bool nchw = false) { b.SetReal(out_index(o), v, nchw); }
  void SetRaw(Value* v, size_t o = 0, bool nchw = false) { b.SetRaw(out_index(o), v, nchw); }

  // Operators that only move elements work on codes when input `i` and all outputs have the same
  // quantization, on real numbers when not.
  bool MovesCodes(size_t i = 0);
  Value* Data(size_t i, bool codes, bool nchw = false) {
    return codes ? Raw(i, nchw) : Real(i, nchw);
  }
  void SetData(Value* v, bool codes, size_t o = 0, bool nchw = false) {
    codes ? SetRaw(v, o, nchw) : SetReal(v, o, nchw);
  }

  bool IsConstant(size_t i) { return has(i) && b.ConstantOf(info.inputs[i]) != nullptr; }
  // The elements of a constant integer input; a failure that names it when it is none.
  Ints ConstInts(size_t i, const char* what);
  int64_t ConstInt(size_t i, const char* what);
  // An integer input as int64.
  Value* Int64(size_t i);
  // axis in [0, rank) from one in [-rank, rank); a failure when it is outside.
  int64_t Axis(int64_t axis, int rank);

  Value* Activate(Value* v, fb::Activation activation);
  void Invalid(std::string message) { b.Fail(InvalidArgument(std::move(message))); }
  void Unsupported(std::string message) { b.Fail(slipway::Unsupported(std::move(message))); }
  template <typename T>
  const T& Options(const T* options) {
    // Options that are absent have the defaults of their table.
    return options ? *options : Default<T>();
  }

 private:
  template <typename T>
  static const T& Default() {
    static const std::vector<uint8_t> bytes = [] {
      flatbuffers::FlatBufferBuilder builder;
      auto start = builder.StartTable();
      builder.Finish(flatbuffers::Offset<T>(builder.EndTable(start)));
      return std::vector<uint8_t>(builder.GetBufferPointer(),
                                  builder.GetBufferPointer() + builder.GetSize());
    }();
    return *flatbuffers::GetRoot<T>(bytes.data());
  }
};

using Handler = void (*)(Op&);
// Null when the operator is not supported.
Handler FindHandler(const OperatorInfo& info);

// What ops_*.cc give to the table.
using HandlerTable = std::map<fb::BuiltinOperator, Handler>;
void AddConvolutions(HandlerTable* table);
void AddElementwise(HandlerTable* table);
void AddMovement(HandlerTable* table);
void AddIndexing(HandlerTable* table);
void AddReductions(HandlerTable* table);
void AddRecurrent(HandlerTable* table);
void AddControl(HandlerTable* table);
void DetectionPostProcess(Op& op);

// The same elements in another order: constants at once, other values by a node.
Tensor Permuted(const Tensor& tensor, const Ints& perm);

}  // namespace slipway::tflite
