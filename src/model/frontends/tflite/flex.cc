#include "model/frontends/tflite/flex.h"

#include <cstring>
#include <optional>

namespace slipway::tflite {
namespace {

// Types of FlexBuffers values.
constexpr int kInt = 1, kUInt = 2, kFloat = 3, kIndirectInt = 6, kIndirectUInt = 7,
              kIndirectFloat = 8, kMap = 9, kBool = 26;
constexpr uint64_t kMostEntries = 1000, kLongestKey = 256;

class Reader {
 public:
  explicit Reader(Bytes bytes) : bytes_(bytes) {}

  // An unsigned number of `width` bytes at `at`.
  std::optional<uint64_t> Number(uint64_t at, uint64_t width) const {
    if (width > 8 || at > bytes_.size() || width > bytes_.size() - at) return std::nullopt;
    uint64_t v = 0;
    std::memcpy(&v, bytes_.data() + at, width);
    return v;
  }
  // Where the offset stored at `at` leads: backwards.
  std::optional<uint64_t> Follow(uint64_t at, uint64_t width) const {
    const auto offset = Number(at, width);
    if (!offset || *offset > at) return std::nullopt;
    return at - *offset;
  }
  std::optional<double> Scalar(uint64_t at, uint64_t width, int type) const {
    const auto raw = Number(at, width);
    if (!raw) return std::nullopt;
    if (type == kFloat) {
      if (width == 4) {
        const auto bits = static_cast<uint32_t>(*raw);
        float f;
        std::memcpy(&f, &bits, 4);
        return f;
      }
      if (width != 8) return std::nullopt;
      double d;
      std::memcpy(&d, &*raw, 8);
      return d;
    }
    if (type == kInt && width < 8 && *raw >> (8 * width - 1) != 0)
      return static_cast<double>(static_cast<int64_t>(*raw | ~uint64_t{0} << (8 * width)));
    return type == kInt ? static_cast<double>(static_cast<int64_t>(*raw))
                        : static_cast<double>(*raw);
  }
  std::optional<std::string> Key(uint64_t at) const {
    std::string key;
    for (; at < bytes_.size() && key.size() < kLongestKey; ++at) {
      if (bytes_[at] == 0) return key;
      key += static_cast<char>(bytes_[at]);
    }
    return std::nullopt;
  }
  uint8_t Byte(uint64_t at) const { return bytes_[at]; }
  uint64_t size() const { return bytes_.size(); }

 private:
  Bytes bytes_;
};

Status Damaged() {
  return InvalidArgument(
      "the operator's options are damaged (not a FlexBuffers map); convert the model again");
}

}  // namespace

Result<std::map<std::string, double>> ReadFlexNumbers(Bytes bytes) {
  std::map<std::string, double> out;
  const Reader r(bytes);
  if (r.size() < 3) return Damaged();
  const uint64_t root_width = r.Byte(r.size() - 1);
  const int packed = r.Byte(r.size() - 2);
  if (packed >> 2 != kMap || root_width == 0 || root_width > 8 || root_width + 2 > r.size())
    return Damaged();
  const uint64_t width = uint64_t{1} << (packed & 3);
  // A map: [offset of the keys] [width of the keys] [count] values... types...
  const auto values = r.Follow(r.size() - 2 - root_width, root_width);
  if (!values || *values < 3 * width) return Damaged();
  const auto count = r.Number(*values - width, width),
             key_width = r.Number(*values - 2 * width, width);
  const auto keys = r.Follow(*values - 3 * width, width);
  if (!count || !key_width || !keys || *count > kMostEntries || *key_width == 0 || *key_width > 8)
    return Damaged();
  for (uint64_t i = 0; i < *count; ++i) {
    const auto key_at = r.Follow(*keys + i * *key_width, *key_width);
    const auto key = key_at ? r.Key(*key_at) : std::nullopt;
    const auto type = r.Number(*values + *count * width + i, 1);
    if (!key || !type) return Damaged();
    const uint64_t at = *values + i * width;
    const int kind = static_cast<int>(*type >> 2);
    std::optional<double> value;
    if (kind == kInt || kind == kUInt || kind == kFloat || kind == kBool) {
      value = r.Scalar(at, width, kind);
    } else if (kind == kIndirectInt || kind == kIndirectUInt || kind == kIndirectFloat) {
      const auto to = r.Follow(at, width);
      value = to ? r.Scalar(*to, uint64_t{1} << (*type & 3), kind - (kIndirectInt - kInt))
                 : std::nullopt;
    } else {
      continue;
    }
    if (!value) return Damaged();
    out[*key] = *value;
  }
  return out;
}

}  // namespace slipway::tflite
