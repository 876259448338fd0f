// The quantized operators of com.microsoft. Those between codes become Dequantize, the float
// operator and Quantize, as QLinearConv does, so that the integer lowering sees one form; those
// with float results stay exact integer products.

#include <array>
#include <cmath>
#include <cstring>

#include "model/frontends/onnx/contrib.h"
#include "model/frontends/onnx/tensor_proto.h"
#include "model/frontends/onnx/upgrade_quantize.h"

namespace slipway::onnx {
namespace {

using ir::Attributes;
using ir::Tensor;
using ir::Value;

// Input i with its scale (i + 1) and optional zero point (i + 2).
Result<Value*> Real(OldNode& n, Upgrader& u, size_t i, std::optional<int64_t> axis = std::nullopt) {
  return RealOperand(n, u, n.input(i), n.input(i + 1), n.input(i + 2), axis);
}
// By the scale at `i` and the zero point behind it; `like` has the type of the codes.
Status Requantize(OldNode& n, Upgrader& u, Value* real, size_t i, const Value* like) {
  const DType type = u.TypeOf(like);
  return RequantizeTo(n, u, real, n.input(i), n.input(i + 1), IsKnown(type) ? type : DType::kUInt8);
}

Status QLinearBinary(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 2));
  const Value* like = n.input(0);
  SLIPWAY_ASSIGN_OR_RETURN(Value * a, Real(n, u, 0));
  SLIPWAY_ASSIGN_OR_RETURN(Value * b, Real(n, u, 3));
  Value* y = u.Emit(n, n.op == "QLinearAdd" ? "Add" : "Mul", {a, b});
  return Requantize(n, u, y, 6, like);
}

Status QLinearUnary(OldNode& n, Upgrader& u) {
  const Value* like = n.input(0);
  SLIPWAY_ASSIGN_OR_RETURN(Value * x, Real(n, u, 0));
  const bool leaky = n.op == "QLinearLeakyRelu";
  Attributes a;
  if (leaky) a.Set("alpha", n.attributes.Float("alpha", 0.01f));
  return Requantize(n, u, u.Emit(n, leaky ? "LeakyRelu" : "Sigmoid", {x}, a), 3, like);
}

Status QLinearConcat(OldNode& n, Upgrader& u) {
  if (n.inputs.size() < 5 || (n.inputs.size() - 2) % 3 != 0 || !n.attributes.Has("axis")) {
    return InvalidArgument(n.Describe() +
                           " needs an axis, the output's scale and zero point, and "
                           "codes, scale and zero point for each input");
  }
  const Value* like = n.input(2);
  std::vector<Value*> parts;
  for (size_t i = 2; i < n.inputs.size(); i += 3) {
    SLIPWAY_ASSIGN_OR_RETURN(Value * part, Real(n, u, i));
    parts.push_back(part);
  }
  Value* y = u.Emit(n, "Concat", parts, {{"axis", n.attributes.Int("axis", 0)}});
  return Requantize(n, u, y, 0, like);
}

Status QLinearPool(OldNode& n, Upgrader& u) {
  const Value* like = n.input(0);
  SLIPWAY_ASSIGN_OR_RETURN(Value * x, Real(n, u, 0));
  const bool last = n.attributes.Int("channels_last", 0) != 0;
  const bool global = n.op == "QLinearGlobalAveragePool";
  Attributes a;
  if (!global) a = n.attributes;
  a.Erase("channels_last");
  int64_t rank = 0;
  if (last) {
    SLIPWAY_ASSIGN_OR_RETURN(rank, NeedRank(n, u, n.input(0)));
    if (rank < 3) return InvalidArgument(n.Describe() + ": its input has no spatial dimensions");
    x = ChannelsFirst(n, u, x, rank);
  }
  Value* y = u.Emit(n, global ? "GlobalAveragePool" : "AveragePool", {x}, a);
  if (last) y = ChannelsLast(n, u, y, rank);
  return Requantize(n, u, y, 3, like);
}

Status QLinearSoftmax(OldNode& n, Upgrader& u) {
  const Value* like = n.input(0);
  SLIPWAY_ASSIGN_OR_RETURN(Value * x, Real(n, u, 0));
  const int64_t axis = n.attributes.Int("axis", -1);
  if (n.attributes.Int("opset", 13) >= 13) {
    return Requantize(n, u, u.Emit(n, "Softmax", {x}, {{"axis", axis}}), 3, like);
  }
  // The old operator sees its input as a matrix.
  Value* shape = u.Emit(n, "Shape", {x});
  Value* flat = u.Emit(n, "Flatten", {x}, {{"axis", axis}});
  Value* soft = u.Emit(n, "Softmax", {flat}, {{"axis", int64_t{-1}}});
  return Requantize(n, u, u.Emit(n, "Reshape", {soft, shape}), 3, like);
}

Status QLinearReduceMean(OldNode& n, Upgrader& u) {
  const Value* like = n.input(0);
  SLIPWAY_ASSIGN_OR_RETURN(Value * x, Real(n, u, 0));
  const auto axes = n.attributes.Ints("axes");
  std::vector<Value*> inputs{x};
  if (!axes.empty()) inputs.push_back(u.Ints(n, "axes", axes));
  Value* y = u.Emit(n, "ReduceMean", inputs, {{"keepdims", n.attributes.Int("keepdims", 1)}});
  return Requantize(n, u, y, 3, like);
}

Status QLinearWhere(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 1));
  const Value* like = n.input(1);
  SLIPWAY_ASSIGN_OR_RETURN(Value * a, Real(n, u, 1));
  SLIPWAY_ASSIGN_OR_RETURN(Value * b, Real(n, u, 4));
  return Requantize(n, u, u.Emit(n, "Where", {n.input(0), a, b}), 7, like);
}

Status QGemm(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 5));
  const Value* like = n.input(0);
  const bool tb = n.attributes.Int("transB", 0) != 0;
  const float alpha = n.attributes.Float("alpha", 1);
  SLIPWAY_ASSIGN_OR_RETURN(Value * a, Real(n, u, 0));
  SLIPWAY_ASSIGN_OR_RETURN(Value * b, Real(n, u, 3, tb ? 0 : 1));
  std::vector<Value*> inputs{a, b};
  if (n.input(6)) {  // in steps of alpha * a_scale * b_scale
    Value* scale = u.Emit(n, "Mul", {n.input(1), n.input(4)});
    if (alpha != 1) scale = u.Emit(n, "Mul", {scale, u.ScalarLike(n, "alpha", scale, alpha)});
    inputs.push_back(u.Emit(n, "Dequantize", {n.input(6), scale},
                            {{"axis", int64_t{-1}}, {"bits", int64_t{32}}, {"signed", int64_t{1}}},
                            ir::kSlipwayDomain));
  }
  Attributes attributes{
      {"alpha", alpha}, {"transA", n.attributes.Int("transA", 0)}, {"transB", int64_t{tb}}};
  if (!n.input(7)) return Become(n, "Gemm", inputs, attributes);
  return Requantize(n, u, u.Emit(n, "Gemm", inputs, attributes), 7, like);
}

// float(A * B) * (a_scale * b_scale) + bias, the product in integers.
Status ScaledProduct(OldNode& n, Upgrader& u, Value* a, Value* b, Value* a_scale, Value* b_scale,
                     Value* a_zero, Value* b_zero, Value* bias) {
  if (!a_zero && b_zero) a_zero = u.Constant(n, "zero", Tensor::Scalar<uint8_t>(0));
  std::vector<Value*> inputs{a, b, a_zero, b_zero};
  while (!inputs.back()) inputs.pop_back();
  Value* product = u.Emit(n, "MatMulInteger", inputs);
  const DType type = IsKnown(u.TypeOf(a_scale)) ? u.TypeOf(a_scale) : DType::kFloat32;
  Value* real = u.Emit(n, "Cast", {product}, {{"to", static_cast<int64_t>(type)}});
  Value* scale = u.Emit(n, "Mul", {a_scale, b_scale});
  if (!bias) return Become(n, "Mul", {real, scale});
  return Become(n, "Add", {u.Emit(n, "Mul", {real, scale}), bias});
}

Status MatMulIntegerToFloat(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 4));
  return ScaledProduct(n, u, n.input(0), n.input(1), n.input(2), n.input(3), n.input(4), n.input(5),
                       n.input(6));
}

Status DynamicQuantizeMatMul(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 3));
  auto q = u.EmitMany(n, "DynamicQuantizeLinear", {n.input(0)}, 3);
  return ScaledProduct(n, u, q[0], n.input(1), q[1], n.input(2), q[2], n.input(3), n.input(4));
}

Status ReduceSumInteger(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 1));
  Value* wide = u.Emit(n, "Cast", {n.input(0)}, {{"to", static_cast<int64_t>(DType::kInt32)}});
  return Become(n, "ReduceSum", {wide, u.Ints(n, "axes", n.attributes.Ints("axes"))},
                {{"keepdims", n.attributes.Int("keepdims", 1)}});
}

// Codes of 2 to 8 bits that fill bytes from the low bits on, one row after another.
Result<Tensor> UnpackRows(const OldNode& n, const Tensor& packed, int64_t rows, int64_t columns,
                          int64_t row_bytes, int bits) {
  if (packed.dtype() != DType::kUInt8 || packed.count() != rows * row_bytes) {
    return InvalidArgument(n.Describe() + ": packed codes " + packed.dims().ToString() + " of " +
                           DTypeName(packed.dtype()) + " do not hold " + std::to_string(rows) +
                           " rows of " + std::to_string(row_bytes) + " bytes");
  }
  SLIPWAY_ASSIGN_OR_RETURN(Tensor out, Tensor::Allocate(DType::kUInt8, {rows, columns}));
  const uint8_t* from = packed.bytes().data();
  uint8_t* to = out.mutable_data();
  const int mask = (1 << bits) - 1;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t bit = c * bits;
      to[r * columns + c] = static_cast<uint8_t>(from[r * row_bytes + bit / 8] >> (bit % 8) & mask);
    }
  }
  return out;
}

// g_idx names the block of every column (quantizers with act-order): the columns in the order of
// their blocks, which makes the blocks whole again.
Result<std::vector<int64_t>> ColumnsByBlock(const OldNode& n, const Value* g_idx, int64_t k,
                                            int64_t block) {
  const Tensor* t = g_idx->constant();
  if (!t || !IsInteger(t->dtype()) || t->count() < k)
    return Unsupported(n.Describe() +
                       ": g_idx must be a constant with an integer for each of the " +
                       std::to_string(k) + " columns");
  const auto of = t->ToInts();
  const int64_t blocks = (k + block - 1) / block;
  std::vector<std::vector<int64_t>> members(static_cast<size_t>(blocks));
  for (int64_t i = 0; i < k; ++i) {
    const int64_t b = of[static_cast<size_t>(i)];
    if (b < 0 || b >= blocks)
      return InvalidArgument(n.Describe() + ": g_idx names block " + std::to_string(b) + " of " +
                             std::to_string(blocks));
    members[static_cast<size_t>(b)].push_back(i);
  }
  std::vector<int64_t> order;
  for (int64_t b = 0; b < blocks; ++b) {
    const auto& m = members[static_cast<size_t>(b)];
    if (static_cast<int64_t>(m.size()) != std::min(block, k - b * block))
      return Unsupported(n.Describe() + ": g_idx puts " + std::to_string(m.size()) +
                         " columns into block " + std::to_string(b) +
                         "; only blocks of block_size are supported");
    order.insert(order.end(), m.begin(), m.end());
  }
  return order;
}

// Weights [N, K] in blocks of block_size along K that share scale and zero point.
Status MatMulNBits(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 3));
  const int64_t k = n.attributes.Int("K", 0), rows = n.attributes.Int("N", 0),
                bits = n.attributes.Int("bits", 4), block = n.attributes.Int("block_size", 0);
  constexpr int64_t kMost = int64_t{1} << 31;
  if (k < 1 || rows < 1 || k > kMost || rows > kMost || block < 16 || block > kMost ||
      (block & (block - 1)) != 0) {
    return InvalidArgument(n.Describe() +
                           ": K, N and block_size (a power of two of at least 16) "
                           "must be positive");
  }
  if (bits != 2 && bits != 4 && bits != 8) {
    return Unsupported(n.Describe() + ": bits = " + std::to_string(bits) +
                       " is not supported; quantize to 2, 4 or 8 bits");
  }
  const Tensor* packed = n.input(1)->constant();
  if (!packed) return Unsupported(n.Describe() + ": its weights must be a constant");
  const int64_t blocks = (k + block - 1) / block, padded = blocks * block;
  if (padded > kMost || rows > kMost / padded)
    return InvalidArgument(n.Describe() + ": K and N are too large");
  SLIPWAY_ASSIGN_OR_RETURN(
      Tensor all, UnpackRows(n, *packed, rows, padded, padded * bits / 8, static_cast<int>(bits)));
  Tensor codes = all;
  if (padded != k) {  // the last block is filled up in the file
    SLIPWAY_ASSIGN_OR_RETURN(codes, Tensor::Allocate(DType::kUInt8, {rows, k}));
    for (int64_t r = 0; r < rows; ++r)
      std::copy_n(all.bytes().data() + r * padded, k, codes.mutable_data() + r * k);
  }
  Value* x = n.input(0);
  if (n.input(4)) {
    SLIPWAY_ASSIGN_OR_RETURN(const auto order, ColumnsByBlock(n, n.input(4), k, block));
    SLIPWAY_ASSIGN_OR_RETURN(Tensor sorted, Tensor::Allocate(DType::kUInt8, {rows, k}));
    for (int64_t r = 0; r < rows; ++r) {
      const uint8_t* from = codes.bytes().data() + r * k;
      for (int64_t i = 0; i < k; ++i)
        sorted.mutable_data()[r * k + i] = from[order[static_cast<size_t>(i)]];
    }
    codes = std::move(sorted);
    x = u.Emit(n, "Gather", {x, u.Ints(n, "order", order)}, {{"axis", int64_t{-1}}});
  }
  Tensor zeros;
  if (Value* given = n.input(3)) {
    if (!given->constant() || given->constant()->dtype() != DType::kUInt8) {
      return Unsupported(n.Describe() + ": zero points must be packed uint8 constants, not " +
                         std::string(DTypeName(given->dtype())));
    }
    SLIPWAY_ASSIGN_OR_RETURN(zeros, UnpackRows(n, *given->constant(), rows, blocks,
                                               (blocks * bits + 7) / 8, static_cast<int>(bits)));
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(zeros, Tensor::Allocate(DType::kUInt8, {rows, blocks}));
    std::fill_n(zeros.mutable_data(), zeros.bytes().size(), static_cast<uint8_t>(1 << (bits - 1)));
  }
  Value* scale =
      u.Emit(n, "Reshape", {n.input(2), u.Ints(n, "scale_shape", std::array{rows, blocks})});
  if (const Tensor* t = n.input(2)->constant()) {
    if (t->count() != rows * blocks)
      return InvalidArgument(n.Describe() + ": scales " + t->dims().ToString() + " are not N * " +
                             std::to_string(blocks));
    scale = u.Constant(n, "scales", t->Reshaped({rows, blocks}));
  }
  Value* weight = u.Emit(
      n, "Dequantize",
      {u.Constant(n, "codes", std::move(codes)), scale, u.Constant(n, "zeros", std::move(zeros))},
      {{"axis", int64_t{1}}, {"bits", bits}, {"group", block}, {"signed", int64_t{0}}},
      ir::kSlipwayDomain);
  Value* columns = u.Emit(n, "Transpose", {weight}, {{"perm", std::vector<int64_t>{1, 0}}});
  if (!n.input(5)) return Become(n, "MatMul", {x, columns});
  return Become(n, "Add", {u.Emit(n, "MatMul", {x, columns}), n.input(5)});
}

// Weights of an LSTM as rows behind a Dequantize, as `slipway quantize` writes them and packages hold
// them; null where they are of another form.
Value* DequantizedRows(OldNode& n, Upgrader& u, const Value* value, const Value* scale,
                       const Value* zero) {
  if (!value || !value->constant() || !scale->constant() || !zero->constant()) return nullptr;
  const Tensor &codes = *value->constant(), &zeros = *zero->constant();
  const Dims& dims = codes.dims();
  if ((codes.dtype() != DType::kInt8 && codes.dtype() != DType::kUInt8) || dims.rank() != 3 ||
      codes.count() == 0 || scale->constant()->dtype() != DType::kFloat32 ||
      zeros.dtype() != codes.dtype() || zeros.count() != scale->constant()->count())
    return nullptr;
  const int64_t directions = dims[0], columns = dims[1], width = dims[2], rows = directions * width;
  const Tensor scales = scale->constant()->Aligned();
  const int64_t each = scales.count() == rows ? 1 : scales.count() == directions ? width : 0;
  if (each == 0) return nullptr;
  for (int64_t i = 0; i < scales.count(); ++i) {
    if (const float s = scales.data<float>()[i]; !(s > 0 && std::isfinite(s))) return nullptr;
  }
  const bool one = directions == 1;
  auto turned = Tensor::Allocate(codes.dtype(), one ? Dims{1, width, columns} : Dims{rows, columns});
  auto row_scales = Tensor::Allocate(DType::kFloat32, {rows});
  auto row_zeros = Tensor::Allocate(codes.dtype(), {rows});
  if (!turned.ok() || !row_scales.ok() || !row_zeros.ok()) return nullptr;
  for (int64_t row = 0; row < rows; ++row) {
    const uint8_t* from = codes.bytes().data() + row / width * columns * width + row % width;
    for (int64_t c = 0; c < columns; ++c)
      turned->mutable_data()[row * columns + c] = from[c * width];
    std::memcpy(row_scales->mutable_data() + row * 4, scales.data<float>() + row / each, 4);
    row_zeros->mutable_data()[row] = zeros.bytes()[static_cast<size_t>(row / each)];
  }
  Value* floats = u.Emit(
      n, "Dequantize",
      {u.Constant(n, "codes", std::move(*turned)), u.Constant(n, "scales", std::move(*row_scales)),
       u.Constant(n, "zeros", std::move(*row_zeros))},
      {{"axis", int64_t{one ? 1 : 0}},
       {"bits", int64_t{8}},
       {"signed", int64_t{codes.dtype() == DType::kInt8}}},
      ir::kSlipwayDomain);
  if (one) return floats;
  return u.Emit(n, "Reshape",
                {floats, u.Ints(n, "shape", std::array<int64_t, 3>{directions, width, columns})});
}

// LSTM with int8 weights [directions, inputs, 4 * hidden], by what the codes mean: ONNX Runtime
// also quantizes the inputs and states of every step, which is not repeated here. X, W, R, B?,
// lengths?, h?, c?, P?, W scale, W zero, R scale, R zero
Status DynamicQuantizeLSTM(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 3));
  Value* real[2];
  for (size_t i = 0; i < 2; ++i) {
    Value *codes = n.input(1 + i), *scale = n.input(8 + 2 * i), *zero = n.input(9 + 2 * i);
    if (!scale || !zero)
      return InvalidArgument(n.Describe() + " needs scales and zero points of its weights");
    if (Value* rows = DequantizedRows(n, u, codes, scale, zero)) {
      real[i] = rows;
      continue;
    }
    Value* shape =
        u.Ints(n, "shape", std::array<int64_t, 3>{0, 1, -1});  // a scale a direction or a row
    auto as_float = [&](Value* v) {
      return u.Emit(n, "Cast", {v}, {{"to", static_cast<int64_t>(DType::kFloat32)}});
    };
    Value* steps =
        u.Emit(n, "Sub", {as_float(codes), as_float(u.Emit(n, "Reshape", {zero, shape}))});
    Value* w = u.Emit(n, "Mul", {steps, u.Emit(n, "Reshape", {scale, shape})});
    real[i] = u.Emit(n, "Transpose", {w}, {{"perm", std::vector<int64_t>{0, 2, 1}}});
  }
  std::vector<Value*> inputs{n.input(0), real[0], real[1]};
  for (size_t i = 3; i < 8; ++i) inputs.push_back(n.input(i));
  while (!inputs.back()) inputs.pop_back();
  return Become(n, "LSTM", std::move(inputs), n.attributes);
}

// Rows of a table of packed codes, blocked along the last axis: embeddings of quantized language
// models. data, indices, scales, zero points?
Status GatherBlockQuantized(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 3));
  const int64_t bits = n.attributes.Int("bits", 4), block = n.attributes.Int("block_size", 128);
  const Tensor *packed = n.input(0)->constant(), *scales = n.input(2)->constant();
  const Tensor* given = n.input(3) ? n.input(3)->constant() : nullptr;
  if (!packed || !scales || (n.input(3) && !given))
    return Unsupported(n.Describe() + ": its table, scales and zero points must be constants");
  if (packed->dtype() != DType::kUInt8 || (bits != 4 && bits != 8) || packed->dims().rank() < 2) {
    return Unsupported(n.Describe() + ": its table must be uint8 with 4 or 8 bits a code, not " +
                       DTypeName(packed->dtype()) + " with " + std::to_string(bits));
  }
  const int last = packed->dims().rank() - 1;
  const int64_t axis = n.attributes.Int("quantize_axis", 1);
  if (axis != last && axis != -1)
    return Unsupported(n.Describe() + ": quantize_axis must be the last axis of its table");
  const int64_t bytes = packed->dims().back(), columns = bytes * (8 / bits);
  const int64_t rows = bytes == 0 ? 0 : packed->count() / bytes;
  const int64_t blocks = block > 0 ? (columns + block - 1) / block : 0;
  if (blocks < 1 || scales->dims().rank() != packed->dims().rank() ||
      scales->count() != rows * blocks || scales->dims().back() != blocks) {
    return InvalidArgument(n.Describe() + ": scales " + scales->dims().ToString() +
                           " do not fit the table " + packed->dims().ToString() + " in blocks of " +
                           std::to_string(block));
  }
  SLIPWAY_ASSIGN_OR_RETURN(Tensor codes,
                           UnpackRows(n, *packed, rows, columns, bytes, static_cast<int>(bits)));
  Tensor zeros;
  if (given) {
    SLIPWAY_ASSIGN_OR_RETURN(zeros, UnpackRows(n, *given, rows, blocks, (blocks * bits + 7) / 8,
                                               static_cast<int>(bits)));
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(zeros, Tensor::Allocate(DType::kUInt8, {rows, blocks}));
    std::fill_n(zeros.mutable_data(), zeros.bytes().size(), static_cast<uint8_t>(1 << (bits - 1)));
  }
  Dims wide = packed->dims();
  wide[static_cast<size_t>(last)] = columns;
  Value* table =
      u.Emit(n, "Dequantize",
             {u.Constant(n, "codes", codes.Reshaped(wide)), n.input(2),
              u.Constant(n, "zeros", zeros.Reshaped(scales->dims()))},
             {{"axis", int64_t{-1}}, {"bits", bits}, {"group", block}, {"signed", int64_t{0}}},
             ir::kSlipwayDomain);
  return Become(n, "Gather", {table, n.input(1)}, {{"axis", n.attributes.Int("gather_axis", 0)}});
}

// As in the default domain, with int4 and int16 codes from the start.
Status ContribQuantizeLinear(OldNode& n, Upgrader& u) { return QuantizeLinear(n, u); }
Status ContribDequantizeLinear(OldNode& n, Upgrader& u) { return DequantizeLinear(n, u); }

constexpr ContribRow kRows[] = {
    {"DequantizeLinear", ContribDequantizeLinear},
    {"DynamicQuantizeMatMul", DynamicQuantizeMatMul},
    {"GatherBlockQuantized", GatherBlockQuantized},
    {"MatMulIntegerToFloat", MatMulIntegerToFloat},
    {"DynamicQuantizeLSTM", DynamicQuantizeLSTM},
    {"MatMulNBits", MatMulNBits},
    {"QGemm", QGemm},
    {"QLinearAdd", QLinearBinary},
    {"QLinearAveragePool", QLinearPool},
    {"QLinearConcat", QLinearConcat},
    {"QLinearGlobalAveragePool", QLinearPool},
    {"QLinearLeakyRelu", QLinearUnary},
    {"QLinearMul", QLinearBinary},
    {"QLinearReduceMean", QLinearReduceMean},
    {"QLinearSigmoid", QLinearUnary},
    {"QLinearSoftmax", QLinearSoftmax},
    {"QLinearWhere", QLinearWhere},
    {"QuantizeLinear", ContribQuantizeLinear},
    {"ReduceSumInteger", ReduceSumInteger},
};

}  // namespace

std::span<const ContribRow> MicrosoftQuantized() { return kRows; }

}  // namespace slipway::onnx
