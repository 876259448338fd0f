// Matrix products, data movement and reductions as Caffe layers.

#include <algorithm>
#include <numeric>

#include "model/frontends/caffe/export_context.h"

namespace slipway::caffe {
namespace {

using Ints = std::vector<int64_t>;

// An InnerProduct over the dimensions of x from `axis` on; weight [K, N], or [N, K] when turned.
Status Product(ExportContext& c, int axis, const ir::Tensor& weight, bool turned, float alpha,
               std::span<const uint8_t> bias) {
  if (weight.dims().rank() != 2)
    return c.No("the weight " + weight.dims().ToString() + " is no matrix");
  const int64_t n = weight.dims()[turned ? 0 : 1], k = weight.dims()[turned ? 1 : 0];
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  Message& p = c.Layer("InnerProduct", {x}, {c.Top()}).AddMessage("inner_product_param");
  p.Add("num_output", std::to_string(n));
  p.Add("bias_term", bias.empty() ? "false" : "true");
  if (axis != 1) p.Add("axis", std::to_string(axis));
  std::span<const uint8_t> bytes = weight.bytes();
  if (!turned || alpha != 1) {  // written as [N, K]: not every reader has `transpose`
    const ir::Tensor from = weight.Aligned();
    std::vector<float> values(static_cast<size_t>(n * k));
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < k; ++j)
        values[static_cast<size_t>(i * k + j)] =
            alpha * from.data<float>()[turned ? i * k + j : j * n + i];
    }
    bytes = c.Own(std::move(values));
  }
  std::vector<std::pair<Dims, std::span<const uint8_t>>> blobs{{Dims{n, k}, bytes}};
  if (!bias.empty()) blobs.emplace_back(Dims{n}, bias);
  c.Blobs(c.Top(), "InnerProduct", blobs);
  return OkStatus();
}

Status Gemm(ExportContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const ir::Tensor* weight, c.Weight(1, "the weight"));
  if (c.A().Int("transA", 0) != 0) return c.No("transA has no form in Caffe");
  const bool turned = c.A().Int("transB", 0) != 0;
  std::span<const uint8_t> bias;
  if (c.node().input(2)) {
    SLIPWAY_ASSIGN_OR_RETURN(const ir::Tensor* b, c.Weight(2, "the bias"));
    const int64_t n = weight->dims()[turned ? 0 : 1];
    const float beta = c.A().Float("beta", 1);
    if (b->count() != n && b->count() != 1)
      return c.No("the bias must have one number for each output");
    if (b->dims().rank() > 0 && b->count() > 1 && b->dims()[b->dims().size() - 1] != n)
      return c.No("the bias must have one number for each output");
    const ir::Tensor from = b->Aligned();
    std::vector<float> values(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i)
      values[static_cast<size_t>(i)] = beta * from.data<float>()[b->count() == 1 ? 0 : i];
    bias = c.Own(std::move(values));
  }
  return Product(c, 1, *weight, turned, c.A().Float("alpha", 1), bias);
}

Status MatMul(ExportContext& c) {
  const ir::Tensor* weight = c.node().constant_input(1);
  if (!weight || weight->dtype() != DType::kFloat32 || weight->dims().rank() != 2 ||
      c.node().input(0)->is_constant())
    return c.No("Caffe multiplies by a constant matrix only");
  if (c.Rank() < 2) return c.No("Caffe's InnerProduct needs a batch");
  return Product(c, c.Rank() - 1, *weight, false, 1, {});
}

Status Reshape(ExportContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  c.Reshape(x, c.Out(), c.Top());
  return OkStatus();
}

Status Transpose(ExportContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  const auto perm = c.A().Ints("perm");
  Ints order(perm.begin(), perm.end());
  for (int i = c.Rank() - 1; perm.empty() && i >= 0; --i) order.push_back(i);
  c.Permute(x, order, c.Top());
  return OkStatus();
}

Status Concat(ExportContext& c) {
  Names bottoms;
  for (size_t i = 0; i < c.node().inputs().size(); ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(std::string b, c.Bottom(i));
    bottoms.push_back(std::move(b));
  }
  c.Layer("Concat", bottoms, {c.Top()})
      .AddMessage("concat_param")
      .Add("axis", std::to_string(c.Axis(0)));
  return OkStatus();
}

Status Split(ExportContext& c) {
  const auto axis = static_cast<size_t>(c.Axis(0));
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  Names tops, silent;
  Ints points;
  int64_t at = 0;
  for (size_t i = 0; i < c.node().outputs().size(); ++i) {
    const ir::Value* v = c.node().output(i);
    if (!v) return c.No("one of its outputs is missing");
    if (c.Out(i)[axis] < 1) return c.No("one of its pieces is empty");
    tops.push_back(c.Top(i));
    if (!v->IsUsed()) silent.push_back(tops.back());
    if (i > 0) points.push_back(at);
    at += c.Out(i)[axis];
  }
  Message& p = c.Layer("Slice", {x}, tops).AddMessage("slice_param");
  p.Add("axis", std::to_string(axis));
  for (const int64_t point : points) p.Add("slice_point", std::to_string(point));
  if (!silent.empty()) c.Layer("Silence", silent, {});
  return OkStatus();
}

Status Slice(ExportContext& c) {
  const ir::Tensor *starts = c.node().constant_input(1), *axes = c.node().constant_input(3),
                   *steps = c.node().constant_input(4);
  if (!starts || (c.node().input(3) && !axes) || (c.node().input(4) && !steps))
    return c.No("its starts, axes or steps are computed");
  const Ints from = starts->ToInts();
  Ints at = axes ? axes->ToInts() : Ints(from.size());
  if (!axes) std::iota(at.begin(), at.end(), 0);
  Dims have = c.In();
  const Dims want = c.Out();
  struct Piece {
    int axis;
    int64_t start;
  };
  std::vector<Piece> pieces;
  for (size_t i = 0; i < from.size(); ++i) {
    const auto axis = static_cast<int>(at[i] < 0 ? at[i] + have.rank() : at[i]);
    const auto a = static_cast<size_t>(axis);
    if (steps && steps->ToInts()[i] != 1) return c.No("Caffe cuts with steps of 1");
    if (want[a] < 1) return c.No("the result is empty");
    if (want[a] == have[a]) continue;
    const int64_t start = from[i] < 0 ? from[i] + have[a] : from[i];
    pieces.push_back({axis, std::clamp<int64_t>(start, 0, have[a] - want[a])});
  }
  SLIPWAY_ASSIGN_OR_RETURN(std::string x, c.Bottom(0));
  if (pieces.empty()) {
    c.Layer("Split", {x}, {c.Top()});
    return OkStatus();
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto a = static_cast<size_t>(pieces[i].axis);
    const std::string to = i + 1 == pieces.size() ? c.Top() : c.Fresh(c.Top() + "_cut");
    x = c.Cut(x, have, pieces[i].axis, pieces[i].start, want[a], to);
    have[a] = want[a];
  }
  return OkStatus();
}

// Expand and Tile: whole repetitions of each dimension.
Status Repeat(ExportContext& c) {
  Dims have = c.In();
  const Dims want = c.Out();
  SLIPWAY_ASSIGN_OR_RETURN(std::string x, c.Bottom(0));
  if (have.rank() < want.rank()) {
    Dims wide;
    for (int i = have.rank(); i < want.rank(); ++i) wide.push_back(1);
    for (const int64_t d : have) wide.push_back(d);
    have = wide;
    x = c.Reshape(x, have, have == want ? c.Top() : c.Fresh(c.Top() + "_wide"));
    if (have == want) return OkStatus();
  }
  Ints axes;
  for (int i = 0; i < want.rank(); ++i) {
    const auto a = static_cast<size_t>(i);
    if (want[a] == have[a]) continue;
    if (have[a] < 1 || want[a] < 1) return c.No("it is empty");
    axes.push_back(i);
  }
  if (axes.empty()) c.Layer("Split", {x}, {c.Top()});
  for (size_t k = 0; k < axes.size(); ++k) {
    const auto a = static_cast<size_t>(axes[k]);
    const std::string to = k + 1 == axes.size() ? c.Top() : c.Fresh(c.Top() + "_tile");
    Message& p = c.Layer("Tile", {x}, {to}).AddMessage("tile_param");
    p.Add("axis", std::to_string(axes[k]));
    p.Add("tiles", std::to_string(want[a] / have[a]));
    x = to;
  }
  return OkStatus();
}

Status Shuffled(ExportContext& c, const Dims& split, std::span<const int64_t> order) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  const std::string parts = c.Reshape(x, split, c.Fresh(c.Top() + "_parts"));
  const std::string turned = c.Permute(parts, order, c.Fresh(c.Top() + "_turned"));
  c.Reshape(turned, c.Out(), c.Top());
  return OkStatus();
}
Status DepthToSpace(ExportContext& c) {
  const Dims x = c.In();
  const int64_t b = c.A().Int("blocksize", 1), rest = x[1] / (b * b);
  if (c.A().String("mode", "DCR") == "CRD")
    return Shuffled(c, {x[0], rest, b, b, x[2], x[3]}, Ints{0, 1, 4, 2, 5, 3});
  return Shuffled(c, {x[0], b, b, rest, x[2], x[3]}, Ints{0, 3, 4, 1, 5, 2});
}
Status SpaceToDepth(ExportContext& c) {
  const Dims x = c.In();
  const int64_t b = c.A().Int("blocksize", 1);
  return Shuffled(c, {x[0], x[1], x[2] / b, b, x[3] / b, b}, Ints{0, 3, 5, 1, 2, 4});
}

// Over the last dimensions as Caffe's Reduction does; others are turned there first.
Status Reduce(ExportContext& c, const char* operation, double power) {
  const Dims x = c.In();
  const ir::Tensor* given = c.node().constant_input(1);
  if (c.node().input(1) && !given) return c.No("its axes are computed");
  std::vector<bool> gone(x.size(), !given || given->count() == 0);
  if (gone.empty()) return c.No("a scalar has nothing to reduce");
  if (gone[0] && c.A().Int("noop_with_empty_axes", 0) != 0) return c.No("it reduces nothing");
  for (const int64_t a : given ? given->ToInts() : Ints())
    gone[static_cast<size_t>(a < 0 ? a + x.rank() : a)] = true;
  Ints order;
  Dims kept;
  int64_t count = 1;
  for (const bool wanted : {false, true}) {
    for (size_t i = 0; i < x.size(); ++i) {
      if (gone[i] != wanted) continue;
      order.push_back(static_cast<int64_t>(i));
      if (!wanted) kept.push_back(x[i]);
      if (wanted) count *= x[i];
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(std::string blob, c.Bottom(0));
  if (!std::is_sorted(order.begin(), order.end()))
    blob = c.Permute(blob, order, c.Fresh(c.Top() + "_turned"));
  const bool shaped = kept == c.Out();
  if (std::string(operation) == "MAX") {
    // A window over everything that goes.
    if (count < 1) return c.No("it reduces nothing");
    blob = c.Reshape(blob, {kept.count(), 1, 1, count}, c.Fresh(c.Top() + "_rows"));
    const std::string most = c.Fresh(c.Top() + "_most");
    Message& p = c.Layer("Pooling", {blob}, {most}).AddMessage("pooling_param");
    p.Add("pool", "MAX");
    p.Add("global_pooling", "true");
    c.Reshape(most, c.Out(), c.Top());
    return OkStatus();
  }
  const std::string sum = shaped && power == 1 ? c.Top() : c.Fresh(c.Top() + "_sum");
  Message& p = c.Layer("Reduction", {blob}, {sum}).AddMessage("reduction_param");
  p.Add("operation", operation);
  p.Add("axis", std::to_string(kept.rank()));
  blob = sum;
  if (power != 1) blob = c.Power(blob, power, 1, 0, shaped ? c.Top() : c.Fresh(c.Top() + "_root"));
  if (!shaped) c.Reshape(blob, c.Out(), c.Top());
  return OkStatus();
}
Status ReduceSum(ExportContext& c) { return Reduce(c, "SUM", 1); }
Status ReduceMean(ExportContext& c) { return Reduce(c, "MEAN", 1); }
Status ReduceL1(ExportContext& c) { return Reduce(c, "ASUM", 1); }
Status ReduceL2(ExportContext& c) { return Reduce(c, "SUMSQ", 0.5); }
Status ReduceSumSquare(ExportContext& c) { return Reduce(c, "SUMSQ", 1); }
Status ReduceMax(ExportContext& c) { return Reduce(c, "MAX", 1); }

constexpr ExportEntry kEntries[] = {
    {"", "Concat", Concat},
    {"", "DepthToSpace", DepthToSpace},
    {"", "Expand", Repeat},
    {"", "Flatten", Reshape},
    {"", "Gemm", Gemm},
    {"", "MatMul", MatMul},
    {"", "ReduceL1", ReduceL1},
    {"", "ReduceL2", ReduceL2},
    {"", "ReduceMax", ReduceMax},
    {"", "ReduceMean", ReduceMean},
    {"", "ReduceSum", ReduceSum},
    {"", "ReduceSumSquare", ReduceSumSquare},
    {"", "Reshape", Reshape},
    {"", "Slice", Slice},
    {"", "SpaceToDepth", SpaceToDepth},
    {"", "Split", Split},
    {"", "Squeeze", Reshape},
    {"", "Tile", Repeat},
    {"", "Transpose", Transpose},
    {"", "Unsqueeze", Reshape},
};

}  // namespace

std::span<const ExportEntry> ShapeExports() { return kEntries; }

}  // namespace slipway::caffe
