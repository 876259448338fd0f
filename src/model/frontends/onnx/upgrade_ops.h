#pragma once
// The upgrades of single operators, by theme; upgrade.cc lists them.

#include "model/frontends/onnx/upgrade.h"

namespace slipway::onnx {

// What several of them need (upgrade.cc).
Status Training(const OldNode& node, const std::string& what);
// Moves an ints attribute to input `index`; false when the attribute is absent.
bool IntsToInput(OldNode& node, Upgrader& upgrader, const char* attribute, size_t index);
Status NeedsKnownRank(const OldNode& node, int opset);

// upgrade_elementwise.cc
Status Affine(OldNode& node, Upgrader& upgrader);
Status Binary(OldNode& node, Upgrader& upgrader);
Status Cast(OldNode& node, Upgrader& upgrader);
Status CastLike(OldNode& node, Upgrader& upgrader);
Status Clip(OldNode& node, Upgrader& upgrader);
Status Dropout(OldNode& node, Upgrader& upgrader);
Status ImageScaler(OldNode& node, Upgrader& upgrader);
Status ParametricSoftplus(OldNode& node, Upgrader& upgrader);
Status PRelu(OldNode& node, Upgrader& upgrader);
Status Scale(OldNode& node, Upgrader& upgrader);
Status ScaledTanh(OldNode& node, Upgrader& upgrader);
Status Selu(OldNode& node, Upgrader& upgrader);

// upgrade_shape.cc
Status Concat(OldNode& node, Upgrader& upgrader);
Status ConstantOfShape(OldNode& node, Upgrader& upgrader);
Status Crop(OldNode& node, Upgrader& upgrader);
Status DynamicSlice(OldNode& node, Upgrader& upgrader);
Status Pad(OldNode& node, Upgrader& upgrader);
Status Reshape(OldNode& node, Upgrader& upgrader);
Status Resize(OldNode& node, Upgrader& upgrader);
Status Scatter(OldNode& node, Upgrader& upgrader);
Status Slice(OldNode& node, Upgrader& upgrader);
Status Split(OldNode& node, Upgrader& upgrader);
Status Squeeze(OldNode& node, Upgrader& upgrader);
Status Tile(OldNode& node, Upgrader& upgrader);
Status TopK(OldNode& node, Upgrader& upgrader);
Status Unsqueeze(OldNode& node, Upgrader& upgrader);
Status Upsample(OldNode& node, Upgrader& upgrader);

// upgrade_norm.cc
Status BatchNormalization(OldNode& node, Upgrader& upgrader);
Status GroupNormalization(OldNode& node, Upgrader& upgrader);
Status MeanVarianceNormalization(OldNode& node, Upgrader& upgrader);
Status Reduce(OldNode& node, Upgrader& upgrader);
Status ReduceLog(OldNode& node, Upgrader& upgrader);
Status Softmax(OldNode& node, Upgrader& upgrader);  // and LogSoftmax, Hardmax

// upgrade_nn.cc
Status Dft(OldNode& node, Upgrader& upgrader);
Status Einsum(OldNode& node, Upgrader& upgrader);
Status Gemm(OldNode& node, Upgrader& upgrader);
Status GridSample(OldNode& node, Upgrader& upgrader);
Status LpPool(OldNode& node, Upgrader& upgrader);  // and GlobalLpPool
Status Recurrent(OldNode& node, Upgrader& upgrader);
Status RoiAlign(OldNode& node, Upgrader& upgrader);
Status TfIdfVectorizer(OldNode& node, Upgrader& upgrader);

}  // namespace slipway::onnx
