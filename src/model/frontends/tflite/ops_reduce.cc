// Reductions.

#include <algorithm>

#include "model/frontends/tflite/builder.h"

namespace slipway::tflite {
namespace {

using B = fb::BuiltinOperator;

const char* ReduceName(B code) {
  switch (code) {
    case B::MEAN:
      return "ReduceMean";
    case B::SUM:
      return "ReduceSum";
    case B::REDUCE_PROD:
      return "ReduceProd";
    case B::REDUCE_MAX:
    case B::REDUCE_ANY:
      return "ReduceMax";
    default:
      return "ReduceMin";
  }
}

void Reduce(Op& op) {
  const bool keep = op.Options(op.info.options->builtin_options_as_ReducerOptions()).keep_dims();
  const bool logical = op.info.code == B::REDUCE_ANY || op.info.code == B::REDUCE_ALL;
  Ints given = op.ConstInts(1, "the axes"), axes;
  const bool image = op.b.IsImage(op.in_index(0));
  const int rank = image ? 4 : op.b.Rank(op.Real(0));
  if (op.b.failed()) return;
  for (int64_t axis : given) axes.push_back(op.Axis(axis, rank));
  std::sort(axes.begin(), axes.end());
  axes.erase(std::unique(axes.begin(), axes.end()), axes.end());
  auto reduced = [&](int64_t axis) {
    return std::find(axes.begin(), axes.end(), axis) != axes.end();
  };
  // Without the dimensions reduced, what remains of an image has the same order in both layouts
  // unless channels and a side of the image are left.
  const bool nchw = image && (keep || reduced(3) || (reduced(1) && reduced(2)));
  Value* x = op.Real(0, nchw);
  if (nchw) {
    for (int64_t& axis : axes) axis = axis == 0 ? 0 : axis == 3 ? 1 : axis + 1;
    std::sort(axes.begin(), axes.end());
  }
  if (logical) x = op.b.Cast(x, DType::kInt32);
  if (op.b.failed()) return;
  Value* y = op.b.Emit(ReduceName(op.info.code), {x, op.b.Int64s(axes)},
                       {{"keepdims", int64_t{keep}}, {"noop_with_empty_axes", int64_t{1}}});
  if (logical) y = op.b.Cast(y, DType::kBool);
  op.SetReal(y, 0, nchw && keep);
}

}  // namespace

void AddReductions(HandlerTable* table) {
  for (B code : {B::MEAN, B::SUM, B::REDUCE_PROD, B::REDUCE_MAX, B::REDUCE_MIN, B::REDUCE_ANY,
                 B::REDUCE_ALL})
    (*table)[code] = &Reduce;
}

}  // namespace slipway::tflite
