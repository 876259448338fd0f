#include "model/frontends/tflite/builder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "base/checked.h"
#include "model/frontends/tflite/sparse.h"

namespace slipway::tflite {
namespace {

const Ints kToNchw = {0, 3, 1, 2}, kToNhwc = {0, 2, 3, 1};

bool HoldsCodes(DType t) {
  return t == DType::kInt8 || t == DType::kUInt8 || t == DType::kInt16 || t == DType::kInt4;
}

std::string Clean(std::string_view name) {
  std::string out(name.substr(0, 500));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20) c = '?';
  }
  return out;
}

}  // namespace

Tensor Permuted(const Tensor& tensor, const Ints& perm) {
  const Dims& from = tensor.dims();
  Dims to;
  for (int64_t p : perm) to.push_back(from[static_cast<size_t>(p)]);
  // Bytes keep their order when only extents of 1 move.
  int64_t last = -1;
  bool moves = false;
  for (int64_t p : perm) {
    if (from[static_cast<size_t>(p)] == 1) continue;
    moves |= p < last;
    last = p;
  }
  if (!moves || tensor.count() == 0) return tensor.Reshaped(to);
  auto made = Tensor::Allocate(tensor.dtype(), to);
  if (!made.ok()) return {};
  const size_t size = DTypeBytes(tensor.dtype(), 1);
  std::vector<int64_t> stride(perm.size(), 1);  // of the source, by its own dimensions
  for (size_t i = perm.size() - 1; i-- > 0;) stride[i] = stride[i + 1] * from[i + 1];
  const uint8_t* in = tensor.bytes().data();
  uint8_t* out = made->mutable_data();
  std::vector<int64_t> index(perm.size(), 0);
  for (int64_t n = 0, count = tensor.count(); n < count; ++n) {
    int64_t at = 0;
    for (size_t i = 0; i < perm.size(); ++i) at += index[i] * stride[static_cast<size_t>(perm[i])];
    std::memcpy(out + static_cast<size_t>(n) * size, in + static_cast<size_t>(at) * size, size);
    for (size_t i = perm.size(); i-- > 0;) {
      if (++index[i] < to[i]) break;
      index[i] = 0;
    }
  }
  return std::move(*made);
}

Builder::Builder(const Model& model, const SubGraphInfo& subgraph,
                 std::shared_ptr<const void> owner, const ImportOptions& options, ir::Graph* graph)
    : model_(model),
      subgraph_(subgraph),
      owner_(std::move(owner)),
      options_(options),
      graph_(graph),
      declared_hold_(options.input_shapes.empty()) {
  places_.resize(std::max<size_t>(subgraph.tensors.size(), 1));
  produced_.resize(places_.size(), false);
}

void Builder::Fail(Status status) {
  if (status_.ok()) status_ = std::move(status);
}

std::string Builder::TensorName(int32_t index) const {
  auto it = signature_names_.find(index);
  std::string name = Clean(it != signature_names_.end() ? it->second : tensor(index).name);
  // "-" means an absent output to the graph.
  return name.empty() || name == "-" ? "tensor_" + std::to_string(index) : name;
}

// --- nodes ---------------------------------------------------------------------------------------

std::vector<Value*> Builder::EmitMany(std::string_view op, std::vector<Value*> inputs,
                                      Attributes attributes, size_t outputs,
                                      std::string_view domain) {
  ir::Node* node = graph_->AddNode({.op = std::string(op),
                                    .inputs = std::move(inputs),
                                    .attributes = std::move(attributes),
                                    .domain = std::string(domain),
                                    .name = label_,
                                    .outputs = std::vector<std::string>(outputs)});
  node->sources = {label_};
  if (status_.ok()) {
    Status inferred = inferer_.AddNode(*node);
    if (!inferred.ok()) Fail(std::move(inferred));
  }
  return node->outputs();
}

Value* Builder::Emit(std::string_view op, std::vector<Value*> inputs, Attributes attributes,
                     std::string_view domain) {
  return EmitMany(op, std::move(inputs), std::move(attributes), 1, domain)[0];
}

Value* Builder::Constant(Tensor tensor) {
  if (!tensor.present()) {
    Fail(ResourceExhausted("no memory for a constant"));
    tensor = Tensor::Scalar<float>(0);
  }
  return graph_->AddConstant(label_ + "_const", std::move(tensor));
}

Value* Builder::ScalarLike(const Value* like, double value) {
  switch (like->dtype()) {
    case DType::kInt32:
      return Constant(Tensor::Scalar(static_cast<int32_t>(value)));
    case DType::kInt64:
      return Constant(Tensor::Scalar(static_cast<int64_t>(value)));
    case DType::kFloat32:
    case DType::kUndefined:
      return Float(static_cast<float>(value));
    default:
      return Cast(Float(static_cast<float>(value)), like->dtype());
  }
}

int Builder::Rank(const Value* v) {
  if (v->type().shape) return static_cast<int>(v->type().shape->size());
  Fail(slipway::Unsupported("the rank of '" + v->name() + "' is not known before the model runs"));
  return -1;
}

std::optional<int64_t> Builder::Extent(const Value* v, size_t i) const {
  const auto& shape = v->type().shape;
  if (!shape || i >= shape->size() || !(*shape)[i].known()) return std::nullopt;
  return (*shape)[i].value();
}

std::optional<Ints> Builder::Extents(const Value* v) const {
  auto dims = v->type().StaticDims();
  if (!dims) return std::nullopt;
  return Ints(dims->begin(), dims->end());
}

Value* Builder::Transpose(Value* v, const Ints& perm) {
  if (const Tensor* t = v->constant(); t && t->dims().rank() == static_cast<int>(perm.size()))
    return Constant(Permuted(*t, perm));
  return Emit("Transpose", {v}, {{"perm", perm}});
}

Value* Builder::Nchw(Value* v) {
  if (auto it = to_nchw_.find(v); it != to_nchw_.end()) return it->second;
  Value* made = Transpose(v, kToNchw);
  to_nchw_[v] = made;
  to_nhwc_[made] = v;
  return made;
}

Value* Builder::Nhwc(Value* v) {
  if (auto it = to_nhwc_.find(v); it != to_nhwc_.end()) return it->second;
  Value* made = Transpose(v, kToNhwc);
  to_nhwc_[v] = made;
  to_nchw_[made] = v;
  return made;
}

Value* Builder::Reshape(Value* v, const Ints& shape) {
  if (const Tensor* t = v->constant()) {
    int64_t count = 1;
    bool plain = true;
    for (int64_t d : shape) {
      plain &= d > 0 && d <= int64_t{1} << 40 && count <= int64_t{1} << 40;
      if (plain) count *= d;
    }
    if (plain && count == t->count())
      return Constant(t->Reshaped(Dims(std::span<const int64_t>(shape))));
  }
  return Emit("Reshape", {v, Int64s(shape)});
}

Value* Builder::Cast(Value* v, DType to) {
  if (v->dtype() == to) return v;
  if (const Tensor* t = v->constant(); t && to == DType::kInt64 && t->dtype() == DType::kInt32) {
    const Ints values = t->ToInts();
    return Constant(Tensor::Of<int64_t>(t->dims(), values));
  }
  return Emit("Cast", {v}, {{"to", static_cast<int64_t>(to)}});
}

// --- quantization --------------------------------------------------------------------------------

namespace {

struct Codes {
  int64_t bits;
  bool is_signed;
  DType dtype;  // in the IR
};

Result<Codes> CodesOf(const TensorInfo& t) {
  switch (t.dtype) {
    case DType::kInt4:
      return Codes{4, true, DType::kInt8};
    case DType::kInt8:
      return Codes{8, true, DType::kInt8};
    case DType::kUInt8:
      return Codes{8, false, DType::kUInt8};
    case DType::kInt16:
      return Codes{16, true, DType::kInt16};
    case DType::kInt32:
      return Codes{32, true, DType::kInt32};
    default:
      return slipway::Unsupported(std::string("codes of type ") + DTypeName(t.dtype) +
                                  " are not supported; quantize to int8, uint8, int16 or int4");
  }
}

// The zero points as a tensor of the codes' type.
Result<Tensor> ZeroPoints(const Codes& codes, const Quantization& q) {
  Dims dims;
  if (q.scale.size() > 1) dims.push_back(static_cast<int64_t>(q.scale.size()));
  SLIPWAY_ASSIGN_OR_RETURN(Tensor out, Tensor::Allocate(codes.dtype, dims));
  const int64_t lo = codes.is_signed ? -(int64_t{1} << (codes.bits - 1)) : 0;
  const int64_t hi =
      codes.is_signed ? (int64_t{1} << (codes.bits - 1)) - 1 : (int64_t{1} << codes.bits) - 1;
  for (size_t i = 0; i < q.scale.size(); ++i) {
    const int64_t z = q.zero.empty() ? 0 : q.zero[i];
    if (z < lo || z > hi) {
      return InvalidArgument("the zero point " + std::to_string(z) + " is outside the codes [" +
                             std::to_string(lo) + ", " + std::to_string(hi) + "]");
    }
    uint8_t* at = out.mutable_data() + i * DTypeBytes(codes.dtype, 1);
    switch (codes.dtype) {
      case DType::kInt16: {
        const auto v = static_cast<int16_t>(z);
        std::memcpy(at, &v, 2);
        break;
      }
      case DType::kInt32: {
        const auto v = static_cast<int32_t>(z);
        std::memcpy(at, &v, 4);
        break;
      }
      default:
        *at = static_cast<uint8_t>(z);
    }
  }
  return out;
}

Attributes CodeAttributes(const Codes& codes, const Quantization& q) {
  Attributes a{{"bits", codes.bits}, {"signed", int64_t{codes.is_signed}}};
  if (q.scale.size() > 1) a.Set("axis", int64_t{q.axis});
  return a;
}

Tensor Scales(const Quantization& q) {
  if (q.scale.size() == 1) return Tensor::Scalar<float>(q.scale[0]);
  return Tensor::Of<float>({static_cast<int64_t>(q.scale.size())}, q.scale);
}

}  // namespace

Value* Builder::Quantize(Value* real, const TensorInfo& as) {
  auto codes = CodesOf(as);
  if (codes.ok() && codes->bits == 32)
    codes = slipway::Unsupported("results quantized to int32 are not supported");
  auto zero = codes.ok() ? ZeroPoints(*codes, as.quantization) : codes.status();
  if (zero.ok() && as.quantization.scale.size() != 1) {
    zero = slipway::Unsupported(
        "results with a scale for each channel are not supported; quantize activations per tensor");
  }
  if (zero.ok() && as.quantization.scale[0] <= 0) zero = InvalidArgument("its scale is 0");
  if (!zero.ok()) {
    Fail(zero.status().With("tensor '" + Clean(as.name) + "'"));
    return real;
  }
  return Emit("Quantize", {real, Constant(Scales(as.quantization)), Constant(std::move(*zero))},
              CodeAttributes(*codes, as.quantization), ir::kSlipwayDomain);
}

Value* Builder::Dequantize(Value* value, const TensorInfo& as) {
  auto codes = CodesOf(as);
  auto zero = codes.ok() ? ZeroPoints(*codes, as.quantization) : codes.status();
  if (!zero.ok()) {
    Fail(zero.status().With("tensor '" + Clean(as.name) + "'"));
    return value;
  }
  return Emit("Dequantize", {value, Constant(Scales(as.quantization)), Constant(std::move(*zero))},
              CodeAttributes(*codes, as.quantization), ir::kSlipwayDomain);
}

// --- tensors -------------------------------------------------------------------------------------

Result<Tensor> Builder::ReadConstant(const TensorInfo& t) {
  if (t.dtype == DType::kUndefined) {
    return slipway::Unsupported("constants of type " + TypeName(t.type) +
                                " are not supported; do that part of the model outside");
  }
  if (t.sparsity) return Densify(t);
  if (t.dtype == DType::kInt4) {
    SLIPWAY_ASSIGN_OR_RETURN(Tensor out, Tensor::Allocate(DType::kInt8, t.shape));
    for (int64_t i = 0; i < out.count(); ++i) {
      const int code = t.bytes[static_cast<size_t>(i / 2)] >> (i % 2 * 4) & 15;
      out.mutable_data()[i] = static_cast<uint8_t>(code >= 8 ? code - 16 : code);
    }
    return out;
  }
  SLIPWAY_ASSIGN_OR_RETURN(Tensor out, Tensor::Wrap(t.dtype, t.shape, t.bytes, owner_));
  if (t.dtype == DType::kBool) {
    for (uint8_t b : t.bytes) {
      if (b > 1) return InvalidArgument("a boolean constant holds the byte " + std::to_string(b));
    }
  }
  if (options_.check_finite && (t.dtype == DType::kFloat32 || t.dtype == DType::kFloat16)) {
    const size_t size = DTypeBytes(t.dtype, 1);
    for (size_t at = 0; at + size <= t.bytes.size(); at += size) {
      uint32_t bits = 0;
      std::memcpy(&bits, t.bytes.data() + at, size);
      const bool nan = size == 4 ? (bits & 0x7fffffffu) > 0x7f800000u : (bits & 0x7fffu) > 0x7c00u;
      if (nan)
        return InvalidArgument("element " + std::to_string(at / size) +
                               " is NaN; the training of the model diverged");
    }
  }
  return out;
}

const Tensor* Builder::ConstantOf(int32_t index) {
  const TensorInfo& t = tensor(index);
  if (!t.constant || produced_[static_cast<size_t>(index)]) return nullptr;
  const Place& place = places_[static_cast<size_t>(index)];
  if (place.raw) return place.raw->constant();
  if (place.real) return nullptr;
  auto made = ReadConstant(t);
  if (!made.ok()) {
    Fail(made.status().With("tensor '" + TensorName(index) + "'"));
    return nullptr;
  }
  places_[static_cast<size_t>(index)].raw =
      graph_->AddConstant(TensorName(index), std::move(*made));
  return places_[static_cast<size_t>(index)].raw->constant();
}

bool Builder::IsQuantized(int32_t index) const {
  const TensorInfo& t = tensor(index);
  return t.quantization.present() && HoldsCodes(t.dtype);
}

Value* Builder::Raw(int32_t index, bool nchw) {
  Place& place = places_[static_cast<size_t>(index)];
  if (!place.raw) {
    if (place.real) {
      place.raw = Quantize(place.real, tensor(index));  // see SetExact
      place.raw_nchw = place.real_nchw;
    } else if (!ConstantOf(index)) {
      Fail(InvalidArgument(
          "tensor '" + TensorName(index) +
          "' is read before an operator computes it and is neither an input nor a constant"));
      return Float(0);
    }
  }
  Value* v = places_[static_cast<size_t>(index)].raw;
  const bool stored = places_[static_cast<size_t>(index)].raw_nchw;
  return stored == nchw ? v : nchw ? Nchw(v) : Nhwc(v);
}

Value* Builder::Real(int32_t index, bool nchw) {
  const TensorInfo& t = tensor(index);
  if (!IsQuantized(index)) {
    Value* v = Raw(index, nchw);
    return v->dtype() == DType::kFloat16 ? Cast(v, DType::kFloat32) : v;
  }
  Place& place = places_[static_cast<size_t>(index)];
  if (!place.real) {
    const bool image = place.raw && place.raw_nchw;
    Value* codes = Raw(index, image);
    Quantization q = t.quantization;
    TensorInfo as = t;
    if (image && q.scale.size() > 1)
      as.quantization.axis = q.axis == 0 ? 0 : q.axis == 3 ? 1 : q.axis + 1;
    Value* real = Dequantize(codes, as);
    if (!failed()) graph_->Rename(real, codes->name() + "_real");
    places_[static_cast<size_t>(index)].real = real;
    places_[static_cast<size_t>(index)].real_nchw = image;
  }
  Value* v = places_[static_cast<size_t>(index)].real;
  const bool stored = places_[static_cast<size_t>(index)].real_nchw;
  return stored == nchw ? v : nchw ? Nchw(v) : Nhwc(v);
}

bool Builder::IsImage(int32_t index) const {
  const Place& place = places_[static_cast<size_t>(index)];
  return (place.raw && place.raw_nchw) || (place.real && place.real_nchw);
}

// Gives the value the tensor's name and checks it against what the file declares.
void Builder::Adopt(int32_t index, Value* v, const std::string& suffix) {
  if (failed() || v->is_input() || v->is_constant() || !named_.insert(v).second) return;
  graph_->Rename(v, TensorName(index) + suffix);
}

void Builder::CheckDeclared(int32_t index, Value* v, bool nchw) {
  if (failed()) return;
  const TensorInfo& t = tensor(index);
  const DType want = t.dtype == DType::kInt4 ? DType::kInt8 : t.dtype;
  if (want == DType::kUndefined) {
    return Fail(slipway::Unsupported("tensor '" + TensorName(index) + "' has type " +
                                     TypeName(t.type) + ", which is not supported"));
  }
  if (v->dtype() != DType::kUndefined && v->dtype() != want) {
    return Fail(InvalidArgument("tensor '" + TensorName(index) + "' is declared as " +
                                DTypeName(want) + ", but the operator gives " +
                                DTypeName(v->dtype())));
  }
  if (!t.has_shape) return;
  const size_t rank = t.shape.size();
  ir::Type type = v->type();
  type.dtype = want;
  if (!type.shape) {
    // Only the data decides: at least the rank is known.
    SymShape shape;
    for (size_t i = 0; i < rank; ++i) {
      const size_t from = !nchw ? i : i == 0 ? 0 : i == 1 ? 3 : i - 1;
      const bool fixed = declared_hold_ && (t.signature.empty() || t.signature[from] >= 0);
      shape.push_back(fixed ? Dim(t.shape[from])
                            : Dim::Symbol(TensorName(index) + "_dim" + std::to_string(from)));
    }
    type.shape = std::move(shape);
    v->set_type(std::move(type));
    return;
  }
  if (!declared_hold_) return;
  bool fits = type.shape->size() == rank;
  for (size_t i = 0; fits && i < rank; ++i) {
    const size_t from = !nchw ? i : i == 0 ? 0 : i == 1 ? 3 : i - 1;
    const bool fixed = t.signature.empty() || t.signature[from] >= 0;
    fits = !fixed || !(*type.shape)[i].known() || (*type.shape)[i].value() == t.shape[from];
  }
  if (fits) return;
  SymShape given = *type.shape;
  if (nchw && given.size() == 4) given = {given[0], given[2], given[3], given[1]};
  Fail(InvalidArgument("tensor '" + TensorName(index) + "' is declared with shape " +
                       t.shape.ToString() + ", but the operator gives " +
                       slipway::ToString(given)));
}

void Builder::SetRaw(int32_t index, Value* v, bool nchw) {
  CheckDeclared(index, v, nchw);
  Place& place = places_[static_cast<size_t>(index)];
  place = {};
  place.raw = v;
  place.raw_nchw = nchw;
  produced_[static_cast<size_t>(index)] = true;
  Adopt(index, v, nchw ? "_nchw" : "");
}

void Builder::SetExact(int32_t index, Value* real, bool nchw) {
  if (!IsQuantized(index)) return SetRaw(index, real, nchw);
  Place& place = places_[static_cast<size_t>(index)];
  place = {};
  place.real = real;
  place.real_nchw = nchw;
  produced_[static_cast<size_t>(index)] = true;
  Adopt(index, real, "_real");
}

void Builder::SetReal(int32_t index, Value* v, bool nchw) {
  if (!IsQuantized(index)) {
    if (tensor(index).dtype == DType::kFloat16) v = Cast(v, DType::kFloat16);
    return SetRaw(index, v, nchw);
  }
  SetRaw(index, Quantize(v, tensor(index)), nchw);
}

// --- operators' view -----------------------------------------------------------------------------

int32_t Op::in_index(size_t i) {
  if (has(i)) return info.inputs[i];
  Invalid("input " + std::to_string(i) + " is missing");
  return 0;
}

int32_t Op::out_index(size_t i) {
  if (i < info.outputs.size()) return info.outputs[i];
  Invalid("output " + std::to_string(i) + " is missing");
  return 0;
}

bool Op::MovesCodes(size_t i) {
  const int32_t from = in_index(i);
  if (!b.IsQuantized(from)) {
    for (int32_t o : info.outputs) {
      if (b.IsQuantized(o)) return false;
    }
    return true;
  }
  if (b.tensor(from).quantization.scale.size() != 1) return false;
  for (int32_t o : info.outputs) {
    if (!b.IsQuantized(o) || !(b.tensor(o).quantization == b.tensor(from).quantization) ||
        b.tensor(o).dtype != b.tensor(from).dtype)
      return false;
  }
  return true;
}

Ints Op::ConstInts(size_t i, const char* what) {
  const Tensor* t = has(i) ? b.ConstantOf(info.inputs[i]) : nullptr;
  if (t && IsInteger(t->dtype())) return t->ToInts();
  if (!has(i)) {
    Invalid(std::string(what) + " (input " + std::to_string(i) + ") is missing");
  } else {
    Unsupported(std::string(what) + " (input " + std::to_string(i) + ", tensor '" +
                b.TensorName(info.inputs[i]) +
                "') must be an integer constant; fold it when converting, or fix the input shape "
                "of the model");
  }
  return {};
}

int64_t Op::ConstInt(size_t i, const char* what) {
  const Ints v = ConstInts(i, what);
  if (v.size() == 1) return v[0];
  Invalid(std::string(what) + " (input " + std::to_string(i) + ") must have one element, not " +
          std::to_string(v.size()));
  return 0;
}

Value* Op::Int64(size_t i) {
  Value* v = Raw(i);
  if (v->dtype() != DType::kUndefined && !IsInteger(v->dtype())) {
    Invalid("input " + std::to_string(i) + " must be an integer tensor, not " +
            DTypeName(v->dtype()));
    return v;
  }
  return b.Cast(v, DType::kInt64);
}

int64_t Op::Axis(int64_t axis, int rank) {
  if (rank < 0) return 0;  // already failed
  if (axis >= -rank && axis < rank) return axis < 0 ? axis + rank : axis;
  Invalid("axis " + std::to_string(axis) + " is outside a tensor of " + std::to_string(rank) +
          " dimensions");
  return 0;
}

Value* Op::Activate(Value* v, fb::Activation activation) {
  switch (activation) {
    case fb::Activation::NONE:
      return v;
    case fb::Activation::RELU:
      return b.Emit("Relu", {v});
    case fb::Activation::RELU_N1_TO_1:
      return b.Emit("Clip", {v, b.ScalarLike(v, -1), b.ScalarLike(v, 1)});
    case fb::Activation::RELU6:
      return b.Emit("Clip", {v, b.ScalarLike(v, 0), b.ScalarLike(v, 6)});
    case fb::Activation::TANH:
      return b.Emit("Tanh", {v});
    case fb::Activation::SIGN_BIT:
      return b.Cast(b.Emit("Less", {v, b.ScalarLike(v, 0)}), v->dtype());
  }
  Invalid("the fused activation " + std::to_string(static_cast<int>(activation)) + " is unknown");
  return v;
}

}  // namespace slipway::tflite
