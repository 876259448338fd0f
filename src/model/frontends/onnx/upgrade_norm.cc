// Upgrades of reductions and normalisations.

#include <algorithm>
#include <array>

#include "model/frontends/onnx/tensor_proto.h"
#include "model/frontends/onnx/upgrade_ops.h"

namespace slipway::onnx {

using ir::Attributes;
using ir::Tensor;
using ir::Value;

Status Reduce(OldNode& n, Upgrader& u) {
  if (n.opset < (n.op == "ReduceSum" ? 13 : 18)) IntsToInput(n, u, "axes", 1);
  return OkStatus();
}

// log(sum(x)) and log(sum(exp(x))), the second shifted by the maximum so that it does not overflow.
Status ReduceLog(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(Reduce(n, u));
  if (n.inputs.empty() || !n.inputs[0]) return InvalidArgument(n.Describe() + " has no input");
  Value* axes = n.input(1);
  if (axes && axes->constant() && axes->constant()->count() == 0) axes = nullptr;
  if (n.attributes.Int("noop_with_empty_axes", 0) != 0 && n.op == "ReduceLogSumExp") {
    if (!axes) {  // log(exp(x))
      n.op = "Identity";
      n.inputs = {n.inputs[0]};
      n.attributes = {};
      return OkStatus();
    }
  }
  if (n.op == "ReduceLogSum") {
    Value* sum = u.Emit(n, "ReduceSum", n.inputs, n.attributes);
    n.op = "Log";
    n.inputs = {sum};
    n.attributes = {};
    return OkStatus();
  }
  Attributes keep = n.attributes;
  keep.Set("keepdims", int64_t{1});
  Value* largest = u.Emit(n, "ReduceMax", {n.inputs[0], axes}, keep);
  Value* shifted = u.Emit(n, "Sub", {n.inputs[0], largest});
  Value* sum = u.Emit(n, "ReduceSum", {u.Emit(n, "Exp", {shifted}), axes}, keep);
  Value* log = u.Emit(n, "Log", {sum});
  if (n.attributes.Int("keepdims", 1) != 0) {
    n.op = "Add";
    n.inputs = {log, largest};
  } else {
    // One more reduction over the same axes, of one element each: only the extents of 1 go.
    Attributes drop = n.attributes;
    n.inputs = {u.Emit(n, "Add", {log, largest}), axes};
    if (!axes) n.inputs.pop_back();
    n.op = "ReduceMax";
    n.attributes = std::move(drop);
    return OkStatus();
  }
  n.attributes = {};
  return OkStatus();
}

namespace {

// The statistics of the batch take the place of the given ones, which move towards them.
Status TrainingBatchNormalization(OldNode& n, Upgrader& u) {
  const int64_t rank = u.RankOf(n.input(0));
  if (rank < 2) return NeedsKnownRank(n, n.opset);
  if (n.inputs.size() < 5) return InvalidArgument(n.Describe() + " needs five inputs");
  std::vector<int64_t> axes = {0}, column(static_cast<size_t>(rank) - 1, 1);
  column[0] = -1;
  for (int64_t i = 2; i < rank; ++i) axes.push_back(i);
  Value* over = u.Ints(n, "axes", axes);
  Value* shape = u.Ints(n, "column", column);
  Value* mean = u.Emit(n, "ReduceMean", {n.inputs[0], over});
  Value* centred = u.Emit(n, "Sub", {n.inputs[0], mean});
  Value* variance = u.Emit(n, "ReduceMean", {u.Emit(n, "Mul", {centred, centred}), over});
  const float momentum = n.attributes.Float("momentum", 0.9f);
  auto running = [&](size_t i, Value* now) {
    Value* flat = u.Emit(n, "Reshape", {now, u.Ints(n, "flat", std::array<int64_t, 1>{-1})});
    Value* old = u.Emit(n, "Mul", {n.inputs[i], u.ScalarLike(n, "keep", n.inputs[i], momentum)});
    Value* add = u.Emit(n, "Mul", {flat, u.ScalarLike(n, "take", n.inputs[i], 1 - momentum)});
    return u.Emit(n, "Add", {old, add});
  };
  for (size_t i = 1; i < n.outputs.size() && i < 3; ++i) {
    if (!n.outputs[i].empty()) n.SetResult(i, running(i + 2, i == 1 ? mean : variance));
  }
  Value* epsilon = u.ScalarLike(n, "epsilon", n.inputs[0], n.attributes.Float("epsilon", 1e-5f));
  Value* deviation = u.Emit(n, "Sqrt", {u.Emit(n, "Add", {variance, epsilon})});
  Value* scale = u.Emit(n, "Reshape", {n.inputs[1], shape});
  Value* scaled = u.Emit(n, "Mul", {u.Emit(n, "Div", {centred, deviation}), scale});
  n.inputs = {scaled, u.Emit(n, "Reshape", {n.inputs[2], shape})};
  n.op = "Add";
  n.attributes = {};
  return OkStatus();
}

// Up to opset 8: statistics for every position, [C, d1, ...].
Status PositionNormalization(OldNode& n, Upgrader& u) {
  if (n.inputs.size() < 5) return InvalidArgument(n.Describe() + " needs five inputs");
  Value* epsilon = u.ScalarLike(n, "epsilon", n.inputs[4], n.attributes.Float("epsilon", 1e-5f));
  Value* deviation = u.Emit(n, "Sqrt", {u.Emit(n, "Add", {n.inputs[4], epsilon})});
  Value* centred = u.Emit(n, "Sub", {n.inputs[0], n.inputs[3]});
  Value* scaled = u.Emit(n, "Mul", {u.Emit(n, "Div", {centred, deviation}), n.inputs[1]});
  n.inputs = {scaled, n.inputs[2]};
  n.op = "Add";
  n.attributes = {};
  return OkStatus();
}

}  // namespace

Status BatchNormalization(OldNode& n, Upgrader& u) {
  if (n.opset >= 14 && n.attributes.Int("training_mode", 0) != 0)
    return TrainingBatchNormalization(n, u);
  for (size_t i = 1; i < n.used.size(); ++i) {
    if (n.used[i]) return Training(n, "output " + Quote(n.outputs[i]) + " exists only in training");
  }
  if (!n.outputs.empty()) n.outputs.resize(1);
  if (n.opset < 7 && n.attributes.Int("is_test", 0) == 0) return Training(n, "is_test is 0");
  const bool spatial = n.attributes.Int("spatial", 1) != 0;
  for (const char* a : {"spatial", "momentum", "training_mode", "is_test", "consumed_inputs"})
    n.attributes.Erase(a);
  return spatial ? OkStatus() : PositionNormalization(n, u);
}

Status Softmax(OldNode& n, Upgrader&) {
  // The matrix view is replaced in RewriteWithShapes.
  if (n.opset < 13 && !n.attributes.Has("axis")) n.attributes.Set("axis", int64_t{1});
  return OkStatus();
}

// Up to opset 20 scale and bias have one element a group, afterwards one a channel: each is
// repeated C / groups times.
Status GroupNormalization(OldNode& n, Upgrader& u) {
  if (n.opset >= 21) return OkStatus();
  const int64_t groups = n.attributes.Int("num_groups", 0);
  if (groups <= 0 || !n.input(0) || !n.input(1) || !n.input(2)) {
    return InvalidArgument(n.Describe() +
                           ": it needs num_groups > 0, an input, a scale and a bias");
  }
  Value* channels = u.Emit(n, "Shape", {n.input(0)}, {{"start", int64_t{1}}, {"end", int64_t{2}}});
  Value* repeat = u.Emit(n, "Div", {channels, u.Ints(n, "groups", std::array{groups})});
  Value* shape = u.Emit(n, "Concat", {u.Ints(n, "groups", std::array{groups}), repeat},
                        {{"axis", int64_t{0}}});
  for (size_t i = 1; i <= 2; ++i) {
    Value* column =
        u.Emit(n, "Reshape", {n.inputs[i], u.Ints(n, "column", std::array<int64_t, 2>{groups, 1})});
    Value* repeated = u.Emit(n, "Expand", {column, shape});
    n.inputs[i] = u.Emit(n, "Reshape", {repeated, u.Ints(n, "flat", std::array<int64_t, 1>{-1})});
  }
  return OkStatus();
}

// (x - mean) / (deviation + 1e-9) over the axes, as the specification's function body has it.
Status MeanVarianceNormalization(OldNode& n, Upgrader& u) {
  if (!n.input(0)) return InvalidArgument(n.Describe() + " has no input");
  std::vector<int64_t> axes = {0, 2, 3};
  if (n.attributes.Has("axes")) {
    const auto given = n.attributes.Ints("axes");
    axes.assign(given.begin(), given.end());
  } else if (n.opset < 9) {  // across_channels = 0
    axes = {2, 3};
    if (n.attributes.Int("across_channels", 0) != 0) axes = {1, 2, 3};
    if (n.attributes.Int("normalize_variance", 1) == 0)
      return Unsupported(n.Describe() + ": normalize_variance = 0 is not supported");
  }
  Value *x = n.input(0), *over = u.Ints(n, "axes", axes);
  Value* centred = u.Emit(n, "Sub", {x, u.Emit(n, "ReduceMean", {x, over})});
  Value* variance = u.Emit(n, "ReduceMean", {u.Emit(n, "Mul", {centred, centred}), over});
  Value* deviation =
      u.Emit(n, "Add", {u.Emit(n, "Sqrt", {variance}), u.ScalarLike(n, "epsilon", x, 1e-9f)});
  n.op = "Div";
  n.inputs = {centred, deviation};
  n.attributes = {};
  return OkStatus();
}

}  // namespace slipway::onnx
