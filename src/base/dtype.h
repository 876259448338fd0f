#pragma once
// Element types of tensors. The values are those of ONNX TensorProto.DataType (onnx.proto3), so
// that no table is needed between file and IR; they are stored in packages and must never change.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace slipway {

enum class DType : uint8_t {
  kUndefined = 0,
  kFloat32 = 1,
  kUInt8 = 2,
  kInt8 = 3,
  kUInt16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,  // recognised so that it can be refused by name; no tensor of strings exists
  kBool = 9,
  kFloat16 = 10,
  kFloat64 = 11,
  kUInt32 = 12,
  kUInt64 = 13,
  kBFloat16 = 16,
  kFloat8E4M3FN = 17,
  kFloat8E4M3FNUZ = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2FNUZ = 20,
  kUInt4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
  kFloat8E8M0 = 24,
  kUInt2 = 25,
  kInt2 = 26,
};

// Bits of one element; 0 for kUndefined, kString and unknown values. bool is 8 bits.
int DTypeBits(DType t);
// "float32", "int8", "bool", ...; "undefined" for unknown values.
const char* DTypeName(DType t);
// The inverse of DTypeName; kUndefined when the name is unknown.
DType DTypeFromName(std::string_view name);

bool IsFloating(DType t);  // float64/32/16, bfloat16, FP8, FP4
bool IsInteger(DType t);   // intN and uintN, not bool
bool IsSignedInteger(DType t);
inline bool IsKnown(DType t) { return DTypeBits(t) != 0; }

// Bytes of `count` densely packed elements (sub-byte types pack low bits first, rows not padded).
// count >= 0 and small enough that count * bits fits in 64 bits: check with CheckedBytes first for
// sizes that come from outside.
inline size_t DTypeBytes(DType t, int64_t count) {
  return (static_cast<size_t>(count) * static_cast<size_t>(DTypeBits(t)) + 7) / 8;
}

template <typename T>
struct DTypeOf;
#define SLIPWAY_DTYPE_OF(type, e)            \
  template <>                                \
  struct DTypeOf<type> {                     \
    static constexpr DType value = DType::e; \
  };
SLIPWAY_DTYPE_OF(float, kFloat32)
SLIPWAY_DTYPE_OF(double, kFloat64)
SLIPWAY_DTYPE_OF(uint8_t, kUInt8)
SLIPWAY_DTYPE_OF(int8_t, kInt8)
SLIPWAY_DTYPE_OF(uint16_t, kUInt16)
SLIPWAY_DTYPE_OF(int16_t, kInt16)
SLIPWAY_DTYPE_OF(uint32_t, kUInt32)
SLIPWAY_DTYPE_OF(int32_t, kInt32)
SLIPWAY_DTYPE_OF(uint64_t, kUInt64)
SLIPWAY_DTYPE_OF(int64_t, kInt64)
SLIPWAY_DTYPE_OF(bool, kBool)
#undef SLIPWAY_DTYPE_OF

}  // namespace slipway
