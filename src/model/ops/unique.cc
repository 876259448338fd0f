// Unique: the different elements of a tensor, or its different slices along an axis.

#include <algorithm>

#include "model/ops/dispatch.h"
#include "model/ops/scratch.h"

namespace slipway::ops {
namespace {

struct Groups {
  int axis = -1;  // -1: single elements
  int64_t items = 0, count = 0;
  std::unique_ptr<int64_t[]> order;   // items by value, equal ones by position
  std::unique_ptr<int64_t[]> leader;  // the first item equal to each
};

// -1, 0, 1; NaN comes last and equals itself.
template <typename T>
int Compare(T left, T right) {
  const Compute<T> a = static_cast<Compute<T>>(left), b = static_cast<Compute<T>>(right);
  if (a < b) return -1;
  if (b < a) return 1;
  if (a == b) return 0;
  return (a != a) - (b != b);
}

template <typename T>
void Group(const TensorView& x, int64_t outer, int64_t inner, Groups* g) {
  const T* p = x.as<const T>();
  const int64_t n = g->items;
  auto compare = [&](int64_t i, int64_t j) {
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t k = 0; k < inner; ++k) {
        if (const int r = Compare(p[(o * n + i) * inner + k], p[(o * n + j) * inner + k])) return r;
      }
    }
    return 0;
  };
  for (int64_t i = 0; i < n; ++i) g->order[i] = i;
  std::sort(g->order.get(), g->order.get() + n, [&](int64_t i, int64_t j) {
    const int r = compare(i, j);
    return r != 0 ? r < 0 : i < j;
  });
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = g->order[i];
    const bool fresh = i == 0 || compare(g->order[i - 1], at) != 0;
    g->leader[at] = fresh ? at : g->leader[g->order[i - 1]];
    g->count += fresh;
  }
}

Status FindGroups(const OpContext& c, Groups* g) {
  const TensorView& x = c.inputs[0];
  int64_t outer = 1, inner = 1;
  g->items = x.count();
  if (c.attributes->Has("axis")) {
    SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", 0), x.dims.rank(), &g->axis));
    g->items = x.dims[static_cast<size_t>(g->axis)];
    outer = x.dims.count(0, g->axis);
    inner = x.dims.count(g->axis + 1, x.dims.rank());
  }
  SLIPWAY_RETURN_IF_ERROR(AllocateScratch(g->items, &g->order));
  SLIPWAY_RETURN_IF_ERROR(AllocateScratch(g->items, &g->leader));
  auto run = [&]<typename T>() { Group<T>(x, outer, inner, g); };
  if (x.dtype == DType::kBool) {
    run.template operator()<uint8_t>();
  } else if (!DispatchNumber(x.dtype, run)) {
    return NoKernel(x.dtype);
  }
  return OkStatus();
}

}  // namespace

Status ShapeUnique(const OpContext& c, std::span<Dims> outputs) {
  Groups g;
  SLIPWAY_RETURN_IF_ERROR(FindGroups(c, &g));
  for (size_t i = 0; i < outputs.size(); ++i) {
    outputs[i] = {i == 2 ? g.items : g.count};
    if (i > 0 || g.axis < 0) continue;
    outputs[i] = c.inputs[0].dims;
    outputs[i][static_cast<size_t>(g.axis)] = g.count;
  }
  return OkStatus();
}

Status OnnxUnique(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  Groups g;
  SLIPWAY_RETURN_IF_ERROR(FindGroups(c, &g));
  const int64_t outer = g.axis < 0 ? 1 : x.dims.count(0, g.axis);
  const int64_t inner = g.axis < 0 ? 1 : x.dims.count(g.axis + 1, x.dims.rank());
  int64_t* lists[3] = {};  // indices, inverse indices, counts
  for (size_t i = 0; i < c.outputs.size(); ++i) {
    const TensorView& y = c.outputs[i];
    if (!y.present()) continue;
    const int64_t want = i == 0 ? outer * g.count * inner : i == 2 ? g.items : g.count;
    if (y.count() != want || y.dtype != (i == 0 ? x.dtype : DType::kInt64))
      return Internal("output " + std::to_string(i) + " does not fit " + std::to_string(g.count) +
                      " different elements");
    if (i > 0) lists[i - 1] = y.as<int64_t>();
  }
  // The leaders in the output's order take the front of `order`; no leader is overwritten before it
  // is read, because a group is never longer than what was read of it.
  const bool sorted = c.attributes->Int("sorted", 1) != 0;
  int64_t groups = 0;
  for (int64_t i = 0; i < g.items; ++i) {
    const int64_t at = sorted ? g.order[i] : i;
    if (g.leader[at] == at) g.order[groups++] = at;
  }
  auto move = [&]<typename T>() {
    T* to = c.outputs[0].as<T>();
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < g.count; ++i) {
        to = std::copy_n(x.as<const T>() + (o * g.items + g.order[i]) * inner, inner, to);
      }
    }
  };
  if (!DispatchSize(x.dtype, move)) return NoKernel(x.dtype);
  if (lists[0]) std::copy_n(g.order.get(), g.count, lists[0]);
  if (!lists[1] && !lists[2]) return OkStatus();
  if (lists[2]) std::fill_n(lists[2], g.count, int64_t{0});
  // From a leader to its place in the output.
  std::unique_ptr<int64_t[]> place;
  SLIPWAY_RETURN_IF_ERROR(AllocateScratch(g.items, &place));
  for (int64_t i = 0; i < g.count; ++i) place[g.order[i]] = i;
  for (int64_t i = 0; i < g.items; ++i) {
    const int64_t at = place[g.leader[i]];
    if (lists[1]) lists[1][i] = at;
    if (lists[2]) ++lists[2][at];
  }
  return OkStatus();
}

}  // namespace slipway::ops
