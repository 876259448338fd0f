#pragma once
// What the plain-loop kernels take for granted because shape inference checked it when the model was compiled: numbers of operands, element types and
// extents. A package comes from a file that may be damaged or hostile, so the backend checks again before a kernel sees it.

#include <span>
#include <string_view>

#include "base/status.h"
#include "model/ops/attributes.h"
#include "model/ops/custom.h"
#include "model/ops/tensor_view.h"

namespace slipway::backends {

// `inputs` and `outputs` with concrete extents; data only of constants. DataLoss says what does not fit; Unsupported: no such operator.
Status CheckOperands(std::string_view domain, std::string_view op, const ops::Attributes& attributes,
                     std::span<const ops::TensorView> inputs, std::span<const ops::TensorView> outputs);

// The numbers of operands alone: what a shape function takes for granted.
Status CheckArity(std::string_view domain, std::string_view op, std::span<const ops::TensorView> inputs,
                  std::span<const ops::TensorView> outputs);

// The same for a plugin's operator, by its own inference. *open: it leaves an extent open until the data are there; it is to be asked again then, with
// `has_data`, before it runs.
Status CheckCustom(const ops::CustomOp& op, const ops::Attributes& attributes, std::span<const ops::TensorView> inputs,
                   std::span<const ops::TensorView> outputs, bool has_data, bool* open);
// Its extents in the middle of a run (slipway_backend.output_dims).
Status CustomDims(const ops::CustomOp& op, const ops::Attributes& attributes, const slipway_step& step, slipway_tensor* outputs);

}  // namespace slipway::backends
