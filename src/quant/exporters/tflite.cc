#include "quant/exporters/tflite.h"

#include <algorithm>
#include <cmath>

#include "model/ir/infer.h"
#include "model/passes/pass.h"

namespace slipway::quant {

using ir::Node;
using ir::Tensor;
using ir::Value;

namespace {

bool IsDequantized(const Value* v) {
  return v && v->producer() && v->producer()->IsSlipway("Dequantize");
}

// A constant behind a Dequantize.
bool IsCodedConstant(const Value* v) {
  return IsDequantized(v) && v->producer()->constant_input(0) != nullptr;
}

bool IsConstant(const Value* v) { return v && (v->constant() || IsCodedConstant(v)); }

bool IsProduct(const Node& n) { return n.Is("Conv") || n.Is("Gemm") || n.Is("MatMul"); }

// The code that a value is rounded to, before clamping.
double CodeOf(double v, const TfliteQuant& q) {
  return std::nearbyint(static_cast<float>(v) / q.scales[0]) + static_cast<double>(q.zeros[0]);
}

}  // namespace

bool TfliteWriter::IsCodes(const Value* v) {
  return IsDequantized(v) && v->producer()->attributes.Int("bits", 8) == 8;
}

const Value* TfliteWriter::Site::value() const {
  if (coded) return quantize->output();
  return bias ? bias->output() : node->output();
}

Status TfliteWriter::Refuse(const Node& n, const std::string& why) const {
  return Unsupported(n.Describe() + ": " + why + remedy_);
}

Result<TfliteQuant> TfliteWriter::QuantFor(const Node& n) const {
  auto params = ops::ParseQuant(n.attributes, 32);
  if (!params.ok()) return std::move(params).status().With(n.Describe());
  const Tensor *scale = n.constant_input(1), *zero = n.constant_input(2);
  if (!scale || (n.input(2) && !zero)) return Refuse(n, "its scale is computed in the run");
  TfliteQuant q;
  for (double s : scale->ToDoubles()) q.scales.push_back(static_cast<float>(s));
  q.zeros.assign(q.scales.size(), 0);
  if (zero) {
    const std::vector<int64_t> zeros = zero->ToInts();
    for (size_t i = 0; i < q.zeros.size(); ++i) q.zeros[i] = zeros[zeros.size() == 1 ? 0 : i];
  }
  if (!params->is_signed) {
    for (int64_t& z : q.zeros) z -= int64_t{1} << (params->bits - 1);
  }
  return q;
}

Result<std::vector<int64_t>> TfliteWriter::Shape(const Value* v) const {
  if (!v->type().shape)
    return Unsupported("the shape of value '" + v->name() + "' is not known; give --shape");
  std::vector<int64_t> dims;
  for (const Dim& d : *v->type().shape) {
    if (!d.known() && !dims.empty()) {
      return Unsupported("value '" + v->name() + "' is " + v->type().ToString() +
                         "; only the batch of a .tflite may be open: fix the input with --shape");
    }
    dims.push_back(d.known() ? d.value() : -1);
  }
  if (dims.size() > 5) return Unsupported("value '" + v->name() + "' has too many dimensions");
  if (IsImage(v)) dims = {dims[0], dims[2], dims[3], dims[1]};
  return dims;
}

Result<int> TfliteWriter::CodesOf(const Value* codes) {
  if (auto it = tensors_.find(codes); it != tensors_.end()) return it->second;
  const Node* reader = codes->uses().empty() ? nullptr : codes->uses()[0].node;
  if (codes->constant() && reader && reader->IsSlipway("Dequantize")) {
    SLIPWAY_ASSIGN_OR_RETURN(const TfliteQuant q, QuantFor(*reader));
    Tensor value = *codes->constant();
    if (value.dtype() == DType::kUInt8) {
      SLIPWAY_ASSIGN_OR_RETURN(Tensor shifted, Tensor::Allocate(DType::kInt8, value.dims()));
      for (int64_t i = 0; i < value.count(); ++i)
        shifted.mutable_data()[i] = static_cast<uint8_t>(value.data<uint8_t>()[i] ^ 0x80);
      value = std::move(shifted);
    }
    if (value.dtype() != DType::kInt8 || q.scales.size() != 1)
      return Unsupported("the codes '" + codes->name() + "' are no int8 with one scale" + remedy_);
    if (IsImage(codes)) {
      SLIPWAY_ASSIGN_OR_RETURN(value, PermutedConstant(value, {0, 2, 3, 1}));
    }
    tensors_[reader->output()] = -1;  // it is in the file
    return tensors_[codes] = file_.Constant(codes->name(), value, q);
  }
  return Unsupported("the codes '" + codes->name() + "' are computed by " +
                     (codes->producer() ? codes->producer()->Describe() : "nobody") + remedy_);
}

Result<int> TfliteWriter::Codes(const Value* dequantized) {
  return CodesOf(dequantized->producer()->input(0));
}

Result<int> TfliteWriter::Real(const Value* v) {
  if (auto it = tensors_.find(v); it != tensors_.end() && it->second >= 0) return it->second;
  if (const Tensor* t = v->constant()) {
    if (t->dtype() != DType::kFloat32)
      return Unsupported("constant '" + v->name() + "' is " + DTypeName(t->dtype()) + remedy_);
    Tensor value = *t;
    if (IsImage(v)) {
      SLIPWAY_ASSIGN_OR_RETURN(value, PermutedConstant(*t, {0, 2, 3, 1}));
    }
    return tensors_[v] = file_.Constant(v->name(), value);
  }
  if (!IsDequantized(v)) return Internal("value '" + v->name() + "' is used before it is made");
  SLIPWAY_ASSIGN_OR_RETURN(const int codes, Codes(v));
  SLIPWAY_ASSIGN_OR_RETURN(auto shape, Shape(v));
  const int out = file_.Tensor(v->name(), shape, fb::TensorType::FLOAT32);
  file_.Op(fb::BuiltinOperator::DEQUANTIZE, 2, {codes}, {out});
  return tensors_[v] = out;
}

Result<int> TfliteWriter::In(const Site& s, size_t i) {
  return s.coded ? Codes(s.node->input(i)) : Real(s.node->input(i));
}

Result<int> TfliteWriter::Out(const Site& s) {
  const Value* v = s.value();
  SLIPWAY_ASSIGN_OR_RETURN(auto shape, Shape(v));
  if (!s.coded) return tensors_[v] = file_.Tensor(v->name(), shape, fb::TensorType::FLOAT32);
  SLIPWAY_ASSIGN_OR_RETURN(const TfliteQuant q, QuantFor(*s.quantize));
  done_.insert(s.quantize);
  if (s.activation) done_.insert(s.activation);
  if (s.bias) done_.insert(s.bias);
  return tensors_[v] = file_.Tensor(s.quantize->input(0)->name(), shape, fb::TensorType::INT8, q);
}

int TfliteWriter::Like(const std::string& name, const std::vector<int64_t>& shape, int like) {
  return file_.Tensor(name, shape, file_.TypeOf(like), file_.QuantOf(like));
}

Result<int> TfliteWriter::Moved(const Site& s, int input) {
  if (!s.coded) return Out(s);
  SLIPWAY_ASSIGN_OR_RETURN(const TfliteQuant q, QuantFor(*s.quantize));
  if (q == file_.QuantOf(input)) return Out(s);
  SLIPWAY_ASSIGN_OR_RETURN(auto shape, Shape(s.value()));
  return Like(s.node->output()->name() + "_moved", shape, input);
}

Status TfliteWriter::FinishMove(const Site& s, int moved) {
  if (!s.coded || tensors_.contains(s.value())) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Out(s));
  file_.Op(fb::BuiltinOperator::QUANTIZE, 2, {moved}, {out});
  return OkStatus();
}

int TfliteWriter::Transposed(int tensor, const std::vector<int64_t>& perm) {
  const std::vector<int64_t> from = file_.ShapeOf(tensor);
  std::vector<int64_t> shape;
  for (int64_t p : perm) shape.push_back(from[static_cast<size_t>(p)]);
  const std::string name = file_.NameOf(tensor) + "_transposed";
  const int order = file_.Ints(name + "/perm", perm);
  const int out = Like(name, shape, tensor);
  file_.Op(fb::BuiltinOperator::TRANSPOSE, file_.TypeOf(tensor) == fb::TensorType::INT8 ? 2 : 1,
           {tensor, order}, {out});
  return out;
}

bool TfliteWriter::Fuse(Site* s) const {
  const Node& n = *s->node;
  const Node* next = n.output()->OnlyUser();
  if (n.Is("MatMul") && next && next->Is("Add")) {
    const Value* other = next->input(next->input(0) == n.output() ? 1 : 0);
    if (IsCodedConstant(other)) {
      s->bias = next;
      next = next->output()->OnlyUser();
    }
  }
  const bool fuses =
      IsProduct(n) || n.Is("Add") || n.Is("Mul") || n.Is("Sub") || n.Is("AveragePool");
  if (next && fuses && (next->Is("Relu") || next->Is("Clip"))) {
    s->activation = next;
    next = next->output()->OnlyUser();
  }
  if (!next || !next->IsSlipway("Quantize") || !next->output()) return false;
  s->quantize = next;
  auto q = QuantFor(*next);
  if (!q.ok() || q->scales.size() != 1 || next->attributes.Int("bits", 8) != 8) return false;
  if (!s->activation) return true;
  if (s->activation->Is("Relu")) {
    s->fused = fb::Activation::RELU;
    return true;
  }
  double least = -INFINITY, most = INFINITY;
  for (size_t i = 1; i <= 2; ++i) {
    const Tensor* bound = s->activation->constant_input(i);
    if (s->activation->input(i) && (!bound || bound->count() != 1)) return false;
    if (bound) (i == 1 ? least : most) = bound->ToDoubles()[0];
  }
  // A bound that no code exceeds needs no activation.
  if (std::isfinite(most) && CodeOf(most, *q) >= 127) most = INFINITY;
  if (std::isfinite(least) && CodeOf(least, *q) <= -128) least = -INFINITY;
  using A = fb::Activation;
  const struct {
    double least, most;
    A activation;
  } kKnown[] = {{-INFINITY, INFINITY, A::NONE},
                {0, INFINITY, A::RELU},
                {0, 6, A::RELU6},
                {-1, 1, A::RELU_N1_TO_1}};
  for (const auto& k : kKnown) {
    if (least == k.least && most == k.most) {
      s->fused = k.activation;
      return true;
    }
  }
  // ReLU6 where zero is the lowest code.
  if (least == -INFINITY && most == 6 && q->zeros[0] == -128) {
    s->fused = A::RELU6;
    return true;
  }
  return false;
}

TfliteWriter::Site TfliteWriter::FindSite(const Node& n) const {
  Site s{&n};
  bool coded = true;
  const bool two = n.Is("Add") || n.Is("Mul") || n.Is("Sub");
  const bool batched = n.Is("MatMul") && !IsConstant(n.input(1));
  const size_t data = n.Is("Concat") ? n.inputs().size() : two || batched ? 2 : 1;
  for (size_t i = 0; i < data; ++i) {
    coded = coded && IsCodes(n.input(i));
    // Weights are none of these; what else is constant may be one of several operands.
    if (data == 1) coded = coded && !IsCodedConstant(n.input(i));
  }
  if (IsProduct(n) && !batched) coded = coded && IsCodedConstant(n.input(1));
  if (!coded || !n.output() || !Fuse(&s)) return Site{&n};
  s.coded = true;
  // Functions that TFLite computes by a fixed output scale.
  auto q = QuantFor(*s.quantize);
  const auto fixed = [&](float scale, int64_t zero) {
    return q.ok() && q->scales[0] == scale && q->zeros[0] == zero;
  };
  if ((n.Is("Sigmoid") || n.Is("Softmax")) && !fixed(1.0f / 256, -128)) return Site{&n};
  if (n.Is("Tanh") && !fixed(1.0f / 128, 0)) return Site{&n};
  return s;
}

Status TfliteWriter::WriteQuantize(const Node& n) {
  const Value* x = n.input(0);
  Site s{.node = &n, .coded = true, .quantize = &n};
  if (IsDequantized(x) && !IsCodedConstant(x)) {
    SLIPWAY_ASSIGN_OR_RETURN(const int from, Codes(x));
    SLIPWAY_ASSIGN_OR_RETURN(const int out, Out(s));
    file_.Op(fb::BuiltinOperator::QUANTIZE, 2, {from}, {out});
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(const int from, Real(x));
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Out(s));
  file_.Op(fb::BuiltinOperator::QUANTIZE, 1, {from}, {out});
  return OkStatus();
}

Status TfliteWriter::WriteNode(const Node& n) {
  if (done_.contains(&n) || n.IsSlipway("Dequantize")) return OkStatus();
  if (n.IsSlipway("Quantize")) return WriteQuantize(n);
  const Emit emit = EmitterOf(n);
  if (!emit) {
    return Unsupported(n.Describe() +
                       ": no operator of TensorFlow Lite is written for it; export ONNX, or change "
                       "the model before this node");
  }
  for (const auto* values : {&n.inputs(), &n.outputs()}) {
    for (const Value* v : *values) {
      if (v && !v->type().shape)
        return Unsupported("the shape of value '" + v->name() + "' is not known; give --shape");
    }
  }
  const Site s = FindSite(n);
  if (!s.coded) {
    if (IsProduct(n) && IsCodedConstant(n.input(1))) {
      const bool input = IsDequantized(n.input(0));
      return Refuse(n, input ? "its output '" + n.output()->name() +
                                   "' (with its activation) is not quantized, and TensorFlow Lite "
                                   "computes from int8 to int8"
                             : "its weights are quantized and its input is not");
    }
    floats_.push_back(n.name());
  }
  return (this->*emit)(s);
}

Result<std::string> TfliteWriter::Run() {
  for (const Value* v : graph_.inputs()) {
    SLIPWAY_ASSIGN_OR_RETURN(auto shape, Shape(v));
    int tensor = -1;
    if (v->dtype() == DType::kFloat32) {
      tensor = file_.Tensor(v->name(), shape, fb::TensorType::FLOAT32);
    } else if (v->dtype() == DType::kInt64 || v->dtype() == DType::kInt32) {
      const bool wide = v->dtype() == DType::kInt64;
      tensor = file_.Tensor(v->name(), shape, wide ? fb::TensorType::INT64 : fb::TensorType::INT32);
    } else {
      const Node* reader = v->uses().empty() ? nullptr : v->uses()[0].node;
      if (!reader || !reader->IsSlipway("Dequantize") || v->dtype() != DType::kInt8)
        return Unsupported("input '" + v->name() + "' is " + v->type().ToString() + remedy_);
      SLIPWAY_ASSIGN_OR_RETURN(const TfliteQuant q, QuantFor(*reader));
      tensor = file_.Tensor(v->name(), shape, fb::TensorType::INT8, q);
    }
    tensors_[v] = tensor;
    file_.Input(tensor);
  }
  for (const auto& n : graph_.nodes()) SLIPWAY_RETURN_IF_ERROR(WriteNode(*n));
  for (const Value* v : graph_.outputs()) {
    auto tensor = v->dtype() == DType::kFloat32 ? Real(v) : CodesOf(v);
    SLIPWAY_RETURN_IF_ERROR(tensor.status());
    file_.Output(*tensor);
  }
  for (const auto& n : graph_.nodes()) {
    if (n->IsSlipway("Quantize") && !tensors_.contains(n->output())) {
      return Internal("activation '" + n->input(0)->name() + "' is missing in the .tflite");
    }
    if (n->IsSlipway("Dequantize") && n->constant_input(0) && !tensors_.contains(n->output()))
      return Unsupported("the codes of '" + n->input(0)->name() +
                         "' are read by no operator that holds them" + remedy_);
  }
  return file_.Bytes();
}

namespace {

// What is computed from constants and shapes, with the open dimension as given (0: open).
Result<std::unique_ptr<ir::Graph>> Folded(const ir::Graph& graph, const std::string& open,
                                          int64_t extent) {
  auto out = graph.Clone();
  if (extent > 0) {
    ir::InferOptions infer;
    infer.symbols[open] = extent;
    SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(*out, infer));
  }
  passes::PassOptions options;
  options.only = {"fold-constants", "remove-dead", "remove-identity"};
  SLIPWAY_RETURN_IF_ERROR(passes::RunPasses(*out, options).status());
  return out;
}

// The symbol of the inputs' first dimension; empty when there is none.
std::string OpenBatch(const ir::Graph& graph) {
  for (const Value* v : graph.inputs()) {
    if (!v->type().shape || v->type().shape->empty() || (*v->type().shape)[0].known()) continue;
    const auto symbols = (*v->type().shape)[0].Symbols();
    if (symbols.size() == 1) return *symbols.begin();
  }
  return "";
}

}  // namespace

Result<QuantBundle> MakeTflite(const QuantExporter& row, const QuantizedModel& model,
                               const QuantExportRequest& request) {
  const std::string platform = request.platform.empty() ? row.limits.platform : request.platform;
  const std::string remedy =
      "; quantize the float model with `slipway quantize --platform " + platform + "`";
  const std::string open = OpenBatch(*model.quantized);
  QuantBundle bundle;
  std::string bytes;
  // Shapes that are computed from an open batch have no form there: such a model gets a batch of 1.
  for (const int64_t extent : {int64_t{0}, int64_t{1}}) {
    SLIPWAY_ASSIGN_OR_RETURN(const auto graph, Folded(*model.quantized, open, extent));
    TfliteWriter writer(*graph, remedy);
    auto made = writer.Run();
    if (!made.ok() && extent == 0 && !open.empty()) continue;
    if (!made.ok()) return made.status();
    bytes = std::move(*made);
    bundle.notes = std::to_string(writer.operators()) + " operators, " +
                   std::to_string(writer.floats().size()) + " of them in float";
    for (size_t i = 0; i < writer.floats().size(); ++i)
      bundle.notes += (i ? ", " : ": ") + writer.floats()[i];
    bundle.notes += ".\nImages are NHWC, inputs and outputs too.\n";
    if (extent > 0) bundle.notes += "The batch, open in the model, is 1 here.\n";
    break;
  }
  bundle.files.push_back({request.stem + ".tflite", std::move(bytes), nullptr});
  return bundle;
}

}  // namespace slipway::quant
