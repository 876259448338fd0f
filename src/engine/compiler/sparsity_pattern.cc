#include "engine/compiler/sparsity_pattern.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace slipway::compiler {
namespace {

constexpr int kMost = 256;  // channels of a group or block

// Takes a number off the front of `text`.
bool Take(std::string_view& text, int& to) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), to);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}
bool Take(std::string_view& text, char c) {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::string SparsityPattern::ToString() const {
  if (!block) return std::to_string(keep) + ":" + std::to_string(group);
  std::string text = "block:" + std::to_string(rows) + "x" + std::to_string(columns);
  if (ratio > 0) {
    char number[32];
    std::snprintf(number, sizeof number, "@%g", ratio);
    text += number;
  }
  return text;
}

Result<SparsityPattern> ParseSparsity(std::string_view text, bool any_ratio) {
  const auto wrong = [&](const std::string& why) {
    return InvalidArgument("sparsity '" + std::string(text) + "' " + why +
                           "; it may be N:M, at most N of M input channels not zero, as in 2:4, or "
                           "block:RxC" +
                           (any_ratio ? "" : "@RATIO") +
                           " of R output by C input channels, as in block:8x4" +
                           (any_ratio ? "" : "@0.5"));
  };
  SparsityPattern p;
  std::string_view rest = text;
  if (!rest.starts_with("block:")) {
    if (!Take(rest, p.keep) || !Take(rest, ':') || !Take(rest, p.group) || !rest.empty())
      return wrong("is no pattern");
    if (p.group < 2 || p.group > kMost) return wrong("needs M from 2 to 256");
    if (p.keep < 1) return wrong("leaves no weights");
    if (p.keep >= p.group) return wrong("leaves all weights");
    return p;
  }
  p.block = true;
  rest.remove_prefix(6);
  if (!Take(rest, p.rows) || !Take(rest, 'x') || !Take(rest, p.columns))
    return wrong("is no pattern");
  if (p.rows < 1 || p.columns < 1 || p.rows > kMost || p.columns > kMost)
    return wrong("needs R and C from 1 to 256");
  if (rest.empty() && any_ratio) return p;
  if (!Take(rest, '@')) return wrong("needs a ratio");
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), p.ratio);
  if (error != std::errc() || end != rest.data() + rest.size()) return wrong("has no such ratio");
  if (!(p.ratio > 0 && p.ratio < 1)) return wrong("needs a ratio between 0 and 1");
  return p;
}

bool Gains(std::span<const std::string> platform, const SparsityPattern& pattern) {
  SparsityPattern wanted = pattern;
  wanted.ratio = 0;
  return std::find(platform.begin(), platform.end(), wanted.ToString()) != platform.end();
}

}  // namespace slipway::compiler
