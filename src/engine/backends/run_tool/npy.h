#pragma once
// NumPy .npy arrays, versions 1 to 3, little-endian and in C order (numpy.lib.format). data/npy.h does more but belongs to the host.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/status.h"

namespace slipway::run_tool {

struct Array {
  DType dtype = DType::kUndefined;
  std::vector<int64_t> dims;
  std::vector<uint8_t> bytes;
};

bool IsNpy(std::span<const uint8_t> file);
// InvalidArgument: not .npy, another byte order, Fortran order, an element type without equivalent, or a size that differs from the shape's.
Result<Array> ReadNpy(std::span<const uint8_t> file);
// Types that NumPy lacks (bfloat16, 8-bit floats, 4- and 2-bit integers) are written as unsigned integers of their storage.
std::vector<uint8_t> WriteNpy(DType dtype, std::span<const int64_t> dims, std::span<const uint8_t> bytes);

}  // namespace slipway::run_tool
