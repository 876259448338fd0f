// Operators of plugins (slipway/operator.h): an extent that is not known is given to the plugin as
// a negative number that stands for it, and comes back as the same expression.

#include <algorithm>

#include "model/ir/infer_util.h"
#include "model/ops/custom.h"

namespace slipway::ir {

Status InferCustom(InferContext& c) {
  const ops::CustomOp* op = ops::FindCustomOp(c.domain(), c.op());
  if (!op) return Unsupported("no plugin has brought the operator");
  std::vector<slipway_tensor> in(c.num_inputs()), out(c.num_outputs());
  std::vector<Tensor> aligned;
  std::vector<Dim> unknown;  // number -2 - i stands for the i-th
  bool concrete = true;
  for (size_t i = 0; i < in.size(); ++i) {
    if (!c.has_input(i)) continue;
    const Type& type = c.input(i);
    if (!type.known()) return OkStatus();  // nothing can be said
    slipway_tensor& t = in[i];
    t.dtype = static_cast<uint32_t>(type.dtype);
    if (type.shape->size() > SLIPWAY_MAX_RANK)
      return Bad("input ", i, " has ", type.shape->size(), " dimensions; at most ",
                 SLIPWAY_MAX_RANK, " are supported");
    bool is_static = true;
    for (const Dim& d : *type.shape) {
      if (d.known()) {
        t.dims[t.rank++] = d.value();
        continue;
      }
      is_static = false;
      auto it = std::find(unknown.begin(), unknown.end(), d);
      if (it == unknown.end()) it = unknown.insert(it, d);
      t.dims[t.rank++] = -2 - (it - unknown.begin());
    }
    if (is_static) {
      if (const auto dims = type.StaticDims())
        t.bytes = static_cast<uint64_t>(CheckedBytes(type.dtype, *dims).value_or(0));
    }
    if (const Tensor* constant = c.constant(i)) {
      aligned.push_back(constant->Aligned());
      t.is_constant = 1;
      t.data = aligned.back().view().data;
    } else {
      concrete = false;
    }
    concrete &= is_static;
  }
  SLIPWAY_RETURN_IF_ERROR(op->Infer(in, c.attributes(), out, concrete));
  for (size_t i = 0; i < out.size(); ++i) {
    SymShape shape;
    for (int d = 0; d < out[i].rank; ++d) {
      const int64_t extent = out[i].dims[d];
      shape.push_back(extent >= 0                     ? Dim(extent)
                      : extent == SLIPWAY_DIM_UNKNOWN ? c.fresh_symbol()
                                                      : unknown[static_cast<size_t>(-2 - extent)]);
    }
    c.set_output(i, static_cast<DType>(out[i].dtype), std::move(shape));
  }
  return OkStatus();
}

}  // namespace slipway::ir
