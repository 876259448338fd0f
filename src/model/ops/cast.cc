// Cast between all element types that have one. Where ONNX leaves the result open (a float outside
// an integer's range), the value is cut to int64 and wraps from there, as numpy does on common
// machines.

#include <cmath>
#include <cstring>

#include "model/ops/broadcast.h"
#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

// Stands for bool in the dispatch below: any other byte than 0 is true.
struct Bool {
  uint8_t byte;
};

int64_t CutToInt64(double x) {
  if (std::isnan(x)) return 0;
  if (x >= 0x1p63) return std::numeric_limits<int64_t>::max();
  if (x < -0x1p63) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(x);
}

template <typename To, typename From>
To Convert(From v) {
  if constexpr (std::is_same_v<To, From>) {
    return v;
  } else if constexpr (std::is_same_v<From, Bool>) {
    return Convert<To>(static_cast<int32_t>(v.byte != 0));
  } else if constexpr (kIsShort<From>) {
    return Convert<To>(static_cast<float>(v));
  } else if constexpr (std::is_same_v<To, Bool>) {
    return Bool{static_cast<uint8_t>(v != From{0})};
  } else if constexpr (kIsShort<To>) {
    return To(static_cast<double>(v));
  } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
    if constexpr (std::is_same_v<To, uint64_t>) {
      if (v >= From(0x1p63)) return v >= From(0x1p64) ? ~uint64_t{0} : static_cast<uint64_t>(v);
    }
    return static_cast<To>(CutToInt64(v));
  } else {
    return static_cast<To>(v);
  }
}

template <typename F>
bool DispatchCast(DType t, F&& f) {
  if (t == DType::kBool) {
    f.template operator()<Bool>();
    return true;
  }
  return DispatchNumber(t, f);
}

bool IsSmall(DType t) {
  switch (t) {
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E4M3FNUZ:
    case DType::kFloat8E5M2:
    case DType::kFloat8E5M2FNUZ:
    case DType::kFloat8E8M0:
    case DType::kFloat4E2M1:
    case DType::kInt4:
    case DType::kUInt4:
    case DType::kInt2:
    case DType::kUInt2:
      return true;
    default:
      return false;
  }
}

double DecodeSmall(DType t, uint8_t code) {
  switch (t) {
    case DType::kInt4:
      return code < 8 ? code : code - 16;
    case DType::kInt2:
      return code < 2 ? code : code - 4;
    case DType::kUInt4:
    case DType::kUInt2:
      return code;
    default:
      return DecodeFloat8(t, code);
  }
}

uint8_t EncodeSmall(DType t, double x, bool saturate, E8M0Rounding rounding) {
  if (IsFloating(t)) return EncodeFloat8(t, x, saturate, rounding);
  return static_cast<uint8_t>(CutToInt64(x));  // WriteCode keeps the low bits
}

double ReadWide(const TensorView& x, int64_t i) {
  double v = 0;
  DispatchCast(x.dtype, [&]<typename T>() { v = Convert<double>(x.as<const T>()[i]); });
  return v;
}
void WriteWide(const TensorView& y, int64_t i, double v) {
  DispatchCast(y.dtype, [&]<typename T>() { y.as<T>()[i] = Convert<T>(v); });
}

// The rare types go element by element through double, which holds all of their values.
Status CastSmall(const OpContext& c, const TensorView& x, const TensorView& y) {
  const bool saturate = c.attributes->Int("saturate", 1) != 0;
  const auto mode = c.attributes->String("round_mode", "up");
  E8M0Rounding rounding = E8M0Rounding::kUp;
  if (mode == "down") {
    rounding = E8M0Rounding::kDown;
  } else if (mode == "nearest") {
    rounding = E8M0Rounding::kNearest;
  } else if (mode != "up") {
    return InvalidArgument("unknown round_mode '" + std::string(mode) +
                           "'; expected up, down or nearest");
  }
  const bool small_x = IsSmall(x.dtype), small_y = IsSmall(y.dtype);
  auto noop = []<typename T>() {};
  if (!small_x && !DispatchCast(x.dtype, noop)) return NoKernel(x.dtype);
  if (!small_y && !DispatchCast(y.dtype, noop)) return NoKernel(y.dtype);
  const int bits_x = DTypeBits(x.dtype), bits_y = DTypeBits(y.dtype);
  for (int64_t i = 0, n = x.count(); i < n; ++i) {
    const double v =
        small_x ? DecodeSmall(x.dtype, ReadCode(x.as<const uint8_t>(), bits_x, i)) : ReadWide(x, i);
    if (small_y) {
      WriteCode(y.as<uint8_t>(), bits_y, i, EncodeSmall(y.dtype, v, saturate, rounding));
    } else {
      WriteWide(y, i, v);
    }
  }
  return OkStatus();
}

}  // namespace

Status OnnxCast(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  if (x.count() == 0) return OkStatus();
  if (x.dtype == y.dtype) {
    std::memmove(y.data, x.data, DTypeBytes(x.dtype, x.count()));
    return OkStatus();
  }
  if (IsSmall(x.dtype) || IsSmall(y.dtype)) return CastSmall(c, x, y);
  bool done = false;
  DispatchCast(x.dtype, [&]<typename From>() {
    done = DispatchCast(y.dtype, [&]<typename To>() {
      const From* from = x.as<const From>();
      To* to = y.as<To>();
      For(c, x.count(), kElementGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) to[i] = Convert<To>(from[i]);
      });
    });
  });
  if (!done) {
    return Unsupported(std::string("no cast from ") + DTypeName(x.dtype) + " to " +
                       DTypeName(y.dtype));
  }
  return OkStatus();
}

}  // namespace slipway::ops
