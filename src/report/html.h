#pragma once
// One self-contained HTML page: no network, no files beside it, light and dark, printable. All text
// is escaped here; a content-security policy lets only the page's own script run.

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slipway::report {

// Safe between tags and inside quoted attributes; see Printable() for what happens to control
// characters.
std::string EscapeHtml(std::string_view text);

struct HtmlCell {
  std::string text;
  std::optional<double> sort;  // numeric columns order by it; without it by the text
  std::string css;             // a class of the page: "good", "bad", "warn", "dim", "code", "name"
  std::string title;           // shown on hovering
};

struct HtmlColumn {
  std::string title;
  bool numeric = false;  // right-aligned
};

struct HtmlTable {
  std::vector<HtmlColumn> columns;
  std::vector<std::vector<HtmlCell>> rows;
  bool filter = false;     // a search field above it
  int filter_column = -1;  // and a choice among this column's values
  bool sortable = true;
};

// What the viewer shows beside the graph for one of its nodes.
struct HtmlDetail {
  std::string title;
  std::vector<std::pair<std::string, std::string>> rows;
};

class HtmlPage {
 public:
  explicit HtmlPage(std::string title) : title_(std::move(title)) {}

  void Heading(const std::string& text, const std::string& subtitle);  // the page's own
  void Section(const std::string& text);
  void Subsection(const std::string& text);
  void Paragraph(const std::string& text);
  void Note(const std::string& text);
  void List(const std::vector<std::string>& items);
  // Figures at a glance: {name, value, remark}.
  void Tiles(const std::vector<std::vector<std::string>>& tiles);
  void Table(const HtmlTable& table);
  void Figure(const std::string& svg);  // of svg.h
  // A graph (of graph_svg.h) to pan, zoom and search; details[i] appears when node i is chosen.
  void Viewer(const std::string& graph, const std::vector<HtmlDetail>& details);
  // Only the first is shown; buttons choose. Each holds markup made by another page's body().
  void Tabs(const std::vector<std::pair<std::string, std::string>>& tabs);

  const std::string& body() const { return body_; }
  std::string Render() const;

 private:
  std::string title_, body_;
};

}  // namespace slipway::report
