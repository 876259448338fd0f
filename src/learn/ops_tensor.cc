// Operators that move and reduce.

#include <algorithm>

#include "learn/call.h"
#include "model/ops/resize.h"

namespace slipway::learn {
namespace {

// Axes from input i, or all of them; those of `rank` dimensions.
std::vector<int64_t> AxesOf(const Call& c, size_t i, int64_t rank) {
  std::vector<int64_t> axes;
  if (c.Has(i)) axes = c.Ints(i);
  for (int64_t& a : axes) a = AxisOf(a, rank);
  return axes;
}

Outputs Reshape(const Call& c) {
  const at::Tensor x = c.Array(0);
  std::vector<int64_t> shape = c.Ints(1);
  if (c.Int("allowzero", 0) == 0) {
    for (size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] == 0) shape[i] = x.size(static_cast<int64_t>(i));
    }
  }
  return {x.reshape(shape)};
}
Outputs Flatten(const Call& c) {
  const at::Tensor x = c.Array(0);
  const int64_t axis = AxisOf(c.Int("axis", 1), x.dim());
  int64_t rows = 1;
  for (int64_t i = 0; i < axis; ++i) rows *= x.size(i);
  return {x.reshape({rows, rows == 0 ? 0 : x.numel() / rows})};
}
Outputs Transpose(const Call& c) {
  const at::Tensor x = c.Array(0);
  std::vector<int64_t> perm = c.IntList("perm");
  if (perm.empty()) {
    for (int64_t i = x.dim(); i-- > 0;) perm.push_back(i);
  }
  return {x.permute(perm)};
}
Outputs Concat(const Call& c) {
  std::vector<at::Tensor> pieces;
  for (size_t i = 0; i < c.in.size(); ++i) pieces.push_back(c.Array(i));
  return {at::cat(pieces, AxisOf(c.Int("axis", 0), pieces[0].dim()))};
}
Outputs Split(const Call& c) {
  const at::Tensor x = c.Array(0);
  const int64_t axis = AxisOf(c.Int("axis", 0), x.dim()),
                count = static_cast<int64_t>(c.node.outputs().size());
  std::vector<int64_t> sizes;
  if (c.Has(1)) {
    sizes = c.Ints(1);
  } else {
    const int64_t each = (x.size(axis) + count - 1) / count;
    for (int64_t i = 0; i < count; ++i)
      sizes.push_back(std::clamp<int64_t>(x.size(axis) - i * each, 0, each));
  }
  return at::split_with_sizes(x, sizes, axis);
}
Outputs Slice(const Call& c) {
  at::Tensor x = c.Array(0);
  const std::vector<int64_t> starts = c.Ints(1), ends = c.Ints(2);
  std::vector<int64_t> axes = AxesOf(c, 3, x.dim()), steps;
  if (!c.Has(3)) {
    for (size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  }
  if (c.Has(4)) steps = c.Ints(4);
  steps.resize(starts.size(), 1);
  for (size_t i = 0; i < starts.size(); ++i) {
    const int64_t size = x.size(axes[i]), step = steps[i];
    const auto inside = [&](int64_t v, int64_t low, int64_t high) {
      return std::clamp(v < 0 ? v + size : v, low, high);
    };
    if (step > 0) {
      const int64_t begin = inside(starts[i], 0, size), end = inside(ends[i], 0, size);
      x = x.slice(axes[i], begin, std::max(begin, end), step);
    } else {  // torch has no negative steps
      const int64_t begin = inside(starts[i], 0, size - 1), end = inside(ends[i], -1, size - 1);
      std::vector<int64_t> picked;
      for (int64_t at = begin; at > end; at += step) picked.push_back(at);
      x = x.index_select(axes[i], at::tensor(picked, c.options.dtype(at::kLong)));
    }
  }
  return {x};
}
Outputs Gather(const Call& c) {
  const at::Tensor x = c.Array(0);
  const int64_t axis = AxisOf(c.Int("axis", 0), x.dim());
  at::Tensor index = c.Indices(1);
  index = at::where(index < 0, index + x.size(axis), index);
  std::vector<int64_t> shape(x.sizes().begin(), x.sizes().begin() + axis);
  shape.insert(shape.end(), index.sizes().begin(), index.sizes().end());
  shape.insert(shape.end(), x.sizes().begin() + axis + 1, x.sizes().end());
  return {x.index_select(axis, index.reshape({-1})).reshape(shape)};
}
Outputs GatherElements(const Call& c) {
  const at::Tensor x = c.Array(0);
  const int64_t axis = AxisOf(c.Int("axis", 0), x.dim());
  const at::Tensor index = c.Indices(1);
  return {x.gather(axis, at::where(index < 0, index + x.size(axis), index))};
}
Outputs Squeeze(const Call& c) {
  const at::Tensor x = c.Array(0);
  const std::vector<int64_t> axes = AxesOf(c, 1, x.dim());
  std::vector<int64_t> shape;
  for (int64_t i = 0; i < x.dim(); ++i) {
    const bool drop =
        c.Has(1) ? std::find(axes.begin(), axes.end(), i) != axes.end() : x.size(i) == 1;
    if (!drop) shape.push_back(x.size(i));
  }
  return {x.reshape(shape)};
}
Outputs Unsqueeze(const Call& c) {
  at::Tensor x = c.Array(0);
  std::vector<int64_t> axes = c.Ints(1);
  for (int64_t& a : axes) a = AxisOf(a, x.dim() + static_cast<int64_t>(axes.size()));
  std::sort(axes.begin(), axes.end());
  for (const int64_t a : axes) x = x.unsqueeze(a);
  return {x};
}
Outputs Expand(const Call& c) {
  const at::Tensor x = c.Array(0);
  std::vector<int64_t> shape = c.Ints(1);
  while (static_cast<int64_t>(shape.size()) < x.dim()) shape.insert(shape.begin(), 1);
  for (int64_t i = 1; i <= x.dim(); ++i) {
    int64_t& extent = shape[shape.size() - static_cast<size_t>(i)];
    if (extent == 1) extent = x.size(-i);
  }
  return {x.expand(shape)};
}
Outputs Tile(const Call& c) { return {c.Array(0).repeat(c.Ints(1))}; }
Outputs Pad(const Call& c) {
  const at::Tensor x = c.Array(0);
  const std::string mode(c.node.attributes.String("mode", "constant"));
  const std::vector<int64_t> pads = c.Ints(1);
  std::vector<int64_t> axes = AxesOf(c, 3, x.dim());
  if (!c.Has(3)) {
    for (int64_t i = 0; i < x.dim(); ++i) axes.push_back(i);
  }
  if (mode != "constant") {
    at::Tensor y = x;
    for (size_t i = 0; i < axes.size(); ++i) {
      const int64_t size = x.size(axes[i]), begin = pads[i], end = size + pads[i + axes.size()];
      if (begin == 0 && end == size) continue;
      if (size < 1) return {};
      std::vector<int64_t> from;
      for (int64_t at = -begin; at < end; ++at) {
        const int64_t period = mode == "reflect" ? std::max<int64_t>(1, 2 * (size - 1)) : size;
        const int64_t turn = ((at % period) + period) % period;
        if (mode == "edge")
          from.push_back(std::clamp<int64_t>(at, 0, size - 1));
        else if (mode == "wrap")
          from.push_back(turn);
        else if (mode == "reflect")
          from.push_back(turn < size ? turn : period - turn);
        else
          return {};
      }
      y = y.index_select(axes[i], at::tensor(from, c.options.dtype(at::kLong)));
    }
    return {y};
  }
  std::vector<int64_t> order(static_cast<size_t>(2 * x.dim()), 0);  // from the last dimension on
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t at = static_cast<size_t>(2 * (x.dim() - 1 - axes[i]));
    order[at] = pads[i];
    order[at + 1] = pads[i + axes.size()];
  }
  if (!c.Has(2)) return {at::constant_pad_nd(x, order)};
  const at::Tensor value = c.Array(2);
  if (!value.requires_grad()) return {at::constant_pad_nd(x, order, value.item())};
  const at::Tensor inside = at::constant_pad_nd(at::ones_like(x), order);
  return {at::constant_pad_nd(x, order) + (1 - inside) * value};
}
// A weighted sum of slices along each axis, as kernels have it. Scales and sizes are constants
// here.
Outputs Resize(const Call& c) {
  at::Tensor x = c.Array(0);
  std::vector<ir::Tensor> hosts(c.in.size());
  std::vector<ops::TensorView> in(c.in.size()), out(1);
  in[0] = {DType::kFloat32, Dims(std::span<const int64_t>(x.sizes().data(), x.sizes().size())),
           nullptr};
  for (size_t i = 1; i < c.in.size(); ++i) {
    if (!c.Has(i)) continue;
    if (c.in[i].array.defined()) {
      auto host = ToHost(c.in[i].array.detach(), DType::kFloat32);
      if (!host.ok()) return {};
      hosts[i] = std::move(*host);
    } else {
      hosts[i] = c.in[i].host.Aligned();
    }
    in[i] = {hosts[i].dtype(), hosts[i].dims(), const_cast<uint8_t*>(hosts[i].bytes().data())};
  }
  out[0].dtype = DType::kFloat32;
  const ops::OpContext context{in, out, &c.node.attributes};
  const ops::ShapeEntry* const shape = ops::FindShapeFunction("", "Resize");
  std::vector<Dims> extents(1);
  if (!shape || !shape->function(context, extents).ok()) return {};
  out[0].dims = extents[0];
  const auto tables = ops::TabulateResize(context, int64_t{1} << 20);
  if (!tables.ok()) return {};
  for (size_t d = 0; d < tables->axes.size(); ++d) {
    const ops::ResizeAxis& axis = tables->axes[d];
    if (axis.identity) continue;
    std::vector<int64_t> along(static_cast<size_t>(x.dim()), 1);
    along[d] = axis.out;
    at::Tensor y;
    for (int64_t tap = 0; tap < axis.taps; ++tap) {
      std::vector<int64_t> from;
      std::vector<float> weight;
      for (int64_t o = 0; o < axis.out; ++o) {
        from.push_back(axis.index[static_cast<size_t>(o * axis.taps + tap)]);
        if (!tables->nearest)
          weight.push_back(axis.weight[static_cast<size_t>(o * axis.taps + tap)]);
      }
      at::Tensor piece =
          x.index_select(static_cast<int64_t>(d), at::tensor(from, c.options.dtype(at::kLong)));
      if (!tables->nearest) piece = piece * at::tensor(weight, c.options).reshape(along);
      y = y.defined() ? y + piece : piece;
    }
    x = y;
  }
  return {x};
}
Outputs DepthToSpace(const Call& c) {
  const at::Tensor x = c.Array(0);
  const int64_t b = c.Int("blocksize", 1), n = x.size(0), depth = x.size(1) / (b * b),
                h = x.size(2), w = x.size(3);
  if (c.node.attributes.String("mode", "DCR") == "DCR")
    return {x.reshape({n, b, b, depth, h, w})
                .permute({0, 3, 4, 1, 5, 2})
                .reshape({n, depth, h * b, w * b})};
  return {x.reshape({n, depth, b, b, h, w})
              .permute({0, 1, 4, 2, 5, 3})
              .reshape({n, depth, h * b, w * b})};
}
Outputs SpaceToDepth(const Call& c) {
  const at::Tensor x = c.Array(0);
  const int64_t b = c.Int("blocksize", 1), n = x.size(0), depth = x.size(1), h = x.size(2) / b,
                w = x.size(3) / b;
  return {x.reshape({n, depth, h, b, w, b})
              .permute({0, 3, 5, 1, 2, 4})
              .reshape({n, depth * b * b, h, w})};
}

// ---- reductions ----

using Reduction = at::Tensor (*)(const at::Tensor&, at::IntArrayRef, bool);
template <Reduction kFunction>
Outputs Reduce(const Call& c) {
  const at::Tensor x = c.Array(0);
  std::vector<int64_t> axes = AxesOf(c, 1, x.dim());
  if (axes.empty()) {
    if (c.Int("noop_with_empty_axes", 0) != 0) return {};
    for (int64_t i = 0; i < x.dim(); ++i) axes.push_back(i);
  }
  if (axes.empty()) return {};
  return {kFunction(x, axes, c.Int("keepdims", 1) != 0)};
}
at::Tensor MeanOf(const at::Tensor& x, at::IntArrayRef axes, bool keep) {
  return x.mean(axes, keep);
}
at::Tensor SumOf(const at::Tensor& x, at::IntArrayRef axes, bool keep) { return x.sum(axes, keep); }
at::Tensor MaxOf(const at::Tensor& x, at::IntArrayRef axes, bool keep) {
  return x.amax(axes, keep);
}
at::Tensor MinOf(const at::Tensor& x, at::IntArrayRef axes, bool keep) {
  return x.amin(axes, keep);
}
at::Tensor L1Of(const at::Tensor& x, at::IntArrayRef axes, bool keep) {
  return x.abs().sum(axes, keep);
}
at::Tensor L2Of(const at::Tensor& x, at::IntArrayRef axes, bool keep) {
  return x.square().sum(axes, keep).sqrt();
}
at::Tensor SquareOf(const at::Tensor& x, at::IntArrayRef axes, bool keep) {
  return x.square().sum(axes, keep);
}
Outputs Softmax(const Call& c) {
  const at::Tensor x = c.Array(0);
  return {at::softmax(x, AxisOf(c.Int("axis", -1), x.dim()))};
}
Outputs LogSoftmax(const Call& c) {
  const at::Tensor x = c.Array(0);
  return {at::log_softmax(x, AxisOf(c.Int("axis", -1), x.dim()))};
}

constexpr Operator kOperators[] = {
    {"", "Reshape", Reshape},
    {"", "Flatten", Flatten},
    {"", "Transpose", Transpose},
    {"", "Concat", Concat},
    {"", "Split", Split},
    {"", "Slice", Slice},
    {"", "Gather", Gather},
    {"", "GatherElements", GatherElements},
    {"", "Squeeze", Squeeze},
    {"", "Unsqueeze", Unsqueeze},
    {"", "Expand", Expand},
    {"", "Tile", Tile},
    {"", "Pad", Pad},
    {"", "Resize", Resize},
    {"", "DepthToSpace", DepthToSpace},
    {"", "SpaceToDepth", SpaceToDepth},
    {"", "ReduceMean", Reduce<MeanOf>},
    {"", "ReduceSum", Reduce<SumOf>},
    {"", "ReduceMax", Reduce<MaxOf>},
    {"", "ReduceMin", Reduce<MinOf>},
    {"", "ReduceL1", Reduce<L1Of>},
    {"", "ReduceL2", Reduce<L2Of>},
    {"", "ReduceSumSquare", Reduce<SquareOf>},
    {"", "Softmax", Softmax},
    {"", "LogSoftmax", LogSoftmax},
};

}  // namespace

std::span<const Operator> TensorOperators() { return kOperators; }

}  // namespace slipway::learn
