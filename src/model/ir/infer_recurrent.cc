// Inference of RNN, GRU and LSTM.

#include "model/ir/infer_util.h"
#include "model/ops/recurrent.h"

namespace slipway::ir {
namespace {

constexpr int64_t kMostHidden = int64_t{1} << 30;

// Input i, when its shape is known, has the shape `want`.
Status Expect(InferContext& c, size_t i, const SymShape& want, std::string_view what) {
  const SymShape* s = ShapeOf(c, i);
  if (!s) return OkStatus();
  if (s->size() != want.size())
    return Bad(what, " (input ", i, ") has shape ", *s, " but must have ", want);
  const SymShape copy = *s;
  for (size_t d = 0; d < want.size(); ++d) {
    if (!Unify(c, copy[d], want[d], what).ok())
      return Bad(what, " (input ", i, ") has shape ", copy, " but must have ", want);
  }
  return OkStatus();
}

Status CheckFunctions(const InferContext& c, int64_t directions) {
  const auto* found = c.attributes().Find("activations");
  const auto* names = found ? std::get_if<std::vector<std::string>>(found) : nullptr;
  if (!names || names->empty()) return OkStatus();
  const int64_t each = c.op() == "RNN" ? 1 : c.op() == "GRU" ? 2 : 3;
  if (static_cast<int64_t>(names->size()) != each * directions) {
    return Bad("activations lists ", names->size(), " functions but needs ", each * directions,
               ": ", each, " for each direction");
  }
  for (const std::string& name : *names) {
    if (!ops::IsRecurrentFunction(name)) {
      return Bad("activation '", name,
                 "' must be one of Sigmoid, Tanh, Relu, Affine, LeakyRelu, ThresholdedRelu, "
                 "ScaledTanh, HardSigmoid, Elu, Softsign and Softplus");
    }
  }
  return OkStatus();
}

}  // namespace

Status InferRecurrent(InferContext& c) {
  const bool lstm = c.op() == "LSTM";
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1, 2, 3, 5, 6, 7}));
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 4, DType::kInt32, "sequence_lens"));
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 0, 3, "X"));
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 1, 3, "W"));
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 2, 3, "R"));
  const std::string_view direction = c.attributes().String("direction", "forward");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional")
    return Bad("direction '", direction, "' must be forward, reverse or bidirectional");
  const int64_t layout = c.attributes().Int("layout", 0);
  if (layout != 0 && layout != 1) return Bad("layout = ", layout, " must be 0 or 1");
  const Dim directions(direction == "bidirectional" ? 2 : 1);
  SLIPWAY_RETURN_IF_ERROR(CheckFunctions(c, directions.value()));
  const Dim gates(c.op() == "RNN" ? 1 : c.op() == "GRU" ? 3 : 4);

  const SymShape *x = ShapeOf(c, 0), *w = ShapeOf(c, 1), *r = ShapeOf(c, 2);
  Dim hidden = r ? (*r)[2] : c.fresh_symbol();
  if (c.attributes().Has("hidden_size")) {
    const int64_t given = c.attributes().Int("hidden_size", 0);
    if (given < 1 || given > kMostHidden) return Bad("hidden_size = ", given, " must be positive");
    SLIPWAY_ASSIGN_OR_RETURN(hidden, Unify(c, Dim(given), hidden, "hidden_size and R"));
  }
  const Dim steps = x ? (*x)[layout == 0 ? 0 : 1] : c.fresh_symbol();
  const Dim batch = x ? (*x)[layout == 0 ? 1 : 0] : c.fresh_symbol();
  const Dim input = x ? (*x)[2] : w ? (*w)[2] : c.fresh_symbol();
  const SymShape state =
      layout == 0 ? SymShape{directions, batch, hidden} : SymShape{batch, directions, hidden};
  SLIPWAY_RETURN_IF_ERROR(Expect(c, 1, {directions, gates * hidden, input}, "W"));
  SLIPWAY_RETURN_IF_ERROR(Expect(c, 2, {directions, gates * hidden, hidden}, "R"));
  SLIPWAY_RETURN_IF_ERROR(Expect(c, 3, {directions, Dim(2) * gates * hidden}, "B"));
  SLIPWAY_RETURN_IF_ERROR(Expect(c, 4, {batch}, "sequence_lens"));
  SLIPWAY_RETURN_IF_ERROR(Expect(c, 5, state, "initial_h"));
  SLIPWAY_RETURN_IF_ERROR(Expect(c, 6, state, "initial_c"));
  SLIPWAY_RETURN_IF_ERROR(Expect(c, 7, {directions, Dim(3) * hidden}, "P"));
  const DType dtype = c.input(0).dtype;
  c.set_output(0, dtype,
               layout == 0 ? SymShape{steps, directions, batch, hidden}
                           : SymShape{batch, steps, directions, hidden});
  c.set_output(1, dtype, state);
  if (lstm) c.set_output(2, dtype, state);
  return OkStatus();
}

}  // namespace slipway::ir
