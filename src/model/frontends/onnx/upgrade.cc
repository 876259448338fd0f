#include "model/frontends/onnx/upgrade.h"

#include <algorithm>
#include <limits>

#include "model/frontends/onnx/contrib.h"
#include "model/frontends/onnx/tensor_proto.h"
#include "model/frontends/onnx/upgrade_ops.h"
#include "model/frontends/onnx/upgrade_quantize.h"
#include "model/ir/control.h"
#include "model/ir/infer.h"
#include "model/ir/schema.h"
#include "model/ops/custom.h"
#include "model/ops/quantize.h"

namespace slipway::onnx {

using ir::Attributes;
using ir::Tensor;
using ir::Value;

std::string OldNode::Describe() const { return op + " node " + Quote(name); }

void OldNode::SetResult(size_t i, Value* value) {
  if (i >= outputs.size() || outputs[i].empty()) return;
  results.resize(outputs.size(), nullptr);
  results[i] = value;
}

std::string Upgrader::FreshName(const OldNode& node, std::string_view hint) {
  std::string base = node.name + "/" + std::string(hint);
  std::string name = base;
  int& next = suffixes_[base];  // remembered, so that many equal names do not cost a search each
  while (is_taken_(name) || graph_->FindValue(name)) name = base + "_" + std::to_string(++next);
  return name;
}

Value* Upgrader::Constant(const OldNode& node, std::string_view hint, Tensor tensor) {
  return graph_->AddConstant(FreshName(node, hint), std::move(tensor));
}

Value* Upgrader::Ints(const OldNode& node, std::string_view hint, std::span<const int64_t> values) {
  return Constant(node, hint, Tensor::Of<int64_t>({static_cast<int64_t>(values.size())}, values));
}

Value* Upgrader::Emit(const OldNode& node, std::string_view op, std::vector<Value*> inputs,
                      Attributes attributes, std::string_view domain) {
  ir::Node* made = graph_->AddNode({.op = std::string(op),
                                    .inputs = std::move(inputs),
                                    .attributes = std::move(attributes),
                                    .domain = std::string(domain),
                                    .name = node.name + "/" + std::string(op),
                                    .outputs = {FreshName(node, op)}});
  made->sources = {node.name};
  return made->output();
}

std::vector<Value*> Upgrader::EmitMany(const OldNode& node, std::string_view op,
                                       std::vector<Value*> inputs, size_t count,
                                       Attributes attributes, std::string_view domain) {
  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i)
    names.push_back(FreshName(node, std::string(op) + ":" + std::to_string(i)));
  ir::Node* made = graph_->AddNode({.op = std::string(op),
                                    .inputs = std::move(inputs),
                                    .attributes = std::move(attributes),
                                    .domain = std::string(domain),
                                    .name = node.name + "/" + std::string(op),
                                    .outputs = std::move(names)});
  made->sources = {node.name};
  std::vector<Value*> out;
  for (size_t i = 0; i < count; ++i) out.push_back(made->output(i));
  return out;
}

// Inference costs time on every call: a hostile file must not ask for many.
constexpr int kMostInferences = 64;

DType Upgrader::TypeOf(const Value* value) const {
  constexpr int kFar = 256;  // bounds the walk on long chains
  for (int step = 0; value && step < kFar; ++step) {
    if (value->dtype() != DType::kUndefined) return value->dtype();
    const ir::Node* n = value->producer();
    if (!n) return DType::kUndefined;
    const std::string& op = n->op();
    if (n->domain() == ir::kSlipwayDomain) {
      if (op == "Dequantize") {
        value = n->input(1);
        continue;
      }
      if (op != "Quantize") return DType::kUndefined;
      if (const DType small = ops::SmallFloatKind(n->attributes.String("kind", "affine"));
          small != DType::kUndefined)
        return small;
      const bool is_signed = n->attributes.Int("signed", 1) != 0;
      return n->attributes.Int("bits", 8) <= 8 ? (is_signed ? DType::kInt8 : DType::kUInt8)
                                               : (is_signed ? DType::kInt16 : DType::kUInt16);
    }
    if (op == "Cast") return static_cast<DType>(n->attributes.Int("to", 0));
    if (op == "BitCast") return static_cast<DType>(n->attributes.Int("to", 0));
    if (op == "ConstantOfShape") return static_cast<DType>(n->attributes.Int("dtype", 1));
    if (op == "ConvInteger" || op == "MatMulInteger") return DType::kInt32;
    if (op == "DynamicQuantizeLinear")
      return value->producer_index() == 1 ? DType::kFloat32 : DType::kUInt8;
    if (op == "Shape" || op == "Size" || op == "ArgMax" || op == "ArgMin") return DType::kInt64;
    if (op == "IsNaN" || op == "IsInf" || op == "Equal" || op == "Less" || op == "Greater" ||
        op == "LessOrEqual" || op == "GreaterOrEqual" || op == "Not" || op == "And" || op == "Or" ||
        op == "Xor") {
      return DType::kBool;
    }
    if ((op == "TopK" || op == "MaxPool" || op == "Unique") && value->producer_index() > 0)
      return DType::kInt64;
    if (op == "NonZero" || op == "NonMaxSuppression") return DType::kInt64;
    if (const int64_t type = n->attributes.Int("dtype", 0); type > 0 && type < 256)
      return static_cast<DType>(type);  // EyeLike, the random operators
    if (op == "Dropout" && value->producer_index() == 1) return DType::kBool;
    if (op == "SequenceLength") return DType::kInt64;
    if (op == "OptionalHasElement") return DType::kBool;
    if (const auto bodies = ir::BodyNames(n->domain(), op); !bodies.empty()) {
      const auto body = n->subgraphs.find(std::string(bodies[0]));
      const size_t at = static_cast<size_t>(value->producer_index()) + (op == "Loop" ? 1 : 0);
      if (body == n->subgraphs.end() || at >= body->second->outputs().size())
        return DType::kUndefined;
      value = body->second->outputs()[at];
      continue;
    }
    value = n->input(op == "Where" ? 1 : op == "OneHot" ? 2 : 0);
  }
  return DType::kUndefined;
}

DType Upgrader::FindType(const Value* value) {
  DType type = TypeOf(value);
  if (value && !IsKnown(type) && inferences_++ < kMostInferences) {
    (void)ir::InferShapes(*graph_).ok();
    type = value->dtype();
  }
  return type;
}

bool Upgrader::IsSequence(const Value* value) {
  if (value && value->dtype() == DType::kUndefined && inferences_++ < kMostInferences)
    (void)ir::InferShapes(*graph_).ok();
  return value && value->type().is_sequence();
}

int64_t Upgrader::RankOf(const Value* value) {
  if (!value) return -1;
  if (!value->type().shape && inferences_++ < kMostInferences) (void)ir::InferShapes(*graph_).ok();
  return value->type().shape ? static_cast<int64_t>(value->type().shape->size()) : -1;
}

namespace {

// Towards zero, held in the range of T; NaN becomes 0.
template <typename T>
T Saturate(float value) {
  if (!(value == value)) return 0;
  const auto low = static_cast<double>(std::numeric_limits<T>::min());
  const auto high = static_cast<double>(std::numeric_limits<T>::max());
  if (value <= low) return std::numeric_limits<T>::min();
  if (value >= high) return std::numeric_limits<T>::max();
  return static_cast<T>(value);
}

}  // namespace

Value* Upgrader::ScalarLike(const OldNode& node, std::string_view hint, const Value* x,
                            float value) {
  switch (TypeOf(x)) {
    case DType::kFloat64:
      return Constant(node, hint, Tensor::Scalar<double>(value));
    case DType::kInt32:
      return Constant(node, hint, Tensor::Scalar<int32_t>(Saturate<int32_t>(value)));
    case DType::kInt64:
      return Constant(node, hint, Tensor::Scalar<int64_t>(Saturate<int64_t>(value)));
    case DType::kInt8:
      return Constant(node, hint, Tensor::Scalar<int8_t>(Saturate<int8_t>(value)));
    case DType::kUInt8:
      return Constant(node, hint, Tensor::Scalar<uint8_t>(Saturate<uint8_t>(value)));
    case DType::kInt16:
      return Constant(node, hint, Tensor::Scalar<int16_t>(Saturate<int16_t>(value)));
    case DType::kUInt16:
      return Constant(node, hint, Tensor::Scalar<uint16_t>(Saturate<uint16_t>(value)));
    case DType::kUInt32:
      return Constant(node, hint, Tensor::Scalar<uint32_t>(Saturate<uint32_t>(value)));
    case DType::kUInt64:
      return Constant(node, hint, Tensor::Scalar<uint64_t>(Saturate<uint64_t>(value)));
    case DType::kFloat16:
    case DType::kBFloat16: {
      Value* wide = Constant(node, hint, Tensor::Scalar<float>(value));
      return Emit(node, "Cast", {wide}, {{"to", static_cast<int64_t>(TypeOf(x))}});
    }
    default:
      return Constant(node, hint, Tensor::Scalar<float>(value));
  }
}

Status Training(const OldNode& n, const std::string& what) {
  return Unsupported(n.Describe() + ": " + what +
                     "; export the model in inference mode (model.eval())");
}

bool IntsToInput(OldNode& n, Upgrader& u, const char* attribute, size_t index) {
  if (!n.attributes.Has(attribute)) return false;
  const auto values = n.attributes.Ints(attribute);
  if (n.inputs.size() <= index) n.inputs.resize(index + 1, nullptr);
  n.inputs[index] = u.Ints(n, attribute, values);
  n.attributes.Erase(attribute);
  return true;
}

Status NeedsKnownRank(const OldNode& n, int opset) {
  return Unsupported(n.Describe() +
                     ": the ranks of its inputs must be known; give input shapes, or convert the "
                     "model to opset " +
                     std::to_string(opset) + " or newer");
}

namespace {

// ONNX Runtime's name for RMSNormalization, written without a domain.
Status SimplifiedLayerNormalization(OldNode& n, Upgrader&) {
  n.op = "RMSNormalization";
  return OkStatus();
}

struct Row {
  const char* op;
  Status (*upgrade)(OldNode&, Upgrader&);
};

// Operators that some opset in 1..26 writes differently from the IR. The rest pass as they are.
constexpr Row kRows[] = {
    {"Add", Binary},
    {"Affine", Affine},
    {"And", Binary},
    {"BatchNormalization", BatchNormalization},
    {"Cast", Cast},
    {"CastLike", CastLike},
    {"Clip", Clip},
    {"Concat", Concat},
    {"ConstantOfShape", ConstantOfShape},
    {"Crop", Crop},
    {"DFT", Dft},
    {"DequantizeLinear", DequantizeLinear},
    {"Div", Binary},
    {"Dropout", Dropout},
    {"DynamicSlice", DynamicSlice},
    {"Einsum", Einsum},
    {"Equal", Binary},
    {"GRU", Recurrent},
    {"Gemm", Gemm},
    {"GlobalLpPool", LpPool},
    {"Greater", Binary},
    {"GridSample", GridSample},
    {"GroupNormalization", GroupNormalization},
    {"Hardmax", Softmax},
    {"ImageScaler", ImageScaler},
    {"LSTM", Recurrent},
    {"Less", Binary},
    {"LogSoftmax", Softmax},
    {"LpPool", LpPool},
    {"MeanVarianceNormalization", MeanVarianceNormalization},
    {"Mul", Binary},
    {"Or", Binary},
    {"PRelu", PRelu},
    {"Pad", Pad},
    {"ParametricSoftplus", ParametricSoftplus},
    {"Pow", Binary},
    {"QLinearConv", QLinearConv},
    {"QLinearMatMul", QLinearMatMul},
    {"QuantizeLinear", QuantizeLinear},
    {"RNN", Recurrent},
    {"ReduceL1", Reduce},
    {"ReduceL2", Reduce},
    {"ReduceLogSum", ReduceLog},
    {"ReduceLogSumExp", ReduceLog},
    {"ReduceMax", Reduce},
    {"ReduceMean", Reduce},
    {"ReduceMin", Reduce},
    {"ReduceProd", Reduce},
    {"ReduceSum", Reduce},
    {"ReduceSumSquare", Reduce},
    {"Reshape", Reshape},
    {"Resize", Resize},
    {"RoiAlign", RoiAlign},
    {"Scale", Scale},
    {"ScaledTanh", ScaledTanh},
    {"Scatter", Scatter},
    {"Selu", Selu},
    {"SimplifiedLayerNormalization", SimplifiedLayerNormalization},
    {"Slice", Slice},
    {"Softmax", Softmax},
    {"Split", Split},
    {"Squeeze", Squeeze},
    {"Sub", Binary},
    {"TfIdfVectorizer", TfIdfVectorizer},
    {"Tile", Tile},
    {"TopK", TopK},
    {"Unsqueeze", Unsqueeze},
    {"Upsample", Upsample},
    {"Xor", Binary},
};

const Row* FindRow(std::string_view op) {
  for (const Row& row : kRows) {
    if (op == row.op) return &row;
  }
  return nullptr;
}

}  // namespace

bool Upgrader::Knows(std::string_view op) {
  return op == "Constant" || op == "SequenceMap" || FindRow(op) || ir::FindOp("", op);
}

bool Upgrader::KnowsContrib(std::string_view domain, std::string_view op) {
  return FindContrib(domain, op) != nullptr;
}

Status Upgrader::Upgrade(OldNode* node) {
  const std::string described = node->Describe();
  if (node->opset < 7) node->attributes.Erase("consumed_inputs");  // a hint of the earliest opsets
  if (ContribUpgrade upgrade = FindContrib(node->domain, node->op)) {
    const std::string domain = node->domain;
    node->opset = ir::kOpset;  // these upgrades make current operators
    SLIPWAY_RETURN_IF_ERROR(upgrade(*node, *this));
    if (node->domain == domain && domain != ir::kSlipwayDomain) node->domain.clear();
  } else if (const Row* row =
                 ops::FindCustomOp(node->domain, node->op) ? nullptr : FindRow(node->op)) {
    SLIPWAY_RETURN_IF_ERROR(row->upgrade(*node, *this));
  }
  for (size_t i = 0; i < node->results.size(); ++i) {
    if (!node->results[i]) continue;
    node->outputs[i].clear();
    node->used[i] = false;
  }
  while (!node->inputs.empty() && !node->inputs.back()) node->inputs.pop_back();
  while (!node->outputs.empty() && node->outputs.back().empty()) node->outputs.pop_back();
  const ir::OpSchema* schema = ir::FindOp(node->domain, node->op);
  if (!schema)
    return Internal(described + " became " + node->op + ", which the operator table does not have");
  if (!node->tensors.empty()) {
    return Unsupported(described + ": tensor attribute " + Quote(node->tensors.begin()->first) +
                       " is not supported");
  }
  if (schema->max_outputs >= 0) {
    const auto most = static_cast<size_t>(schema->max_outputs);
    for (size_t i = most; i < node->outputs.size(); ++i) {
      if (i < node->used.size() && node->used[i]) {
        return Unsupported(described + ": output " + std::to_string(i) + " (" +
                           Quote(node->outputs[i]) + ") is not supported");
      }
    }
    if (node->outputs.size() > most) node->outputs.resize(most);
  }
  for (const auto& [name, value] : node->attributes.entries()) {
    if (!schema->FindAttribute(name)) {
      return InvalidArgument(described + " has the attribute " + Quote(name) +
                             ", which the operator does not have at opset " +
                             std::to_string(node->opset) + "; export the model again");
    }
  }
  return OkStatus();
}

void Upgrader::Finished(const OldNode& old, ir::Node* node) {
  if (old.opset < 13 && (node->Is("Softmax") || node->Is("LogSoftmax") || node->Is("Hardmax")))
    coerced_.push_back(node);
}

Result<bool> Upgrader::RewriteWithShapes() {
  bool changed = false;
  for (ir::Node* node : coerced_) {
    Value* x = node->input(0);
    if (!x) continue;
    int64_t axis = node->attributes.Int("axis", 1);
    if (axis == -1) continue;
    if (x->type().shape) {
      const auto& shape = *x->type().shape;
      const auto rank = static_cast<int64_t>(shape.size());
      if (axis < -rank || axis >= std::max<int64_t>(rank, 1)) {
        return InvalidArgument(node->Describe() + ": axis " + std::to_string(axis) +
                               " is outside the " + std::to_string(rank) +
                               " dimensions of its input");
      }
      if (axis < 0) axis += rank;
      // With at most one dimension above 1 behind the axis, that one is what the operator runs
      // over.
      int64_t wide = -1;
      int count = 0;
      for (int64_t i = axis; i < rank; ++i) {
        if (shape[static_cast<size_t>(i)].Is(1)) continue;
        wide = i;
        ++count;
      }
      if (axis == rank - 1 || count <= 1) {
        node->attributes.Set("axis", count == 1 ? wide : rank - 1);
        continue;
      }
    }
    OldNode old;
    old.op = node->op();
    old.name = node->name();
    auto add = [&](std::string_view op, std::vector<Value*> inputs, Attributes attributes) {
      ir::Node* made = graph_->AddNode({.op = std::string(op),
                                        .inputs = std::move(inputs),
                                        .attributes = std::move(attributes),
                                        .name = old.name + "/" + std::string(op),
                                        .outputs = {FreshName(old, op)}},
                                       node);
      made->sources = node->sources;
      return made->output();
    };
    Value* shape = add("Shape", {x}, {});
    Value* flat = add("Flatten", {x}, {{"axis", axis}});
    Value* soft = add(node->op(), {flat}, {{"axis", int64_t{-1}}});
    Value* y = node->output();
    Value* back = add("Reshape", {soft, shape}, {});
    const std::string name = y->name();
    const ir::Type type = y->type();
    graph_->ReplaceAllUses(y, back);
    graph_->RemoveNode(node);
    graph_->Rename(back, name);
    back->set_type(type);
    changed = true;
  }
  coerced_.clear();
  return changed;
}

}  // namespace slipway::onnx
