// The operators that the plugin brings: what a node of the domain "acme" means.
//   GridMaxPool   [N, C, H, W] -> [N, C, rows, columns]: the largest of each cell of a grid,
//   whatever H and W are (ONNX has no
//                 pooling to a fixed size). It copies elements, so 8-bit codes go through it with
//                 their scale.
//   SoftThreshold sign(x) * max(|x| - lambda, 0), elementwise: between codes it becomes a table.

#include <cmath>

#include "npu.h"
#include "slipway/operator.h"

namespace acme {
namespace {

const slipway_attribute* Find(const slipway_operator_call* call, const char* name) {
  for (uint32_t i = 0; i < call->num_attributes; ++i) {
    if (std::strcmp(call->attributes[i].name, name) == 0) return &call->attributes[i];
  }
  return nullptr;
}

int InferGrid(void*, const slipway_operator_call* call, slipway_tensor* outputs,
              slipway_error* error) {
  const slipway_tensor& x = call->inputs[0];
  const slipway_attribute* grid = Find(call, "grid");  // required: the host has seen to it
  if (x.dtype != kFloat32 && x.dtype != kInt8 && x.dtype != kUInt8)
    return Fail(error, SLIPWAY_UNSUPPORTED, "GridMaxPool takes float32, int8 and uint8");
  if (x.rank != 4) return Fail(error, SLIPWAY_INVALID_ARGUMENT, "GridMaxPool takes [N, C, H, W]");
  if (grid->count != 2 || grid->ints[0] < 1 || grid->ints[1] < 1 || grid->ints[0] > 4096 ||
      grid->ints[1] > 4096)
    return Fail(error, SLIPWAY_INVALID_ARGUMENT,
                "grid must be [rows, columns], each from 1 to 4096");
  outputs[0].dtype = x.dtype;
  outputs[0].rank = 4;
  outputs[0].dims[0] =
      x.dims[0];  // also where it is not known yet: the same number is the same extent
  outputs[0].dims[1] = x.dims[1];
  outputs[0].dims[2] = grid->ints[0];
  outputs[0].dims[3] = grid->ints[1];
  return SLIPWAY_OK;
}

template <typename T>
void Grid(const slipway_tensor& x, const slipway_tensor& y) {
  GridMaxPool(static_cast<const T*>(x.data), static_cast<T*>(y.data), x.dims[0] * x.dims[1],
              x.dims[2], x.dims[3], y.dims[2], y.dims[3]);
}

int RunGrid(void*, const slipway_operator_call* call, const slipway_execution*, slipway_error*) {
  const slipway_tensor &x = call->inputs[0], &y = call->outputs[0];
  if (x.dtype == kFloat32) Grid<float>(x, y);
  if (x.dtype == kInt8) Grid<int8_t>(x, y);
  if (x.dtype == kUInt8) Grid<uint8_t>(x, y);
  return SLIPWAY_OK;
}

int InferThreshold(void*, const slipway_operator_call* call, slipway_tensor* outputs,
                   slipway_error* error) {
  if (call->inputs[0].dtype != kFloat32)
    return Fail(error, SLIPWAY_UNSUPPORTED, "SoftThreshold takes float32");
  if (!(Find(call, "lambda")->f >= 0))
    return Fail(error, SLIPWAY_INVALID_ARGUMENT, "lambda must not be negative");
  outputs[0].dtype = kFloat32;
  outputs[0].rank = call->inputs[0].rank;
  std::memcpy(outputs[0].dims, call->inputs[0].dims, sizeof outputs[0].dims);
  return SLIPWAY_OK;
}

int RunThreshold(void*, const slipway_operator_call* call, const slipway_execution*,
                 slipway_error*) {
  const auto lambda = static_cast<float>(Find(call, "lambda")->f);
  const auto* x = static_cast<const float*>(call->inputs[0].data);
  auto* y = static_cast<float*>(call->outputs[0].data);
  for (uint64_t i = 0; i < call->outputs[0].bytes / sizeof(float); ++i)
    y[i] = std::copysign(std::fmax(std::fabs(x[i]) - lambda, 0.0f), x[i]);
  return SLIPWAY_OK;
}

constexpr slipway_attribute_schema kGridAttributes[] = {
    {"grid", SLIPWAY_ATTRIBUTE_INTS, 1, 0, 0, 0, nullptr},
};
constexpr slipway_attribute_schema kThresholdAttributes[] = {
    {"lambda", SLIPWAY_ATTRIBUTE_FLOAT, 0, 1, 0, 0.5, nullptr},
};
constexpr slipway_operator kGrid = {
    sizeof(slipway_operator), "acme",  "GridMaxPool", 1,       1,      1, 1, 1, 1, kGridAttributes,
    SLIPWAY_QUANTIZE_CODES,   nullptr, InferGrid,     RunGrid, nullptr};
constexpr slipway_operator kThreshold = {sizeof(slipway_operator),
                                         "acme",
                                         "SoftThreshold",
                                         1,
                                         1,
                                         1,
                                         1,
                                         1,
                                         1,
                                         kThresholdAttributes,
                                         SLIPWAY_QUANTIZE_ELEMENTWISE,
                                         nullptr,
                                         InferThreshold,
                                         RunThreshold,
                                         nullptr};
constexpr const slipway_operator* kOperators[] = {&kGrid, &kThreshold};
constexpr slipway_operator_set kSet = {
    sizeof(slipway_operator_set), SLIPWAY_OPERATOR_ABI_VERSION, "acme", "1.2", 2, kOperators};

}  // namespace
}  // namespace acme

extern "C" __attribute__((visibility("default"))) const slipway_operator_set*
slipway_operators_main(uint32_t host) {
  return host == SLIPWAY_OPERATOR_ABI_VERSION ? &acme::kSet : nullptr;
}
