#pragma once
// From an element type at run time to a template instance, and the error when there is none.

#include <string>
#include <type_traits>

#include "base/float16.h"
#include "base/status.h"
#include "model/ops/kernel.h"

namespace slipway::ops {

// Calls f.template operator()<T>() for the T of Ts whose element type is t; false when none
// matches.
template <typename... Ts, typename F>
bool Dispatch(DType t, F&& f) {
  return ((DTypeOf<Ts>::value == t ? (f.template operator()<Ts>(), true) : false) || ...);
}

inline Status NoKernel(DType t) {
  return Unsupported(std::string("no reference kernel for element type ") + DTypeName(t) +
                     "; cast the input to float32 first");
}

// The lists that operators share.
template <typename F>
bool DispatchFloat(DType t, F&& f) {
  return Dispatch<float, double, Float16, BFloat16>(t, f);
}
template <typename F>
bool DispatchInteger(DType t, F&& f) {
  return Dispatch<int64_t, int32_t, uint8_t, int8_t, int16_t, uint16_t, uint32_t, uint64_t>(t, f);
}
template <typename F>
bool DispatchNumber(DType t, F&& f) {
  return DispatchFloat(t, f) || DispatchInteger(t, f);
}
// Data movement by element size; sub-byte types have no element to point at.
template <typename F>
bool DispatchSize(DType t, F&& f) {
  switch (DTypeBits(t)) {
    case 8:
      f.template operator()<uint8_t>();
      return true;
    case 16:
      f.template operator()<uint16_t>();
      return true;
    case 32:
      f.template operator()<uint32_t>();
      return true;
    case 64:
      f.template operator()<uint64_t>();
      return true;
    default:
      return false;
  }
}

template <typename T>
inline constexpr bool kIsShort = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;
template <typename T>
inline constexpr bool kIsFloat = kIsShort<T> || std::is_floating_point_v<T>;
// The type in which arithmetic on T happens: float for the 16-bit floats, T itself otherwise.
template <typename T>
using Compute = std::conditional_t<kIsShort<T>, float, T>;

// Element i of an int64 or int32 tensor (axes, indices, sizes).
inline int64_t IndexAt(const TensorView& t, int64_t i) {
  return t.dtype == DType::kInt32 ? t.as<const int32_t>()[i] : t.as<const int64_t>()[i];
}
inline Status CheckIndexType(const TensorView& t, const char* what) {
  if (t.dtype == DType::kInt64 || t.dtype == DType::kInt32) return OkStatus();
  return Unsupported(std::string(what) + " must be int64 or int32, not " + DTypeName(t.dtype));
}

// axis in [-rank, rank) made non-negative.
inline Status NormalizeAxis(int64_t axis, int rank, int* out) {
  if (axis < -rank || axis >= rank) {
    return InvalidArgument("axis " + std::to_string(axis) + " is outside [-" +
                           std::to_string(rank) + ", " + std::to_string(rank) +
                           ") of a tensor of rank " + std::to_string(rank));
  }
  *out = static_cast<int>(axis < 0 ? axis + rank : axis);
  return OkStatus();
}

// Element i of types of 1 to 8 bits. Sub-byte elements lie low bits first.
inline uint8_t ReadCode(const uint8_t* data, int bits, int64_t i) {
  if (bits == 8) return data[i];
  const int64_t per_byte = 8 / bits;
  return static_cast<uint8_t>(data[i / per_byte] >> (i % per_byte * bits) & ((1 << bits) - 1));
}
// Elements of one byte must be written in ascending order: the first clears the byte.
inline void WriteCode(uint8_t* data, int bits, int64_t i, uint8_t code) {
  if (bits == 8) {
    data[i] = code;
    return;
  }
  const int64_t per_byte = 8 / bits;
  const int shift = static_cast<int>(i % per_byte) * bits, mask = (1 << bits) - 1;
  const int kept = shift == 0 ? 0 : data[i / per_byte] & ((1 << shift) - 1);
  data[i / per_byte] = static_cast<uint8_t>(kept | (code & mask) << shift);
}

// The first element of a scalar-like tensor as a double; the caller has checked that it is present
// and not empty.
inline double ScalarAt(const TensorView& t) {
  double v = 0;
  auto read = [&]<typename T>() {
    v = static_cast<double>(static_cast<Compute<T>>(*t.as<const T>()));
  };
  if (!DispatchNumber(t.dtype, read) && t.dtype == DType::kBool) v = *t.as<const uint8_t>() != 0;
  return v;
}

}  // namespace slipway::ops
