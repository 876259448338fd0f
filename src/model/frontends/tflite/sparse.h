#pragma once
// Tensors that the file stores sparse (TACO's format as in the schema's SparsityParameters: dense
// and compressed dimensions in any order, blocks), made dense.

#include "model/frontends/tflite/reader.h"
#include "model/ir/tensor.h"

namespace slipway::tflite {

// `t.sparsity` must be present. InvalidArgument: indices or lists that do not fit the shape;
// ResourceExhausted: a tensor far larger than its bytes; Unsupported: types below 8 bits.
Result<ir::Tensor> Densify(const TensorInfo& t);

}  // namespace slipway::tflite
