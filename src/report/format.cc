#include "report/format.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <vector>

namespace slipway::report {
namespace {

struct Decoded {
  uint32_t code;  // 0xfffd when invalid
  size_t length;
  bool valid;
};

Decoded Decode(std::string_view s, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(s[i]); };
  const uint8_t b = byte(at);
  if (b < 0x80) return {b, 1, true};
  const size_t n = b >= 0xf0 && b < 0xf5   ? 4
                   : b >= 0xe0 && b < 0xf0 ? 3
                   : b >= 0xc2 && b < 0xe0 ? 2
                                           : 0;
  if (n == 0 || at + n > s.size()) return {0xfffd, 1, false};
  uint32_t code = b & (0xff >> (n + 1));
  for (size_t i = 1; i < n; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return {0xfffd, 1, false};
    code = code << 6 | (byte(at + i) & 0x3f);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  if (code < kSmallest[n] || code > 0x10ffff || surrogate) return {0xfffd, 1, false};
  return {code, n, true};
}

struct Range {
  uint32_t first, last;
};
// Common blocks only: enough for aligned tables, not a full East Asian Width table (UAX #11).
constexpr Range kZero[] = {{0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},   {0x610, 0x61a},
                           {0x64b, 0x65f},   {0x900, 0x902},   {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff},
                           {0x200b, 0x200f}, {0x2060, 0x2064}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f},
                           {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}};
constexpr Range kWide[] = {
    {0x1100, 0x115f},   {0x231a, 0x231b},  {0x23e9, 0x23ec}, {0x2e80, 0x303e},   {0x3041, 0x33ff},
    {0x3400, 0x4dbf},   {0x4e00, 0x9fff},  {0xa000, 0xa4cf}, {0xac00, 0xd7a3},   {0xf900, 0xfaff},
    {0xfe30, 0xfe4f},   {0xff00, 0xff60},  {0xffe0, 0xffe6}, {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff},
    {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};

template <size_t N>
bool In(const Range (&table)[N], uint32_t code) {
  return std::any_of(table, table + N,
                     [&](const Range& r) { return code >= r.first && code <= r.last; });
}

int WidthOf(uint32_t code) {
  if (code < 0x300) return 1;
  return In(kZero, code) ? 0 : In(kWide, code) ? 2 : 1;
}

std::string Scaled(double v, const char* const* units, size_t count) {
  size_t u = 0;
  while (std::fabs(v) >= 999.5 && u + 1 < count) {
    v /= 1000;
    ++u;
  }
  char text[48];
  const int digits = u == 0 ? 0 : std::fabs(v) < 9.995 ? 2 : std::fabs(v) < 99.95 ? 1 : 0;
  std::snprintf(text, sizeof text, "%.*f%s", digits, v, units[u]);
  return text;
}

}  // namespace

std::string FormatBytes(int64_t bytes) {
  constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double v = static_cast<double>(bytes);
  int unit = 0;
  while (v >= 1024 && unit < 4) {
    v /= 1024;
    ++unit;
  }
  char text[48];
  std::snprintf(text, sizeof text, "%.*f %s", unit == 0 || v >= 100 ? 0 : 1, v, units[unit]);
  return text;
}

std::string FormatCount(double n) {
  if (!std::isfinite(n)) return "-";
  constexpr const char* units[] = {"", " k", " M", " G", " T"};
  return Scaled(n, units, 5);
}

std::string FormatMs(double ms) {
  if (!std::isfinite(ms)) return "-";
  char text[48];
  const double a = std::fabs(ms);
  const int digits = a == 0       ? 0
                     : a < 0.0995 ? 4
                     : a < 0.9995 ? 3
                     : a < 9.995  ? 2
                     : a < 99.95  ? 1
                                  : 0;
  std::snprintf(text, sizeof text, "%.*f", digits, ms);
  return text;
}

std::string FormatFixed(double v, int digits) {
  if (!std::isfinite(v)) return "-";
  char text[352];
  std::snprintf(text, sizeof text, "%.*f", digits, v);
  return text;
}

std::string FormatPercent(double ratio, int digits) {
  if (!std::isfinite(ratio)) return "-";
  return FormatFixed(ratio * 100, digits) + " %";
}

std::string Printable(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Decoded d = Decode(text, at);
    const bool space = d.code == '\n' || d.code == '\r' || d.code == '\t';
    const bool control = d.code < 0x20 || (d.code >= 0x7f && d.code < 0xa0);
    const bool reorder = (d.code >= 0x202a && d.code <= 0x202e) ||
                         (d.code >= 0x2066 && d.code <= 0x2069) || d.code == 0x2028 ||
                         d.code == 0x2029;
    if (space)
      out += ' ';
    else if (!d.valid || control || reorder)
      out += "\xef\xbf\xbd";
    else
      out += text.substr(at, d.length);
    at += d.length;
  }
  return out;
}

int DisplayWidth(std::string_view text) {
  int width = 0;
  for (size_t at = 0; at < text.size();) {
    const Decoded d = Decode(text, at);
    width += WidthOf(d.code);
    at += d.length;
  }
  return width;
}

std::string Shorten(std::string_view text, int width) {
  if (DisplayWidth(text) <= width) return std::string(text);
  if (width <= 1) return width == 1 ? "…" : "";
  std::vector<std::pair<std::string_view, int>> chars;
  for (size_t at = 0; at < text.size();) {
    const Decoded d = Decode(text, at);
    chars.emplace_back(text.substr(at, d.length), WidthOf(d.code));
    at += d.length;
  }
  const int left = width / 2, right = width - 1 - left;
  std::string head, tail;
  int used = 0;
  size_t i = 0;
  for (; i < chars.size() && used + chars[i].second <= left; ++i) {
    head += chars[i].first;
    used += chars[i].second;
  }
  used = 0;
  for (size_t j = chars.size(); j > i && used + chars[j - 1].second <= right; --j) {
    tail.insert(0, chars[j - 1].first);
    used += chars[j - 1].second;
  }
  return head + "…" + tail;
}

}  // namespace slipway::report
