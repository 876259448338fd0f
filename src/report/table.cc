#include "report/table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "report/format.h"

namespace slipway::report {

void Table::AddRow(std::vector<std::string> cells) {
  cells.resize(std::max<size_t>(columns_.size(), 1));
  for (auto& c : cells) c = Printable(c);
  rows_.push_back(std::move(cells));
}

void Table::AddRule() { rows_.emplace_back(); }

std::string Table::Render(int width) const {
  const size_t n = columns_.size();
  std::vector<int> widths(n);
  for (size_t c = 0; c < n; ++c) {
    int w = 0;
    for (const auto& row : rows_) {
      if (!row.empty()) w = std::max(w, DisplayWidth(row[c]));
    }
    if (columns_[c].max_width > 0) w = std::min(w, columns_[c].max_width);
    widths[c] = std::max(w, DisplayWidth(columns_[c].title));
  }
  constexpr int kGap = 2, kSmallest = 8;
  while (width > 0) {
    int total = 0;
    for (int w : widths) total += w + kGap;
    const int over = total - kGap - width;
    if (over <= 0) break;
    size_t widest = n;
    for (size_t c = 0; c < n; ++c) {
      if (columns_[c].align == Align::kLeft && widths[c] > kSmallest &&
          (widest == n || widths[c] > widths[widest])) {
        widest = c;
      }
    }
    if (widest == n) break;
    widths[widest] = std::max(kSmallest, widths[widest] - over);
  }
  std::string out;
  const auto line = [&](auto&& cell) {
    std::string text;
    for (size_t c = 0; c < n; ++c) {
      const std::string value = Shorten(cell(c), widths[c]);
      const std::string pad(static_cast<size_t>(std::max(0, widths[c] - DisplayWidth(value))), ' ');
      text += columns_[c].align == Align::kRight ? pad + value : value + pad;
      text += std::string(kGap, ' ');
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  const auto rule = [&] {
    for (size_t c = 0; c < n; ++c) {
      for (int i = 0; i < widths[c]; ++i) out += "─";
      out += c + 1 < n ? "  " : "\n";
    }
  };
  line([&](size_t c) { return columns_[c].title; });
  rule();
  for (const auto& row : rows_) {
    if (row.empty())
      rule();
    else
      line([&](size_t c) { return row[c]; });
  }
  return out;
}

int TerminalWidth(int fd) {
  if (!isatty(fd)) return 0;
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace slipway::report
