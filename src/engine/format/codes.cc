#include "engine/format/codes.h"

#include <cstring>

namespace slipway::format {
namespace {

// Sums and products of what passes stay far from overflow.
constexpr uint64_t kMost = uint64_t{1} << 46;

uint64_t RowBytes(uint64_t columns, int bits) { return bits == 8 ? columns : (columns + 1) / 2; }

}  // namespace

std::optional<uint64_t> CodedBytes(uint64_t rows, uint64_t count, int bits) {
  if ((bits != 4 && bits != 8) || rows == 0 || count == 0 || count > kMost || count % rows != 0)
    return std::nullopt;
  return rows * (sizeof(float) + RowBytes(count / rows, bits));
}

void DecodeRows(std::span<const uint8_t> coded, uint64_t rows, uint64_t count, int bits,
                float* out) {
  const uint64_t columns = count / rows, bytes = RowBytes(columns, bits);
  const uint8_t* codes = coded.data() + rows * sizeof(float);
  for (uint64_t r = 0; r < rows; ++r, codes += bytes, out += columns) {
    float scale;
    std::memcpy(&scale, coded.data() + r * sizeof(float), sizeof(float));
    for (uint64_t c = 0; c < columns; ++c) {
      const int code = bits == 8    ? static_cast<int8_t>(codes[c])
                       : c % 2 == 0 ? static_cast<int8_t>(codes[c / 2] << 4) >> 4
                                    : static_cast<int8_t>(codes[c / 2]) >> 4;
      out[c] = static_cast<float>(code) * scale;
    }
  }
}

std::vector<uint8_t> EncodeRows(std::span<const float> scales, std::span<const int8_t> codes,
                                int bits) {
  const uint64_t rows = scales.size(), columns = codes.size() / rows,
                 bytes = RowBytes(columns, bits);
  std::vector<uint8_t> out(rows * (sizeof(float) + bytes));
  std::memcpy(out.data(), scales.data(), rows * sizeof(float));
  uint8_t* to = out.data() + rows * sizeof(float);
  for (uint64_t r = 0; r < rows; ++r, to += bytes) {
    for (uint64_t c = 0; c < columns; ++c) {
      const auto code = static_cast<uint8_t>(codes[r * columns + c]);
      if (bits == 8) {
        to[c] = code;
      } else {
        to[c / 2] |= static_cast<uint8_t>(c % 2 == 0 ? code & 15 : code << 4);
      }
    }
  }
  return out;
}

}  // namespace slipway::format
