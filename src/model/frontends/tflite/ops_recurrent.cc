// Operators with state: SVDF, RNN and LSTM, one step or a whole sequence. Sequences of known length
// are unrolled.

#include <algorithm>

#include "model/frontends/tflite/builder.h"
#include "model/frontends/tflite/weights.h"

namespace slipway::tflite {
namespace {

using B = fb::BuiltinOperator;

// A sequence becomes this many copies of its cell at most.
constexpr int64_t kMostSteps = 512;

// Inputs: x [B, I], features [F, I], time [F, M], bias [F / rank]?, state [B, F * M].
void Svdf(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_SVDFOptions());
  Builder& b = op.b;
  const TensorInfo &features = op.in(1), &time = op.in(2);
  if (features.shape.rank() != 2 || time.shape.rank() != 2)
    return op.Invalid("the weights must have two dimensions");
  const int64_t filters = features.shape[0], memory = time.shape[1], rank = o.rank();
  if (rank < 1 || filters < 1 || memory < 1 || filters % rank != 0 || time.shape[0] != filters)
    return op.Invalid("the weights " + features.shape.ToString() + " and " + time.shape.ToString() +
                      " do not fit rank " + std::to_string(rank));
  const int32_t state_index = op.in_index(4);
  const TensorInfo& state_info = b.tensor(state_index);
  Value* state = b.State(state_index, true);
  Value* x = op.Real(0);
  if (b.failed()) return;
  // The newest activation comes last, the oldest goes.
  Value* newest = b.Emit("Gemm", {x, Weights(op, 1, {0, 1})}, {{"transB", int64_t{1}}});
  if (b.IsQuantized(state_index)) newest = b.Dequantize(b.Quantize(newest, state_info), state_info);
  newest = b.Emit("Unsqueeze", {newest, b.Int64s({2})});
  Value* history = b.Reshape(state, {-1, filters, memory});
  Value* kept = b.Emit("Slice", {history, b.Int64s({1}), b.Int64s({memory}), b.Int64s({2})});
  Value* next = memory > 1 ? b.Emit("Concat", {kept, newest}, {{"axis", int64_t{2}}}) : newest;
  Value* sums = b.Emit("ReduceSum", {b.Emit("Mul", {next, Weights(op, 2, {0, 1})}), b.Int64s({2})},
                       {{"keepdims", int64_t{0}}});
  Value* y = sums;
  if (rank > 1) {
    y = b.Emit("ReduceSum", {b.Reshape(sums, {-1, filters / rank, rank}), b.Int64s({2})},
               {{"keepdims", int64_t{0}}});
  }
  if (op.has(3)) {
    // Integer biases count in steps of the scales of the state and of the weights of time.
    y = b.Emit("Add", {y, Bias(op, 3, 4, 2)});
  }
  b.SetState(state_index, b.Reshape(next, {-1, filters * memory}));
  op.SetReal(op.Activate(y, o.activation()));
}

// A step of a cell: x [B, I] and the state in, y [B, H] and the state out.
struct State {
  Value *h = nullptr, *c = nullptr;
};

// The weights of an LSTM; null where absent.
struct Lstm {
  Value *x[4] = {}, *h[4] = {}, *peephole[4] = {}, *bias[4] = {}, *norm[4] = {};  // i, f, c, o
  Value *projection = nullptr, *projection_bias = nullptr;
  fb::Activation activation = fb::Activation::TANH;
  float cell_clip = 0, projection_clip = 0;
};

Value* ClipTo(Builder& b, Value* v, float limit) {
  return limit > 0 ? b.Emit("Clip", {v, b.Float(-limit), b.Float(limit)}) : v;
}

Value* Product(Builder& b, Value* x, Value* w, Value* bias) {
  std::vector<Value*> inputs = {x, w};
  if (bias) inputs.push_back(bias);
  return b.Emit("Gemm", inputs, {{"transB", int64_t{1}}});
}

State LstmStep(Op& op, const Lstm& w, Value* x, const State& s) {
  Builder& b = op.b;
  auto gate = [&](int g, Value* cell) {
    const bool normal = w.norm[g] != nullptr;
    Value* v = b.Emit("Add", {Product(b, x, w.x[g], normal ? nullptr : w.bias[g]),
                              Product(b, s.h, w.h[g], nullptr)});
    if (w.peephole[g] && cell) v = b.Emit("Add", {v, b.Emit("Mul", {cell, w.peephole[g]})});
    if (normal) {
      std::vector<Value*> inputs = {v, w.norm[g]};
      if (w.bias[g]) inputs.push_back(w.bias[g]);
      v = b.Emit("LayerNormalization", inputs, {{"axis", int64_t{-1}}, {"epsilon", 1e-8f}});
    }
    return v;
  };
  Value* forget = b.Emit("Sigmoid", {gate(1, s.c)});
  // Coupled gates: what is not forgotten comes in.
  Value* input = w.x[0] ? b.Emit("Sigmoid", {gate(0, s.c)}) : b.Emit("Sub", {b.Float(1), forget});
  Value* update = op.Activate(gate(2, nullptr), w.activation);
  State next;
  next.c = ClipTo(b, b.Emit("Add", {b.Emit("Mul", {forget, s.c}), b.Emit("Mul", {input, update})}),
                  w.cell_clip);
  Value* output = b.Emit("Sigmoid", {gate(3, next.c)});
  next.h = b.Emit("Mul", {output, op.Activate(next.c, w.activation)});
  if (w.projection)
    next.h = ClipTo(b, Product(b, next.h, w.projection, w.projection_bias), w.projection_clip);
  return next;
}

Value* OptionalReal(Op& op, size_t i) { return op.has(i) ? op.Real(i) : nullptr; }

// Integer cells (int8 activations, int16 cell state) are taken by what their numbers mean: gates
// are computed in float, the two states and the output rounded to their own steps. TFLite's kernels
// round gates and products too, so results may differ in the last codes.
bool IsIntegerCell(Op& op) { return !IsFloating(op.in(0).dtype); }

// The real numbers that a state of an integer cell can hold; of a float one the value itself.
Value* Rounded(Op& op, Value* v, int32_t state) {
  if (!op.b.IsQuantized(state)) return v;
  return op.b.Dequantize(op.b.Quantize(v, op.b.tensor(state)), op.b.tensor(state));
}

// Weights in the order of TFLite's inputs from `first`: x (i f c o), h, peepholes (i f o), biases,
// projection, its bias.
Lstm ReadLstm(Op& op, size_t first) {
  Lstm w;
  auto matrix = [&](size_t i) { return op.has(i) ? Weights(op, i, {0, 1}) : nullptr; };
  for (size_t g = 0; g < 4; ++g) {
    for (size_t i : {first + g, first + 4 + g}) {
      if (op.has(i) && op.in(i).shape.rank() != 2)
        op.Invalid("weights " + std::to_string(i) + " must have two dimensions");
      if (!op.has(i) && g != 0) op.Invalid("weights " + std::to_string(i) + " are missing");
    }
    if (op.b.failed()) return w;
    w.x[g] = matrix(first + g);
    w.h[g] = matrix(first + 4 + g);
    const size_t bias = first + 11 + g;
    w.bias[g] =
        op.has(bias) && IsIntegerCell(op) ? Bias(op, bias, 0, first + g) : OptionalReal(op, bias);
  }
  if ((w.x[0] == nullptr) != (w.h[0] == nullptr))
    op.Invalid("the input gate has only one of its two weights");
  w.peephole[0] = OptionalReal(op, first + 8);
  w.peephole[1] = OptionalReal(op, first + 9);
  w.peephole[3] = OptionalReal(op, first + 10);
  if (op.has(first + 15) && op.in(first + 15).shape.rank() != 2)
    op.Invalid("the projection must have two dimensions");
  if (op.b.failed()) return w;
  w.projection = matrix(first + 15);
  w.projection_bias = OptionalReal(op, first + 16);
  return w;
}

// The steps of x along its time dimension, and back.
struct Steps {
  std::vector<Value*> x;
  int64_t axis = 0;
};

Steps Unroll(Op& op, bool time_major) {
  Steps s;
  Value* x = op.Real(0);
  s.axis = time_major ? 0 : 1;
  if (op.b.Rank(x) != 3) {
    op.Invalid("the input must have three dimensions");
    return s;
  }
  const auto count = op.b.Extent(x, static_cast<size_t>(s.axis));
  if (!count || *count < 1 || *count > kMostSteps) {
    op.Unsupported("sequences are unrolled: their length must be known and at most " +
                   std::to_string(kMostSteps) + "; fix the input shape of the model");
    return s;
  }
  const auto parts = op.b.EmitMany("Split", {x}, {{"axis", s.axis}, {"num_outputs", *count}},
                                   static_cast<size_t>(*count));
  for (Value* part : parts) s.x.push_back(op.b.Emit("Squeeze", {part, op.b.Int64s({s.axis})}));
  return s;
}

Value* Join(Op& op, const Steps& s, const std::vector<Value*>& y) {
  std::vector<Value*> parts;
  for (Value* v : y) parts.push_back(op.b.Emit("Unsqueeze", {v, op.b.Int64s({s.axis})}));
  return op.b.Emit("Concat", parts, {{"axis", s.axis}});
}

bool IsFloatCell(Op& op) {
  if (!IsIntegerCell(op)) return true;
  op.Unsupported(
      "fully quantized cells of this kind are not supported; convert with float activations "
      "(dynamic range or float16)");
  return false;
}

// Whether an LSTM is one of floats, or of integers as far as IsIntegerCell goes.
bool IsKnownLstm(Op& op) {
  if (!IsIntegerCell(op)) return true;
  if (!op.b.IsQuantized(op.in_index(0))) {
    op.Invalid("its integer input has no scale");
    return false;
  }
  const char* what = op.has(20) || op.has(21) || op.has(22) || op.has(23) ? "layer normalisation"
                     : op.has(17) ? "a bias of the projection"
                                  : nullptr;
  if (!what) return true;
  op.Unsupported("a fully quantized LSTM with " + std::string(what) +
                 " is not supported; convert with float activations (dynamic range or float16)");
  return false;
}

void LstmCell(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_LSTMOptions());
  if (o.kernel_type() != fb::LSTMKernelType::FULL) {
    return op.Unsupported(
        "the basic LSTM kernel is not supported; convert with a newer TensorFlow, which writes "
        "UNIDIRECTIONAL_SEQUENCE_LSTM");
  }
  if (!IsKnownLstm(op)) return;
  Lstm w = ReadLstm(op, 1);
  w.activation = o.activation();
  w.cell_clip = o.cell_clip();
  w.projection_clip = o.proj_clip();
  for (size_t g = 0; g < 4; ++g) w.norm[g] = OptionalReal(op, 20 + g);
  const int32_t h = op.in_index(18), c = op.in_index(19);
  const State s{op.b.State(h, true), op.b.State(c, true)};
  if (op.b.failed()) return;
  State next = LstmStep(op, w, op.Real(0), s);
  next = {Rounded(op, next.h, h), Rounded(op, next.c, c)};
  op.b.SetState(h, next.h);
  op.b.SetState(c, next.c);
  // Three outputs of the oldest form are scratch and the states; the last is y.
  const size_t count = op.num_outputs();
  if (count > 1) {
    if (count != 4) return op.Invalid("it must have one or four outputs");
    op.SetReal(next.h, 1);
    op.SetReal(next.c, 2);
    op.SetReal(op.b.Emit("Identity", {next.c}), 0);
  }
  op.SetReal(count > 1 ? op.b.Emit("Identity", {next.h}) : next.h, count - 1);
}

void SequenceLstm(Op& op) {
  const auto& o =
      op.Options(op.info.options->builtin_options_as_UnidirectionalSequenceLSTMOptions());
  if (!IsKnownLstm(op)) return;
  Lstm w = ReadLstm(op, 1);
  w.activation = o.activation();
  w.cell_clip = o.cell_clip();
  w.projection_clip = o.proj_clip();
  for (size_t g = 0; g < 4; ++g) w.norm[g] = OptionalReal(op, 20 + g);
  const int32_t h = op.in_index(18), c = op.in_index(19);
  State s{op.b.State(h, false), op.b.State(c, false)};
  const Steps steps = Unroll(op, o.time_major());
  std::vector<Value*> y;
  for (Value* x : steps.x) {
    if (op.b.failed()) return;
    s = LstmStep(op, w, x, s);
    s = {Rounded(op, s.h, h), Rounded(op, s.c, c)};
    y.push_back(s.h);
  }
  if (op.b.failed()) return;
  op.b.SetState(h, s.h);
  op.b.SetState(c, s.c);
  op.SetReal(Join(op, steps, y));
}

// Two LSTMs, the second from the last step to the first. Inputs as two of the above, then four
// states.
void BidirectionalLstm(Op& op) {
  const auto& o =
      op.Options(op.info.options->builtin_options_as_BidirectionalSequenceLSTMOptions());
  if (!IsFloatCell(op)) return;
  for (size_t i = 39; i < op.num_inputs(); ++i) {
    if (op.has(i)) return op.Unsupported("auxiliary inputs are not supported");
  }
  const Steps steps = Unroll(op, o.time_major());
  std::vector<Value*> y[2];
  for (size_t direction : {0, 1}) {
    if (op.b.failed()) return;
    Lstm w = ReadLstm(op, 1 + 17 * direction);
    w.activation = o.activation();
    w.cell_clip = o.cell_clip();
    w.projection_clip = o.proj_clip();
    const int32_t h = op.in_index(35 + 2 * direction), c = op.in_index(36 + 2 * direction);
    State s{op.b.State(h, false), op.b.State(c, false)};
    const size_t count = steps.x.size();
    for (size_t t = 0; t < count; ++t) {
      if (op.b.failed()) return;
      s = LstmStep(op, w, steps.x[direction == 0 ? t : count - 1 - t], s);
      y[direction].push_back(s.h);
    }
    op.b.SetState(h, s.h);
    op.b.SetState(c, s.c);
    if (direction == 1) std::reverse(y[1].begin(), y[1].end());
  }
  if (op.b.failed()) return;
  Value *forward = Join(op, steps, y[0]), *backward = Join(op, steps, y[1]);
  if (o.merge_outputs())
    return op.SetReal(op.b.Emit("Concat", {forward, backward}, {{"axis", int64_t{2}}}));
  op.SetReal(forward, 0);
  op.SetReal(backward, 1);
}

// y = activation(x W^T + h R^T + b). Inputs from `first`: W, R, b.
Value* RnnStep(Op& op, size_t first, Value* x, Value* h, fb::Activation activation) {
  Value* sum = op.b.Emit("Add", {Product(op.b, x, Weights(op, first, {0, 1}), op.Real(first + 2)),
                                 Product(op.b, h, Weights(op, first + 1, {0, 1}), nullptr)});
  return op.Activate(sum, activation);
}

bool AreMatrices(Op& op, size_t first) {
  for (size_t i : {first, first + 1}) {
    if (op.in(i).shape.rank() != 2)
      op.Invalid("weights " + std::to_string(i) + " must have two dimensions");
  }
  return !op.b.failed();
}

void RnnCell(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_RNNOptions());
  if (!IsFloatCell(op) || !AreMatrices(op, 1)) return;
  const int32_t index = op.in_index(4);
  Value* h = op.b.State(index, true);
  Value* y = RnnStep(op, 1, op.Real(0), h, o.activation());
  op.b.SetState(index, y);
  op.SetReal(y);
}

void SequenceRnn(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_SequenceRNNOptions());
  if (!IsFloatCell(op) || !AreMatrices(op, 1)) return;
  const int32_t index = op.in_index(4);
  Value* h = op.b.State(index, false);
  const Steps steps = Unroll(op, o.time_major());
  std::vector<Value*> y;
  for (Value* x : steps.x) {
    if (op.b.failed()) return;
    y.push_back(h = RnnStep(op, 1, x, h, o.activation()));
  }
  if (op.b.failed()) return;
  op.b.SetState(index, h);
  op.SetReal(Join(op, steps, y));
}

}  // namespace

void AddRecurrent(HandlerTable* table) {
  auto& t = *table;
  t[B::SVDF] = &Svdf;
  t[B::LSTM] = &LstmCell;
  t[B::UNIDIRECTIONAL_SEQUENCE_LSTM] = &SequenceLstm;
  t[B::BIDIRECTIONAL_SEQUENCE_LSTM] = &BidirectionalLstm;
  t[B::RNN] = &RnnCell;
  t[B::UNIDIRECTIONAL_SEQUENCE_RNN] = &SequenceRnn;
}

}  // namespace slipway::tflite
