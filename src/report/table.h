#pragma once
// Text tables for terminals and logs: columns aligned by what a terminal shows, cells made safe to
// print.

#include <string>
#include <vector>

namespace slipway::report {

enum class Align : int { kLeft = 0, kRight = 1 };

struct TableColumn {
  std::string title;
  Align align = Align::kLeft;
  int max_width = 0;  // longer cells are shortened in the middle; 0 = never
};

class Table {
 public:
  explicit Table(std::vector<TableColumn> columns) : columns_(std::move(columns)) {}
  // Missing cells are empty; more cells than columns are dropped.
  void AddRow(std::vector<std::string> cells);
  // A line between groups of rows.
  void AddRule();
  size_t rows() const { return rows_.size(); }
  // Title line, rule, rows; every line ends with '\n' and has no trailing blanks. When `width` > 0
  // the widest left-aligned columns shrink (to 8 at least) until a line fits.
  std::string Render(int width = 0) const;

 private:
  std::vector<TableColumn> columns_;
  std::vector<std::vector<std::string>> rows_;  // an empty row is a rule
};

// Columns of the terminal behind `fd`; 0 when it is not one.
int TerminalWidth(int fd);

}  // namespace slipway::report
