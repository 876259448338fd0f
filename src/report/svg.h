#pragma once
// Plots as inline SVG. Colours are the page's CSS variables --c0..--c7 (html.cc), so they follow
// light and dark.

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace slipway::report {

inline constexpr int kPalette = 8;

struct ScatterPoint {
  std::string label;  // beside the point and in the legend
  double x = 0, y = 0;
  int color = 0;
  // Drawn in a strip of its own beside the plot, by y alone, and never part of the front: its x is
  // of another scale.
  bool apart = false;
  bool failed = false;  // drawn as a cross
  std::string title;    // shown on hovering
};

struct ScatterOptions {
  std::string x_title, y_title, apart_title;
  std::optional<double> reference, limit;  // horizontal lines
  std::string reference_title, limit_title;
};

// Least x and greatest y win: the front is drawn through the points that no other one beats in
// both. Points that are not finite are left out. The x axis is logarithmic when the largest is over
// 15 times the smallest.
std::string Scatter(const std::vector<ScatterPoint>& points, const ScatterOptions& options);
// Indices of the front's points, by rising x. `apart`, failed and not finite ones never belong to
// it.
std::vector<size_t> ParetoFront(const std::vector<ScatterPoint>& points);

// A network among others by what it costs and loses.
struct FrontMark {
  std::string label;
  double cost = 0, loss = 0;
  int color = 0;
  std::string title;
  bool chosen = false;  // drawn larger, with a ring
};
struct FrontOptions {
  std::string x_title, y_title;
  std::vector<std::pair<double, double>> front;  // cost and loss, by rising cost: drawn as a line
  std::optional<double> limit;                   // of the cost: a vertical line
  std::string limit_title;
};
// Loss (logarithmic; what loses nothing stands on a line of its own at the bottom) over cost. What
// is not finite or negative is left out; empty when nothing is left.
std::string FrontChart(const std::vector<FrontMark>& marks, const FrontOptions& options);

struct Bar {
  std::string label;  // shortened when long; whole in the title
  double value = 0;
  int color = 0;
  std::string text;  // right of the bar
  std::string title;
};
struct LegendEntry {
  std::string label;
  int color = 0;
};
std::string HorizontalBars(const std::vector<Bar>& bars, const std::vector<LegendEntry>& legend,
                           const std::string& x_title);

// Tick values covering [low, high], about `count` of them, at 1, 2 or 5 times a power of ten.
std::vector<double> NiceTicks(double low, double high, int count);

}  // namespace slipway::report
