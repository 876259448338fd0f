#pragma once
// Numbers and names as people read them.

#include <cstdint>
#include <string>
#include <string_view>

namespace slipway::report {

std::string FormatBytes(int64_t bytes);  // "1.2 MiB", "512 B"
std::string FormatCount(double n);       // "4.10 G", "512"
std::string FormatMs(
    double ms);  // "0.0123", "1.23", "123": three significant digits; "-" when not finite
std::string FormatPercent(double ratio,
                          int digits = 2);      // 0.9123 -> "91.23 %"; "-" when not finite
std::string FormatFixed(double v, int digits);  // "-" when not finite

// Text from outside, made safe to show in one line: control characters, invalid UTF-8 and the marks
// that reorder text (U+202A..U+202E, U+2066..U+2069) become U+FFFD; tabs and line ends become
// spaces.
std::string Printable(std::string_view text);

// Terminal columns of UTF-8 text: combining marks 0, East Asian wide characters and emoji 2.
int DisplayWidth(std::string_view text);
// At most `width` columns, the middle replaced by "…" (a node's name tells most at its ends).
std::string Shorten(std::string_view text, int width);

}  // namespace slipway::report
