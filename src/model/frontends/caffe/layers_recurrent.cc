// LSTM and RNN, taken apart step by step: `cont` may start a new sequence at any step of any
// stream, which no recurrent operator expresses.

#include "base/checked.h"
#include "model/frontends/caffe/layer.h"

namespace slipway::caffe {
namespace {

using Ints = std::vector<int64_t>;
using Values = std::vector<ir::Value*>;

constexpr int64_t kMostSteps = 512;

// What both layers share: x [T, N, ...], cont [T, N], x_static [N, ...]?, the first states (with
// expose_hidden) [1, N, D] each.
class Recurrence {
 public:
  Recurrence(LayerContext& c, size_t states) : c_(c), states_(states) {}

  Status Read() {
    Params p = c_.Group("recurrent_param");
    p.Ignore({"debug_info"});
    hidden_ = p.Int("num_output", 0, 1, 1 << 20);
    exposed_ = p.Bool("expose_hidden", false);
    if (hidden_ == 0) p.Fail("num_output is missing");
    SLIPWAY_RETURN_IF_ERROR(p.Finish());
    const size_t first = 2 + (exposed_ ? states_ : 0), tops = 1 + (exposed_ ? states_ : 0);
    SLIPWAY_RETURN_IF_ERROR(c_.Require(first, first + 1, tops, tops));
    static_ = c_.num_bottoms() == first + 1;
    if (c_.Rank(0) < 2)
      return c_.Bad(
          "its first bottom needs two dimensions or more: time, streams and what follows");
    const Dims x = c_.BottomShape(0), cont = c_.BottomShape(1);
    steps_ = x[0];
    streams_ = x[1];
    if (cont != Dims{steps_, streams_}) {
      return c_.Bad("the sequence indicators '" + c_.spec().bottoms[1] + "' are " +
                    cont.ToString() + "; expected " + Dims{steps_, streams_}.ToString());
    }
    if (steps_ < 1 || streams_ < 1) return c_.Bad("needs one step and one stream or more");
    if (steps_ > kMostSteps) {
      return Unsupported("has " + std::to_string(steps_) + " steps; at most " +
                         std::to_string(kMostSteps) + " are taken apart: give fewer by --shape");
    }
    for (size_t i = 0; exposed_ && i < states_; ++i) {
      const size_t at = 2 + (static_ ? 1 : 0) + i;
      if (c_.BottomShape(at).count() != streams_ * hidden_) {
        return c_.Bad("the first state '" + c_.spec().bottoms[at] + "' is " +
                      c_.BottomShape(at).ToString() + "; expected " +
                      Dims{1, streams_, hidden_}.ToString());
      }
      SLIPWAY_ASSIGN_OR_RETURN(ir::Value * s, c_.Reshape(c_.bottom(at), {streams_, hidden_}));
      first_.push_back(s);
    }
    SLIPWAY_ASSIGN_OR_RETURN(ir::Value * flat, c_.Reshape(c_.bottom(1), {steps_ * streams_, 1}));
    return SplitRows(flat, &cont_);
  }

  // The layer's input times blob 0 plus blob 1 (`rows` each), plus x_static times blob 2: one value
  // a step.
  Status Project(int64_t rows) {
    const Dims x = c_.BottomShape(0);
    const int64_t n = x.count(2, x.rank());
    SLIPWAY_ASSIGN_OR_RETURN(ir::Value * flat, c_.Reshape(c_.bottom(0), {steps_ * streams_, n}));
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor w, c_.Blob(0, {rows, n}));
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor b, c_.Blob(1, {rows}, Fill::kZero));
    SLIPWAY_ASSIGN_OR_RETURN(
        ir::Value * y,
        c_.Emit("Gemm", {flat, c_.Constant("W_x", std::move(w)), c_.Constant("b", std::move(b))},
                {{"transB", int64_t{1}}}));
    SLIPWAY_RETURN_IF_ERROR(SplitRows(y, &inputs_));
    if (!static_) return OkStatus();
    const Dims s = c_.BottomShape(2);
    if (s.rank() < 1 || s[0] != streams_)
      return c_.Bad("the static input '" + c_.spec().bottoms[2] + "' is " + s.ToString() +
                    "; its first dimension must be " + std::to_string(streams_));
    const int64_t width = s.count(1, s.rank());
    SLIPWAY_ASSIGN_OR_RETURN(flat, c_.Reshape(c_.bottom(2), {streams_, width}));
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor ws, c_.Blob(2, {rows, width}));
    SLIPWAY_ASSIGN_OR_RETURN(ir::Value * more,
                             c_.Emit("Gemm", {flat, c_.Constant("W_x_static", std::move(ws))},
                                     {{"transB", int64_t{1}}}));
    for (ir::Value*& v : inputs_) {
      SLIPWAY_ASSIGN_OR_RETURN(v, c_.Emit("Add", {v, more}));
    }
    return OkStatus();
  }

  // input + weight * (cont * state); the input alone at the first step of a layer without states.
  Result<ir::Value*> Step(int64_t t, ir::Value* state, ir::Value* weight) {
    ir::Value* input = inputs_[static_cast<size_t>(t)];
    if (!state) return input;
    SLIPWAY_ASSIGN_OR_RETURN(ir::Value * going, c_.Emit("Mul", {state, cont(t)}));
    return c_.Emit("Gemm", {going, weight, input}, {{"transB", int64_t{1}}});
  }

  // Rows of all steps, as [T, N, D], to the first top; the last states to the others.
  Status Finish(const Values& rows, const Values& last) {
    ir::Value* y = rows[0];
    if (rows.size() > 1) {
      SLIPWAY_ASSIGN_OR_RETURN(y, c_.Emit("Concat", rows, {{"axis", int64_t{0}}}));
    }
    SLIPWAY_ASSIGN_OR_RETURN(y, c_.Reshape(y, {steps_, streams_, hidden_}));
    c_.SetTop(0, y);
    for (size_t i = 0; exposed_ && i < last.size(); ++i) {
      SLIPWAY_ASSIGN_OR_RETURN(ir::Value * s, c_.Reshape(last[i], {1, streams_, hidden_}));
      c_.SetTop(1 + i, s);
    }
    return OkStatus();
  }

  Result<ir::Value*> Weight(size_t blob, Dims dims, const char* name) {
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor w, c_.Blob(blob, dims));
    return c_.Constant(name, std::move(w));
  }

  int64_t hidden() const { return hidden_; }
  int64_t steps() const { return steps_; }
  size_t with_static() const { return static_ ? 1 : 0; }
  ir::Value* cont(int64_t t) const { return cont_[static_cast<size_t>(t)]; }
  ir::Value* first(size_t i) const { return exposed_ ? first_[i] : nullptr; }

 private:
  // [T * N, K] as T values [N, K].
  Status SplitRows(ir::Value* x, Values* out) {
    if (steps_ == 1) {
      *out = {x};
      return OkStatus();
    }
    SLIPWAY_ASSIGN_OR_RETURN(
        *out, c_.EmitMany("Split", {x, c_.Ints(Ints(static_cast<size_t>(steps_), streams_))},
                          {{"axis", int64_t{0}}}, static_cast<size_t>(steps_)));
    return OkStatus();
  }

  LayerContext& c_;
  size_t states_;
  bool exposed_ = false, static_ = false;
  int64_t hidden_ = 0, steps_ = 0, streams_ = 0;
  Values cont_, inputs_, first_;
};

// Gates in the order i, f, o, g: c = cont * f * c' + i * g, h = o * tanh(c).
Status Lstm(LayerContext& c) {
  Recurrence r(c, 2);
  SLIPWAY_RETURN_IF_ERROR(r.Read());
  const int64_t d = r.hidden();
  SLIPWAY_RETURN_IF_ERROR(c.RequireBlobs(3 + r.with_static()));
  SLIPWAY_RETURN_IF_ERROR(r.Project(4 * d));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * weight, r.Weight(2 + r.with_static(), {4 * d, d}, "W_h"));
  ir::Value *h = r.first(0), *cell = r.first(1);
  Values rows;
  for (int64_t t = 0; t < r.steps(); ++t) {
    SLIPWAY_ASSIGN_OR_RETURN(ir::Value * gates, r.Step(t, h, weight));
    SLIPWAY_ASSIGN_OR_RETURN(
        auto parts, c.EmitMany("Split", {gates, c.Ints({3 * d, d})}, {{"axis", int64_t{1}}}, 2));
    SLIPWAY_ASSIGN_OR_RETURN(ir::Value * open, c.Emit("Sigmoid", {parts[0]}));
    SLIPWAY_ASSIGN_OR_RETURN(
        auto ifo, c.EmitMany("Split", {open, c.Ints({d, d, d})}, {{"axis", int64_t{1}}}, 3));
    SLIPWAY_ASSIGN_OR_RETURN(ir::Value * g, c.Emit("Tanh", {parts[1]}));
    SLIPWAY_ASSIGN_OR_RETURN(ir::Value * fresh, c.Emit("Mul", {ifo[0], g}));
    if (cell) {
      SLIPWAY_ASSIGN_OR_RETURN(ir::Value * f, c.Emit("Mul", {ifo[1], r.cont(t)}));
      SLIPWAY_ASSIGN_OR_RETURN(ir::Value * kept, c.Emit("Mul", {f, cell}));
      SLIPWAY_ASSIGN_OR_RETURN(fresh, c.Emit("Add", {kept, fresh}));
    }
    cell = fresh;
    SLIPWAY_ASSIGN_OR_RETURN(ir::Value * squashed, c.Emit("Tanh", {cell}));
    SLIPWAY_ASSIGN_OR_RETURN(h, c.Emit("Mul", {ifo[2], squashed}));
    rows.push_back(h);
  }
  return r.Finish(rows, {h, cell});
}

// h = tanh(W_h (cont * h') + W_x x + b), y = tanh(W_o h + b_o).
Status Rnn(LayerContext& c) {
  Recurrence r(c, 1);
  SLIPWAY_RETURN_IF_ERROR(r.Read());
  const int64_t d = r.hidden();
  const size_t blob = 2 + r.with_static();
  SLIPWAY_RETURN_IF_ERROR(c.RequireBlobs(blob + 3));
  SLIPWAY_RETURN_IF_ERROR(r.Project(d));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * weight, r.Weight(blob, {d, d}, "W_h"));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * out, r.Weight(blob + 1, {d, d}, "W_o"));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * bias, r.Weight(blob + 2, {d}, "b_o"));
  ir::Value* h = r.first(0);
  Values rows;
  for (int64_t t = 0; t < r.steps(); ++t) {
    SLIPWAY_ASSIGN_OR_RETURN(h, r.Step(t, h, weight));
    SLIPWAY_ASSIGN_OR_RETURN(h, c.Emit("Tanh", {h}));
    SLIPWAY_ASSIGN_OR_RETURN(ir::Value * y,
                             c.Emit("Gemm", {h, out, bias}, {{"transB", int64_t{1}}}));
    SLIPWAY_ASSIGN_OR_RETURN(y, c.Emit("Tanh", {y}));
    rows.push_back(y);
  }
  return r.Finish(rows, {h});
}

constexpr LayerEntry kLayers[] = {
    {"LSTM", Lstm},
    {"RNN", Rnn},
};

}  // namespace

std::span<const LayerEntry> RecurrentLayers() { return kLayers; }

}  // namespace slipway::caffe
