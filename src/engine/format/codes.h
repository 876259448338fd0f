#pragma once
// Float constants that lie in a package as integers with a scale for each row (weights of recurrent
// layers), and become floats when it is loaded.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace slipway::format {

// Stored are `rows` float32 scales and behind them the signed codes, `bits` (4 or 8) each, of 4
// bits the even one in the low half of a byte; every row begins with a byte. Their number, for
// `count` codes; nullopt where rows, count or bits are impossible.
std::optional<uint64_t> CodedBytes(uint64_t rows, uint64_t count, int bits);
// What the bytes stand for: code * scale, rounded once. `coded` has CodedBytes.
void DecodeRows(std::span<const uint8_t> coded, uint64_t rows, uint64_t count, int bits,
                float* out);
// `scales`: one a row. Codes fit the bits.
std::vector<uint8_t> EncodeRows(std::span<const float> scales, std::span<const int8_t> codes,
                                int bits);

}  // namespace slipway::format
