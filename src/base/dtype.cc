#include "base/dtype.h"

namespace slipway {
namespace {

struct Row {
  DType type;
  const char* name;
  int bits;
};

constexpr Row kRows[] = {
    {DType::kFloat32, "float32", 32},
    {DType::kUInt8, "uint8", 8},
    {DType::kInt8, "int8", 8},
    {DType::kUInt16, "uint16", 16},
    {DType::kInt16, "int16", 16},
    {DType::kInt32, "int32", 32},
    {DType::kInt64, "int64", 64},
    {DType::kString, "string", 0},
    {DType::kBool, "bool", 8},
    {DType::kFloat16, "float16", 16},
    {DType::kFloat64, "float64", 64},
    {DType::kUInt32, "uint32", 32},
    {DType::kUInt64, "uint64", 64},
    {DType::kBFloat16, "bfloat16", 16},
    {DType::kFloat8E4M3FN, "float8e4m3fn", 8},
    {DType::kFloat8E4M3FNUZ, "float8e4m3fnuz", 8},
    {DType::kFloat8E5M2, "float8e5m2", 8},
    {DType::kFloat8E5M2FNUZ, "float8e5m2fnuz", 8},
    {DType::kUInt4, "uint4", 4},
    {DType::kInt4, "int4", 4},
    {DType::kFloat4E2M1, "float4e2m1", 4},
    {DType::kFloat8E8M0, "float8e8m0", 8},
    {DType::kUInt2, "uint2", 2},
    {DType::kInt2, "int2", 2},
};

const Row* Find(DType t) {
  for (const Row& row : kRows) {
    if (row.type == t) return &row;
  }
  return nullptr;
}

}  // namespace

int DTypeBits(DType t) {
  if (t == DType::kFloat32) return 32;
  const Row* row = Find(t);
  return row ? row->bits : 0;
}

const char* DTypeName(DType t) {
  const Row* row = Find(t);
  return row ? row->name : "undefined";
}

DType DTypeFromName(std::string_view name) {
  for (const Row& row : kRows) {
    if (name == row.name) return row.type;
  }
  return DType::kUndefined;
}

bool IsFloating(DType t) {
  switch (t) {
    case DType::kFloat32:
    case DType::kFloat16:
    case DType::kFloat64:
    case DType::kBFloat16:
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E4M3FNUZ:
    case DType::kFloat8E5M2:
    case DType::kFloat8E5M2FNUZ:
    case DType::kFloat4E2M1:
    case DType::kFloat8E8M0:
      return true;
    default:
      return false;
  }
}

bool IsSignedInteger(DType t) {
  switch (t) {
    case DType::kInt8:
    case DType::kInt16:
    case DType::kInt32:
    case DType::kInt64:
    case DType::kInt4:
    case DType::kInt2:
      return true;
    default:
      return false;
  }
}

bool IsInteger(DType t) {
  switch (t) {
    case DType::kUInt8:
    case DType::kUInt16:
    case DType::kUInt32:
    case DType::kUInt64:
    case DType::kUInt4:
    case DType::kUInt2:
      return true;
    default:
      return IsSignedInteger(t);
  }
}

}  // namespace slipway
