#pragma once
// What the inference functions share. Internal to this folder.

#include <concepts>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/ir/infer.h"

namespace slipway::ir {

// Element vectors longer than this are not followed.
inline constexpr int64_t kMaxElements = 1024;
// Bounds of attributes that enter arithmetic (kernel, stride, pad, ...), so that no product of two
// of them overflows.
inline constexpr int64_t kMaxWindow = int64_t{1} << 30;

inline std::string Text(std::string_view s) { return std::string(s); }
inline std::string Text(std::integral auto v) { return std::to_string(v); }
inline std::string Text(const Dim& d) { return d.ToString(); }
inline std::string Text(const SymShape& s) { return slipway::ToString(s); }
inline std::string Text(DType t) { return DTypeName(t); }
inline std::string Text(const Type& t) { return t.ToString(); }

// InvalidArgument with the arguments' texts joined.
template <typename... A>
Status Bad(const A&... parts) {
  return InvalidArgument((Text(parts) + ...));
}

// --- inputs ---
// The shape of input i, or null when the input is absent or its rank unknown.
const SymShape* ShapeOf(const InferContext& c, size_t i);
Status RequireRank(const InferContext& c, size_t i, int64_t rank, std::string_view what);
Status RequireMinRank(const InferContext& c, size_t i, int64_t rank, std::string_view what);
// All present inputs among `which` have one element type (unknown ones pass).
Status SameDtype(const InferContext& c, std::initializer_list<size_t> which);
// Input i, when present and of known type, has this one.
Status RequireDtype(const InferContext& c, size_t i, DType want, std::string_view what);
Status RequireBool(const InferContext& c, size_t i);
// Elements of an input that must be an integer vector or scalar: nullopt when unknown;
// InvalidArgument when it is no integer tensor or has a rank above 1.
Result<std::optional<std::vector<Dim>>> IntVector(const InferContext& c, size_t i,
                                                  std::string_view what);
// The same, but only when every element is a number.
Result<std::optional<std::vector<int64_t>>> KnownIntVector(const InferContext& c, size_t i,
                                                           std::string_view what);
// Input i is a scalar or has one element (symbolic extents pass).
Status RequireScalar(const InferContext& c, size_t i, std::string_view what);
// Input i is a vector of `count` elements; absent passes.
Status RequireVector(InferContext& c, size_t i, const Dim& count, std::string_view what);

// --- axes ---
Result<size_t> NormalizeAxis(int64_t axis, size_t rank, std::string_view what = "axis");
// Each in range and none twice.
Result<std::vector<size_t>> NormalizeAxes(std::span<const int64_t> axes, size_t rank,
                                          std::string_view what = "axes");

// --- dimensions ---
// One dimension that two inputs must share.
Result<Dim> Unify(InferContext& c, const Dim& a, const Dim& b, std::string_view what);
Result<SymShape> Broadcast(InferContext& c, const SymShape& a, const SymShape& b);
// `from` broadcasts to exactly `to`.
Status BroadcastsTo(const SymShape& from, const SymShape& to, std::string_view what);
SymShape FreshShape(InferContext& c, size_t rank);

// --- elements ---
// The extents when all are numbers and the count is at most kMaxElements.
std::optional<std::vector<int64_t>> SmallExtent(const SymShape& shape);
// For each element of a tensor of extent `to`, the position in a tensor of extent `from` that
// broadcasts to it.
std::vector<size_t> BroadcastPositions(std::span<const int64_t> from, std::span<const int64_t> to);
// Calls f(index vector) for each position in row-major order.
template <typename F>
void ForEachIndex(std::span<const int64_t> extent, F&& f) {
  for (int64_t d : extent) {
    if (d <= 0) return;
  }
  std::vector<int64_t> index(extent.size(), 0);
  for (;;) {
    f(index);
    size_t i = extent.size();
    while (i > 0 && ++index[i - 1] == extent[i - 1]) index[--i] = 0;
    if (i == 0) return;
  }
}
// Row-major position of `index`.
size_t PositionOf(std::span<const int64_t> index, std::span<const int64_t> extent);
// Whether an expression in sizes is non-negative / negative wherever it was tried; sizes are at
// least 1.
bool SeemsNonNegative(const Dim& d);
bool SeemsNegative(const Dim& d);

// --- fused operators ---
// The `activation` and `activation_params` attributes of the slipway operators.
Status CheckActivation(const InferContext& c, const char* key = "activation",
                       const char* params_key = "activation_params");
// The `to`, `q_min` and `q_max` attributes of the integer operators; returns the output type.
// `wide`: it may be uint16 or int16.
Result<DType> QuantizedOutput(const InferContext& c, bool wide = false);
// The zero point attribute `name` lies in the range of input i's type, which is uint8 or int8, or
// with `wide` uint16 or int16.
Status CheckCodes(const InferContext& c, size_t i, std::string_view zero_point, bool wide = false);

// --- windows (convolution and pooling) ---
struct Window {
  std::vector<int64_t> kernel, strides, dilations, pads;  // pads: all begins, then all ends
  std::string auto_pad = "NOTSET";
  bool ceil_mode = false;
  size_t rank() const { return kernel.size(); }
};
// Reads and checks strides, dilations, pads, auto_pad and ceil_mode for the given kernel extent.
Result<Window> ReadWindow(const InferContext& c, std::vector<int64_t> kernel);
// The extent of the output along spatial dimension i.
Result<Dim> WindowOutput(const Window& w, const Dim& in, size_t i);

}  // namespace slipway::ir
