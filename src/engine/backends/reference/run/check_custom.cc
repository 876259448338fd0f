// Operators of plugins: what their inference says is compared with what a package says.

#include <algorithm>
#include <string>

#include "base/checked.h"
#include "engine/backends/reference/run/check.h"

namespace slipway::backends {
namespace {

slipway_tensor ToTensor(const ops::TensorView& v) {
  slipway_tensor t{};
  if (!v.present()) return t;
  t.dtype = static_cast<uint32_t>(v.dtype);
  t.rank = v.dims.rank();
  std::copy(v.dims.begin(), v.dims.end(), t.dims);
  t.bytes = static_cast<uint64_t>(CheckedBytes(v.dtype, v.dims).value_or(0));
  t.data = v.data;
  return t;
}

}  // namespace

Status CheckCustom(const ops::CustomOp& op, const ops::Attributes& attributes,
                   std::span<const ops::TensorView> inputs,
                   std::span<const ops::TensorView> outputs, bool has_data, bool* open) {
  if (has_data) return op.CheckOperands(attributes, inputs, outputs);
  *open = false;
  slipway_tensor in[SLIPWAY_MAX_OPERANDS], out[SLIPWAY_MAX_OPERANDS];
  const auto fits = [](std::span<const ops::TensorView> list, int low, int high) {
    const auto first = static_cast<size_t>(low);
    return list.size() >= first && list.size() <= static_cast<size_t>(high) &&
           std::all_of(list.begin(), list.begin() + low, [](const auto& t) { return t.present(); });
  };
  if (!fits(inputs, op.min_inputs(), op.max_inputs()) ||
      !fits(outputs, op.min_outputs(), op.max_outputs()))
    return op.CheckOperands(attributes, inputs, outputs);  // which says what is wrong
  std::transform(inputs.begin(), inputs.end(), in, ToTensor);
  SLIPWAY_RETURN_IF_ERROR(op.Infer({in, inputs.size()}, attributes, {out, outputs.size()}, false));
  for (size_t i = 0; i < outputs.size(); ++i) {
    for (int d = 0; d < out[i].rank; ++d) *open |= out[i].dims[d] < 0;
  }
  if (!*open) return op.CheckOperands(attributes, inputs, outputs);
  return OkStatus();  // asked again in the run
}

Status CustomDims(const ops::CustomOp& op, const ops::Attributes& attributes,
                  const slipway_step& step, slipway_tensor* outputs) {
  slipway_tensor out[SLIPWAY_MAX_OPERANDS];
  if (static_cast<int64_t>(step.num_inputs) < op.min_inputs() ||
      static_cast<int64_t>(step.num_inputs) > op.max_inputs() ||
      static_cast<int64_t>(step.num_outputs) < op.min_outputs() ||
      static_cast<int64_t>(step.num_outputs) > op.max_outputs())
    return DataLoss("the number of operands is not the operator's; compile the package again");
  for (int i = 0; i < op.min_inputs(); ++i) {
    if (step.inputs[i].dtype == 0)
      return DataLoss("a required input is absent; compile the package again");
  }
  SLIPWAY_RETURN_IF_ERROR(
      op.Infer({step.inputs, step.num_inputs}, attributes, {out, step.num_outputs}, true));
  for (uint32_t i = 0; i < step.num_outputs; ++i) {
    if (outputs[i].dtype == 0) continue;
    if (out[i].dtype != outputs[i].dtype || out[i].rank != outputs[i].rank)
      return DataLoss("output " + std::to_string(i) +
                      " has another type or rank than in the package; "
                      "compile the package again with the plugin '" +
                      op.plugin() + "'");
    std::copy(out[i].dims, out[i].dims + out[i].rank, outputs[i].dims);
  }
  return OkStatus();
}

}  // namespace slipway::backends
