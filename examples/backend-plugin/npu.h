#pragma once
// What the two sides of the NPU share: the program that the compile side writes into a step's blob
// and the run side executes. All numbers are little-endian; the run side trusts none of them.
//
//   "ANPU" version inputs outputs layers        uint32 each
//   value of output 0, 1, ...                   uint32; values 0 .. inputs-1 are the step's inputs,
//   layer i makes value inputs + i layers, each: kind, value that it reads, element type that it
//   makes, then what its kind needs (below)

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "slipway/backend.h"

namespace acme {

inline constexpr uint32_t kVersion = 1;
inline constexpr uint32_t kMaxLayers = 4096, kMaxPorts = 256;
inline constexpr uint64_t kWeightMemory = 128 << 10;  // what the NPU holds of one layer

enum Kind : uint32_t { kConv = 1, kLinear = 2, kGridMaxPool = 3 };
enum DType : uint32_t { kFloat32 = 1, kUInt8 = 2, kInt8 = 3, kInt32 = 6 };  // of ONNX

// kConv: cout cin kh kw stride_h stride_w top left bottom right (uint32), then Requantize for cout,
// int8 weights. kLinear: n k (uint32), Requantize for n, int8 weights [n, k]. kGridMaxPool: rows
// columns (uint32). Requantize: x_zero y_zero q_min q_max (int32), multipliers (float32) and biases
// (int32), one a channel.

// Fills *error; returns the code.
inline int Fail(slipway_error* error, int code, const std::string& message) {
  error->code = code;
  std::strncpy(error->message, message.c_str(), sizeof(error->message) - 1);
  error->message[sizeof(error->message) - 1] = '\0';
  return code;
}

class Writer {
 public:
  void U32(uint64_t v) {
    const auto x = static_cast<uint32_t>(v);
    Bytes(&x, sizeof x);
  }
  void Bytes(const void* data, size_t n) {
    const auto* p = static_cast<const uint8_t*>(data);
    out_.insert(out_.end(), p, p + n);
  }
  const std::vector<uint8_t>& bytes() const { return out_; }

 private:
  std::vector<uint8_t> out_;
};

// Reads what may be damaged: past the end everything is 0 and ok() false.
class Reader {
 public:
  Reader(const uint8_t* data, uint64_t size) : data_(data), size_(size) {}
  bool ok() const { return ok_; }
  bool AtEnd() const { return ok_ && at_ == size_; }
  uint32_t U32() {
    uint32_t v = 0;
    Bytes(&v, sizeof v);
    return v;
  }
  int32_t I32() { return static_cast<int32_t>(U32()); }
  void Bytes(void* to, uint64_t n) {
    if (!ok_ || n > size_ - at_) {
      ok_ = false;
      return;
    }
    if (n > 0) std::memcpy(to, data_ + at_, n);
    at_ += n;
  }
  template <typename T>
  std::vector<T> List(uint64_t n) {
    if (!ok_ || n > (size_ - at_) / sizeof(T)) {
      ok_ = false;
      return {};
    }
    std::vector<T> out(n);
    Bytes(out.data(), n * sizeof(T));
    return out;
  }

 private:
  const uint8_t* data_;
  uint64_t size_, at_ = 0;
  bool ok_ = true;
};

// The cells of adaptive pooling: cell i of `cells` over `extent` elements is [begin, end).
inline int64_t CellBegin(int64_t i, int64_t extent, int64_t cells) { return i * extent / cells; }
inline int64_t CellEnd(int64_t i, int64_t extent, int64_t cells) {
  return ((i + 1) * extent + cells - 1) / cells;
}

template <typename T>
void GridMaxPool(const T* x, T* y, int64_t planes, int64_t height, int64_t width, int64_t rows,
                 int64_t columns) {
  for (int64_t p = 0; p < planes; ++p) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) {
        T best =
            x[(p * height + CellBegin(r, height, rows)) * width + CellBegin(c, width, columns)];
        for (int64_t i = CellBegin(r, height, rows); i < CellEnd(r, height, rows); ++i) {
          for (int64_t j = CellBegin(c, width, columns); j < CellEnd(c, width, columns); ++j) {
            const T v = x[(p * height + i) * width + j];
            if (v > best) best = v;
          }
        }
        y[(p * rows + r) * columns + c] = best;
      }
    }
  }
}

}  // namespace acme
