// Elementwise operators, activations, comparisons, and conversions between number systems.

#include <algorithm>
#include <cmath>

#include "model/frontends/tflite/builder.h"

namespace slipway::tflite {
namespace {

using B = fb::BuiltinOperator;

// Operands that broadcast against each other, in one layout.
struct Operands {
  std::vector<Value*> values;
  bool nchw = false;
};

// Input i as NCHW when that is possible: images, tensors of rank 4, scalars, and lower ranks of
// known extents (which stand for the last dimensions of NHWC). Null when not.
Value* AsImage(Op& op, size_t i) {
  Builder& b = op.b;
  const int32_t index = op.in_index(i);
  if (b.IsImage(index)) return op.Real(i, true);
  // Codes of constants are rearranged below their Dequantize, so that integer operators find them.
  const bool codes =
      b.IsQuantized(index) && b.ConstantOf(index) && b.tensor(index).quantization.scale.size() == 1;
  Value* v = codes ? op.Raw(i) : op.Real(i);
  const auto& shape = v->type().shape;
  if (!shape) return nullptr;
  if (shape->size() > 4) return nullptr;
  const auto extents = b.Extents(v);
  const bool one =
      extents && std::all_of(extents->begin(), extents->end(), [](int64_t d) { return d == 1; });
  if (!one && shape->size() < 4) {
    if (!extents) return nullptr;
    Ints full(4 - extents->size(), 1);
    full.insert(full.end(), extents->begin(), extents->end());
    v = b.Reshape(v, full);
  }
  if (!one || shape->size() == 4) v = b.Nchw(v);
  return codes ? b.Dequantize(v, b.tensor(index)) : v;
}

Operands ReadOperands(Op& op, size_t count) {
  Operands out;
  bool image = false;
  for (size_t i = 0; i < count; ++i) image |= op.has(i) && op.b.IsImage(op.info.inputs[i]);
  if (image) {
    for (size_t i = 0; i < count; ++i) {
      Value* v = AsImage(op, i);
      if (!v) break;
      out.values.push_back(v);
    }
    out.nchw = out.values.size() == count;
    if (out.nchw) return out;
    out.values.clear();
  }
  for (size_t i = 0; i < count; ++i) out.values.push_back(op.Real(i));
  return out;
}

// --- one input -----------------------------------------------------------------------------------

const char* UnaryName(B code) {
  switch (code) {
    case B::ABS:
      return "Abs";
    case B::CEIL:
      return "Ceil";
    case B::COS:
      return "Cos";
    case B::EXP:
      return "Exp";
    case B::FLOOR:
      return "Floor";
    case B::HARD_SWISH:
      return "HardSwish";
    case B::LOG:
      return "Log";
    case B::LOGICAL_NOT:
      return "Not";
    case B::LOGISTIC:
      return "Sigmoid";
    case B::NEG:
      return "Neg";
    case B::RELU:
      return "Relu";
    case B::ROUND:
      return "Round";
    case B::SIGN:
      return "Sign";
    case B::SIN:
      return "Sin";
    case B::SQRT:
      return "Sqrt";
    case B::TANH:
      return "Tanh";
    default:
      return nullptr;
  }
}

// A function of one element in whatever layout the input has.
template <typename F>
void Map(Op& op, F&& f) {
  Operands in = ReadOperands(op, 1);
  if (op.b.failed()) return;
  op.SetReal(f(in.values[0]), 0, in.nchw);
}

void Unary(Op& op) {
  Map(op, [&](Value* x) { return op.b.Emit(UnaryName(op.info.code), {x}); });
}

void Clip(Op& op, double lo, double hi) {
  Map(op, [&](Value* x) {
    return op.b.Emit("Clip", {x, op.b.ScalarLike(x, lo), op.b.ScalarLike(x, hi)});
  });
}

void Rsqrt(Op& op) {
  Map(op, [&](Value* x) { return op.b.Emit("Reciprocal", {op.b.Emit("Sqrt", {x})}); });
}

void Square(Op& op) {
  Map(op, [&](Value* x) { return op.b.Emit("Mul", {x, x}); });
}

void LeakyRelu(Op& op) {
  const float alpha = op.Options(op.info.options->builtin_options_as_LeakyReluOptions()).alpha();
  Map(op, [&](Value* x) { return op.b.Emit("LeakyRelu", {x}, {{"alpha", alpha}}); });
}

void Elu(Op& op) {
  Map(op, [&](Value* x) { return op.b.Emit("Elu", {x}); });
}

void Gelu(Op& op) {
  const bool tanh = op.Options(op.info.options->builtin_options_as_GeluOptions()).approximate();
  Map(op, [&](Value* x) {
    return op.b.Emit("Gelu", {x}, {{"approximate", std::string(tanh ? "tanh" : "none")}});
  });
}

// --- along the last axis -------------------------------------------------------------------------

// `f(x, axis of the channels)`.
template <typename F>
void AlongChannels(Op& op, F&& f) {
  const bool nchw = op.b.IsImage(op.in_index(0));
  Value* x = op.Real(0, nchw);
  if (op.b.failed()) return;
  op.SetReal(f(x, nchw ? int64_t{1} : int64_t{-1}), 0, nchw);
}

void Softmax(Op& op) {
  const auto* options = op.info.options->builtin_options_as_SoftmaxOptions();
  const float beta = options ? options->beta() : 1;
  AlongChannels(op, [&](Value* x, int64_t axis) {
    if (beta != 1) x = op.b.Emit("Mul", {x, op.b.Float(beta)});
    return op.b.Emit("Softmax", {x}, {{"axis", axis}});
  });
}

void LogSoftmax(Op& op) {
  AlongChannels(op, [&](Value* x, int64_t axis) {
    return op.b.Emit("LogSoftmax", {x}, {{"axis", axis}});
  });
}

void L2Normalization(Op& op) {
  const auto activation =
      op.Options(op.info.options->builtin_options_as_L2NormOptions()).activation();
  AlongChannels(op, [&](Value* x, int64_t axis) {
    Value* norm = op.b.Emit("ReduceL2", {x, op.b.Int64s({axis})});
    return op.Activate(op.b.Emit("Div", {x, op.b.Emit("Max", {norm, op.b.Float(1e-6f)})}),
                       activation);
  });
}

void LocalResponseNormalization(Op& op) {
  const auto& o =
      op.Options(op.info.options->builtin_options_as_LocalResponseNormalizationOptions());
  if (o.radius() < 0 || o.radius() > 1 << 20)
    return op.Invalid("radius " + std::to_string(o.radius()) + " is impossible");
  if (!op.b.IsImage(op.in_index(0)) && op.b.Rank(op.Real(0)) != 4)
    return op.Invalid("the input must have four dimensions");
  const int64_t size = 2 * int64_t{o.radius()} + 1;
  // ONNX divides alpha by the size of the window.
  Value* y = op.b.Emit("LRN", {op.Real(0, true)},
                       {{"size", size},
                        {"alpha", o.alpha() * static_cast<float>(size)},
                        {"beta", o.beta()},
                        {"bias", o.bias()}});
  op.SetReal(y, 0, true);
}

// --- two inputs ----------------------------------------------------------------------------------

fb::Activation FusedActivation(Op& op) {
  switch (op.info.code) {
    case B::ADD:
      return op.Options(op.info.options->builtin_options_as_AddOptions()).activation();
    case B::SUB:
      return op.Options(op.info.options->builtin_options_as_SubOptions()).activation();
    case B::MUL:
      return op.Options(op.info.options->builtin_options_as_MulOptions()).activation();
    case B::DIV:
      return op.Options(op.info.options->builtin_options_as_DivOptions()).activation();
    default:
      return fb::Activation::NONE;
  }
}

const char* BinaryName(B code) {
  switch (code) {
    case B::ADD:
      return "Add";
    case B::SUB:
      return "Sub";
    case B::MUL:
      return "Mul";
    case B::DIV:
      return "Div";
    case B::MAXIMUM:
      return "Max";
    case B::MINIMUM:
      return "Min";
    case B::POW:
      return "Pow";
    case B::PRELU:
      return "PRelu";
    case B::LOGICAL_AND:
      return "And";
    case B::LOGICAL_OR:
      return "Or";
    case B::EQUAL:
      return "Equal";
    case B::LESS:
      return "Less";
    case B::LESS_EQUAL:
      return "LessOrEqual";
    case B::GREATER:
      return "Greater";
    case B::GREATER_EQUAL:
      return "GreaterOrEqual";
    default:
      return nullptr;
  }
}

void Binary(Op& op) {
  Operands in = ReadOperands(op, 2);
  if (op.b.failed()) return;
  op.SetReal(op.Activate(op.b.Emit(BinaryName(op.info.code), in.values), FusedActivation(op)), 0,
             in.nchw);
}

void NotEqual(Op& op) {
  Operands in = ReadOperands(op, 2);
  if (op.b.failed()) return;
  op.SetReal(op.b.Emit("Not", {op.b.Emit("Equal", in.values)}), 0, in.nchw);
}

void SquaredDifference(Op& op) {
  Operands in = ReadOperands(op, 2);
  if (op.b.failed()) return;
  Value* d = op.b.Emit("Sub", in.values);
  op.SetReal(op.b.Emit("Mul", {d, d}), 0, in.nchw);
}

void AddN(Op& op) {
  if (op.num_inputs() == 0) return op.Invalid("it has no inputs");
  Operands in = ReadOperands(op, op.num_inputs());
  if (op.b.failed()) return;
  op.SetReal(op.b.Emit("Sum", in.values), 0, in.nchw);
}

void FloorDiv(Op& op) {
  Operands in = ReadOperands(op, 2);
  if (op.b.failed()) return;
  Builder& b = op.b;
  Value *x = in.values[0], *y = in.values[1];
  if (IsFloating(x->dtype()))
    return op.SetReal(b.Emit("Floor", {b.Emit("Div", in.values)}), 0, in.nchw);
  // Integer division rounds toward zero: take the remainder, which has the divisor's sign, away
  // first.
  op.SetReal(b.Emit("Div", {b.Emit("Sub", {x, b.Emit("Mod", in.values)}), y}), 0, in.nchw);
}

void FloorMod(Op& op) {
  Operands in = ReadOperands(op, 2);
  if (op.b.failed()) return;
  Builder& b = op.b;
  Value *x = in.values[0], *y = in.values[1];
  if (!IsFloating(x->dtype())) return op.SetReal(b.Emit("Mod", in.values), 0, in.nchw);
  // fmod has the sign of x; where that is not y's sign, y is added.
  Value* m = b.Emit("Mod", {x, y}, {{"fmod", int64_t{1}}});
  Value* zero = b.Float(0);
  Value* differs = b.Emit("Xor", {b.Emit("Less", {y, zero}), b.Emit("Less", {m, zero})});
  Value* wrong = b.Emit("And", {b.Emit("Not", {b.Emit("Equal", {m, zero})}), differs});
  op.SetReal(b.Emit("Where", {wrong, b.Emit("Add", {m, y}), m}), 0, in.nchw);
}

// SELECT also takes a vector that chooses rows.
void Select(Op& op) {
  Value *condition = op.Raw(0), *x = op.Real(1), *y = op.Real(2);
  const int rank = op.b.Rank(condition), of_x = op.b.Rank(x);
  if (rank < 0 || of_x < 0) return;
  if (op.info.code == B::SELECT && rank == 1 && of_x > 1) {
    Ints shape(static_cast<size_t>(of_x), 1);
    shape[0] = -1;
    condition = op.b.Reshape(condition, shape);
  }
  op.SetReal(op.b.Emit("Where", {condition, x, y}));
}

// --- conversions ---------------------------------------------------------------------------------

void Requantize(Op& op) {
  const bool nchw = op.b.IsImage(op.in_index(0));
  if (op.info.code == B::QUANTIZE && !op.b.IsQuantized(op.out_index())) {
    return op.Invalid("its output '" + op.b.TensorName(op.out_index()) +
                      "' has no scale or is no integer tensor");
  }
  op.SetReal(op.Real(0, nchw), 0, nchw);
}

void Cast(Op& op) {
  const bool nchw = op.b.IsImage(op.in_index(0));
  const DType to = op.out().dtype;
  if (!IsKnown(to) || to == DType::kInt4)
    return op.Unsupported("a cast to " + TypeName(op.out().type) + " is not supported");
  Value* x = op.Raw(0, nchw);
  Value* y = op.b.Emit("Cast", {x}, {{"to", static_cast<int64_t>(to)}});
  op.SetRaw(y, 0, nchw);
}

// Simulated quantization: to codes and back, with the range moved so that zero is a code.
void FakeQuant(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_FakeQuantOptions());
  if (o.num_bits() < 2 || o.num_bits() > 16)
    return op.Unsupported("num_bits = " + std::to_string(o.num_bits()) + " must be 2 to 16");
  if (!(o.min() <= 0 && o.max() >= 0 && o.max() > o.min()) || !std::isfinite(o.max() - o.min()))
    return op.Invalid("the range must contain 0");
  const int64_t lo = o.narrow_range() ? 1 : 0, hi = (int64_t{1} << o.num_bits()) - 1;
  const float scale = (o.max() - o.min()) / static_cast<float>(hi - lo);
  const auto zero = static_cast<int64_t>(
      std::clamp<double>(std::round(static_cast<double>(lo) -
                                    static_cast<double>(o.min()) / static_cast<double>(scale)),
                         static_cast<double>(lo), static_cast<double>(hi)));
  Attributes a{{"bits", int64_t{o.num_bits()}}, {"signed", int64_t{0}}};
  Map(op, [&](Value* x) {
    Value* at = op.b.Constant(o.num_bits() <= 8 ? Tensor::Scalar(static_cast<uint8_t>(zero))
                                                : Tensor::Scalar(static_cast<uint16_t>(zero)));
    // The narrow range has no code 0.
    if (o.narrow_range())
      x = op.b.Emit("Max", {x, op.b.Float(scale * static_cast<float>(lo - zero))});
    Value* codes = op.b.Emit("Quantize", {x, op.b.Float(scale), at}, a, ir::kSlipwayDomain);
    return op.b.Emit("Dequantize", {codes, op.b.Float(scale), at}, a, ir::kSlipwayDomain);
  });
}

// Constants are made dense when they are read (sparse.h).
void MakeDense(Op& op) {
  if (op.in(0).sparsity && !op.in(0).constant) return op.Invalid("its input has no values");
  Value* v = op.b.Raw(op.in_index(0));
  if (!op.b.failed()) op.SetRaw(op.b.Emit("Identity", {v}));
}

}  // namespace

void AddElementwise(HandlerTable* table) {
  auto& t = *table;
  for (B code : {B::ABS, B::CEIL, B::COS, B::EXP, B::FLOOR, B::HARD_SWISH, B::LOG, B::LOGICAL_NOT,
                 B::LOGISTIC, B::NEG, B::RELU, B::ROUND, B::SIGN, B::SIN, B::SQRT, B::TANH})
    t[code] = &Unary;
  for (B code :
       {B::ADD, B::SUB, B::MUL, B::DIV, B::MAXIMUM, B::MINIMUM, B::POW, B::PRELU, B::LOGICAL_AND,
        B::LOGICAL_OR, B::EQUAL, B::LESS, B::LESS_EQUAL, B::GREATER, B::GREATER_EQUAL})
    t[code] = &Binary;
  t[B::RELU6] = [](Op& op) { Clip(op, 0, 6); };
  t[B::RELU_N1_TO_1] = [](Op& op) { Clip(op, -1, 1); };
  t[B::RELU_0_TO_1] = [](Op& op) { Clip(op, 0, 1); };
  t[B::RSQRT] = &Rsqrt;
  t[B::SQUARE] = &Square;
  t[B::LEAKY_RELU] = &LeakyRelu;
  t[B::ELU] = &Elu;
  t[B::GELU] = &Gelu;
  t[B::SOFTMAX] = &Softmax;
  t[B::LOG_SOFTMAX] = &LogSoftmax;
  t[B::L2_NORMALIZATION] = &L2Normalization;
  t[B::LOCAL_RESPONSE_NORMALIZATION] = &LocalResponseNormalization;
  t[B::NOT_EQUAL] = &NotEqual;
  t[B::SQUARED_DIFFERENCE] = &SquaredDifference;
  t[B::ADD_N] = &AddN;
  t[B::FLOOR_DIV] = &FloorDiv;
  t[B::FLOOR_MOD] = &FloorMod;
  t[B::SELECT] = &Select;
  t[B::SELECT_V2] = &Select;
  t[B::QUANTIZE] = &Requantize;
  t[B::DEQUANTIZE] = &Requantize;
  t[B::DENSIFY] = &MakeDense;
  t[B::CAST] = &Cast;
  t[B::FAKE_QUANT] = &FakeQuant;
}

}  // namespace slipway::tflite
