#pragma once
// NumPy's array files: .npy versions 1 to 3 and .npz (a zip of .npy), as numpy/lib/format.py
// describes them. Little-endian, C order, every numeric type and bool. Fortran order, big-endian,
// object and record arrays are refused with the line of Python that turns them into something
// readable.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/status.h"

namespace slipway::data {

// A dense row-major array. `bytes` is 64-byte aligned and stays valid while a copy of `owner` lives
// (a file mapping or a heap block). Copies are cheap and share the bytes.
struct NpyArray {
  DType dtype = DType::kUndefined;
  std::vector<int64_t> dims;
  std::span<const uint8_t> bytes;
  std::shared_ptr<const void> owner;

  int64_t count() const;  // product of dims, 1 for a scalar
  // An array of its own copy of the bytes. `bytes.size()` must be what dtype and dims say.
  static Result<NpyArray> Copy(DType dtype, std::vector<int64_t> dims,
                               std::span<const uint8_t> bytes);
};

// Maps `path`; big arrays are not read before they are used. Errors name the file.
Result<NpyArray> ReadNpy(const std::string& path);
// Parses an image of a .npy file; `owner` keeps `file` alive; `name` is for messages.
Result<NpyArray> ParseNpy(std::span<const uint8_t> file, std::shared_ptr<const void> owner,
                          const std::string& name);
// Replaces `path` atomically. Unsupported: types NumPy has no name for (bfloat16, FP8, sub-byte).
Status WriteNpy(const std::string& path, DType dtype, std::span<const int64_t> dims,
                std::span<const uint8_t> bytes);

// All arrays of a .npz in file order, keys without ".npy". ResourceExhausted when they need more
// than `max_bytes`.
Result<std::vector<std::pair<std::string, NpyArray>>> ReadNpz(const std::string& path,
                                                              uint64_t max_bytes = uint64_t{16}
                                                                                   << 30);
Status WriteNpz(const std::string& path, std::span<const std::pair<std::string, NpyArray>> arrays);

// Element `index` as a double or an integer, whatever numeric type the array has. 0 <= index <
// count().
double NpyValue(const NpyArray& array, int64_t index);
// Every element as float32 into `out` (count elements from element `begin`). Integers beyond 2^24
// round.
void NpyToFloat(const NpyArray& array, int64_t begin, std::span<float> out);

}  // namespace slipway::data
