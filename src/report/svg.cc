#include "report/svg.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "report/format.h"
#include "report/html.h"

namespace slipway::report {
namespace {

std::string N(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", std::clamp(v, -1e6, 1e6));
  return text;
}

std::string Color(int c) {
  return "var(--c" + std::to_string(((c % kPalette) + kPalette) % kPalette) + ")";
}

std::string Text(double x, double y, const std::string& css, const std::string& anchor,
                 const std::string& text) {
  return "<text x=\"" + N(x) + "\" y=\"" + N(y) + "\" class=\"" + css + "\" text-anchor=\"" +
         anchor + "\">" + EscapeHtml(text) + "</text>\n";
}

std::string Line(double x1, double y1, double x2, double y2, const std::string& css) {
  return "<line x1=\"" + N(x1) + "\" y1=\"" + N(y1) + "\" x2=\"" + N(x2) + "\" y2=\"" + N(y2) +
         "\" class=\"" + css + "\"/>\n";
}

std::string Open(double width, double height, const std::string& label) {
  return "<svg viewBox=\"0 0 " + N(width) + " " + N(height) + "\" role=\"img\" aria-label=\"" +
         EscapeHtml(label) + "\">\n";
}

std::string TickText(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", std::fabs(v) < 1e-12 ? 0.0 : v);
  return text;
}

struct Box {
  double x0, y0, x1, y1;
  bool Hits(const Box& o) const { return x0 < o.x1 && o.x0 < x1 && y0 < o.y1 && o.y0 < y1; }
};

constexpr double kCharWidth = 6.6;  // of the 12 px label font, on the wide side

// A place for a label near (x, y) that hits nothing placed before; the least bad one when all do.
struct Label {
  double x, y;
  std::string anchor;
};
Label PlaceLabel(double x, double y, const std::string& text, const Box& area,
                 std::vector<Box>* taken, const std::vector<Box>& lines) {
  const double w = DisplayWidth(text) * kCharWidth, h = 13;
  Label best{x + 10, y + 4, "start"};
  double best_cost = 1e9;
  Box best_box{};
  for (const double dy : {0.0, -15.0, 15.0, -28.0, 28.0, -41.0, 41.0}) {
    for (const int side : {1, -1, 0}) {
      if (side == 0 && dy == 0) continue;
      const double near = std::fabs(dy) > 20 ? 4 : 10;
      const double left = side == 1 ? x + near : side == -1 ? x - near - w : x - w / 2;
      const Box box{left, y + dy - h / 2, left + w, y + dy + h / 2};
      double cost = std::fabs(dy) + (side == 1 ? 0 : side == -1 ? 3 : 2);
      if (box.x0 < area.x0 || box.x1 > area.x1 || box.y0 < area.y0 || box.y1 > area.y1) cost += 500;
      for (const Box& t : *taken) cost += t.Hits(box) ? 200 : 0;
      for (const Box& l : lines) cost += l.Hits(box) ? 30 : 0;
      if (cost < best_cost) {
        best_cost = cost;
        best_box = box;
        best = {side == 1    ? left
                : side == -1 ? left + w
                             : x,
                y + dy + 4,
                side == 1    ? "start"
                : side == -1 ? "end"
                             : "middle"};
      }
    }
  }
  taken->push_back(best_box);
  return best;
}

std::string Mark(const ScatterPoint& p, double x, double y) {
  std::string out = "<g><title>" + EscapeHtml(p.title.empty() ? p.label : p.title) + "</title>";
  if (p.failed) {
    const std::string d = "M" + N(x - 5) + " " + N(y - 5) + "L" + N(x + 5) + " " + N(y + 5) + "M" +
                          N(x - 5) + " " + N(y + 5) + "L" + N(x + 5) + " " + N(y - 5);
    out += "<circle cx=\"" + N(x) + "\" cy=\"" + N(y) + "\" r=\"9\" fill=\"transparent\"/>";
    out += "<path d=\"" + d + "\" stroke=\"" + Color(p.color) +
           "\" stroke-width=\"3\" stroke-linecap=\"round\"/>";
  } else if (p.apart) {
    out += "<circle cx=\"" + N(x) + "\" cy=\"" + N(y) + "\" r=\"5.5\" class=\"hollow\" stroke=\"" +
           Color(p.color) + "\" stroke-width=\"2.5\"/>";
  } else {
    out += "<circle cx=\"" + N(x) + "\" cy=\"" + N(y) + "\" r=\"6.5\" class=\"dot\" fill=\"" +
           Color(p.color) + "\"/>";
  }
  return out + "</g>\n";
}

// Maps values to pixels, linearly or by logarithm.
struct Axis {
  double low, high, from, to;
  bool log = false;
  double operator()(double v) const {
    const double t = log ? (std::log10(v) - std::log10(low)) / (std::log10(high) - std::log10(low))
                         : (v - low) / (high - low);
    return from + t * (to - from);
  }
};

std::vector<double> LogTicks(double low, double high) {
  std::vector<double> out;
  const bool sparse = std::log10(high / low) > 3.2;
  for (double decade = std::pow(10, std::floor(std::log10(low))); decade <= high * 1.001;
       decade *= 10) {
    for (double m : {1.0, 2.0, 5.0}) {
      if (sparse && m != 1.0) continue;
      if (decade * m >= low * 0.999 && decade * m <= high * 1.001) out.push_back(decade * m);
    }
  }
  return out;
}

}  // namespace

std::vector<double> NiceTicks(double low, double high, int count) {
  if (!std::isfinite(low) || !std::isfinite(high)) return {};
  if (!(high > low)) {
    const double pad = std::max(std::fabs(low) * 0.01, 1e-9);
    low -= pad;
    high += pad;
  }
  const double raw = (high - low) / std::max(count, 1);
  const double magnitude = std::pow(10, std::floor(std::log10(raw)));
  double step = magnitude;
  for (double m : {2.0, 5.0, 10.0}) {
    if (step < raw * 0.999) step = magnitude * m;
  }
  std::vector<double> out;
  const double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  if (last - first > 1000) return {low, high};
  for (double k = first; k <= last; ++k) out.push_back(k * step);
  return out;
}

std::vector<size_t> ParetoFront(const std::vector<ScatterPoint>& points) {
  std::vector<size_t> order, front;
  for (size_t i = 0; i < points.size(); ++i) {
    const auto& p = points[i];
    if (!p.apart && !p.failed && std::isfinite(p.x) && std::isfinite(p.y)) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (points[a].x != points[b].x) return points[a].x < points[b].x;
    return points[a].y > points[b].y;
  });
  double best = -INFINITY;
  for (size_t i : order) {
    if (points[i].y > best) {
      front.push_back(i);
      best = points[i].y;
    }
  }
  return front;
}

std::string Scatter(const std::vector<ScatterPoint>& all, const ScatterOptions& options) {
  std::vector<ScatterPoint> points;
  for (const auto& p : all) {
    if (std::isfinite(p.x) && std::isfinite(p.y) && (p.apart || p.x > 0)) points.push_back(p);
  }
  if (points.empty()) return "";
  const bool has_apart =
      std::any_of(points.begin(), points.end(), [](const auto& p) { return p.apart; });
  const bool has_plot =
      std::any_of(points.begin(), points.end(), [](const auto& p) { return !p.apart; });
  constexpr double kWidth = 960, kHeight = 430, kLeft = 64, kTop = 18, kBottom = 372;
  const double right = has_apart ? 748 : 936;
  const Box strip{772, kTop, 944, kBottom};

  double x_low = INFINITY, x_high = 0, y_low = INFINITY, y_high = -INFINITY;
  for (const auto& p : points) {
    if (!p.apart) {
      x_low = std::min(x_low, p.x);
      x_high = std::max(x_high, p.x);
    }
    y_low = std::min(y_low, p.y);
    y_high = std::max(y_high, p.y);
  }
  for (const auto& line : {options.reference, options.limit}) {
    if (!line || !std::isfinite(*line)) continue;
    y_low = std::min(y_low, *line);
    y_high = std::max(y_high, *line);
  }
  const double y_pad = std::max((y_high - y_low) * 0.08, 0.05);
  const auto y_ticks = NiceTicks(y_low - y_pad, y_high + y_pad, 6);
  const Axis y{y_ticks.front(), y_ticks.back(), kBottom, kTop};
  Axis x{0, 1, kLeft, right};
  std::vector<double> x_ticks;
  if (has_plot) {
    x.log = x_high > 15 * x_low;
    if (x.log) {
      x.low = x_low / 1.6;
      x.high = x_high * 1.6;
      x_ticks = LogTicks(x.low, x.high);
    } else {
      x_ticks = NiceTicks(0, x_high * 1.08, 8);
      x.low = x_ticks.front();
      x.high = x_ticks.back();
    }
  }

  std::string s = Open(kWidth, kHeight, options.y_title + " over " + options.x_title);
  for (double t : y_ticks) {
    s += Line(kLeft, y(t), right, y(t), "grid");
    if (has_apart) s += Line(strip.x0, y(t), strip.x1, y(t), "grid");
    s += Text(kLeft - 8, y(t) + 4, "tick", "end", TickText(t));
  }
  for (double t : x_ticks) {
    s += Line(x(t), kTop, x(t), kBottom, "grid");
    s += Text(x(t), kBottom + 18, "tick", "middle", TickText(t));
  }
  s += Line(kLeft, kBottom, right, kBottom, "axis") + Line(kLeft, kTop, kLeft, kBottom, "axis");
  s += Text((kLeft + right) / 2, kBottom + 42, "title", "middle",
            options.x_title + (x.log ? " (logarithmic)" : ""));
  s += "<text transform=\"translate(16 " + N((kTop + kBottom) / 2) +
       ") rotate(-90)\" class=\"title\" text-anchor=\"middle\">" + EscapeHtml(options.y_title) +
       "</text>\n";
  if (has_apart) {
    s += "<rect x=\"" + N(strip.x0) + "\" y=\"" + N(strip.y0) + "\" width=\"" +
         N(strip.x1 - strip.x0) + "\" height=\"" + N(strip.y1 - strip.y0) +
         "\" class=\"strip\"/>\n";
    s += Text((strip.x0 + strip.x1) / 2, kBottom + 18, "tick", "middle", options.apart_title);
  }

  std::vector<Box> taken, lines;
  const auto across = [&](double value, const std::string& title, const std::string& css) {
    s += Line(kLeft, y(value), right, y(value), css);
    lines.push_back({kLeft, y(value) - 1, strip.x1, y(value) + 1});
    if (has_apart) s += Line(strip.x0, y(value), strip.x1, y(value), css);
    const double w = DisplayWidth(title) * kCharWidth;
    const auto hidden = [&](const Box& box) {
      return std::any_of(points.begin(), points.end(), [&](const auto& p) {
        return !p.apart && Box{x(p.x) - 8, y(p.y) - 8, x(p.x) + 8, y(p.y) + 8}.Hits(box);
      });
    };
    Box box{right - 6 - w, y(value) - 17, right - 6, y(value)};
    const bool left = hidden(box);
    if (left) box = {kLeft + 6, box.y0, kLeft + 6 + w, box.y1};
    s += Text(left ? box.x0 : box.x1, y(value) - 5, "note", left ? "start" : "end", title);
    taken.push_back(box);
  };
  if (options.reference) across(*options.reference, options.reference_title, "reference");
  if (options.limit) across(*options.limit, options.limit_title, "limit");

  const auto front = ParetoFront(points);
  if (front.size() > 1) {
    std::string d;
    for (size_t k = 0; k < front.size(); ++k) {
      const auto& p = points[front[k]];
      d += k == 0 ? "M" + N(x(p.x)) + " " + N(y(p.y)) : "H" + N(x(p.x)) + "V" + N(y(p.y));
    }
    s += "<path d=\"" + d + "\" class=\"front\"/>\n";
  }

  std::vector<std::pair<double, double>> at(points.size());
  for (size_t i = 0; i < points.size(); ++i) {
    at[i] = {points[i].apart ? strip.x0 + 20 : x(points[i].x), y(points[i].y)};
    taken.push_back({at[i].first - 8, at[i].second - 8, at[i].first + 8, at[i].second + 8});
  }
  // The front's labels first: they matter most and get the best places.
  std::vector<size_t> order = front;
  for (size_t i = 0; i < points.size(); ++i) {
    if (std::find(front.begin(), front.end(), i) == front.end()) order.push_back(i);
  }
  std::string labels;
  for (size_t i : order) {
    const Box area = points[i].apart ? strip : Box{kLeft, kTop - 6, right + 12, kBottom};
    const std::string text = Shorten(Printable(points[i].label), points[i].apart ? 21 : 32);
    const Label l = PlaceLabel(at[i].first, at[i].second, text, area, &taken, lines);
    labels += Text(l.x, l.y, "label", l.anchor, text);
  }
  for (size_t i = 0; i < points.size(); ++i) s += Mark(points[i], at[i].first, at[i].second);
  s += labels;
  return s + "</svg>\n";
}

std::string FrontChart(const std::vector<FrontMark>& all, const FrontOptions& options) {
  const auto good = [](double cost, double loss) {
    return std::isfinite(cost) && std::isfinite(loss) && cost >= 0 && loss >= 0;
  };
  std::vector<FrontMark> marks;
  for (const auto& m : all) {
    if (good(m.cost, m.loss)) marks.push_back(m);
  }
  std::vector<std::pair<double, double>> front;
  for (const auto& p : options.front) {
    if (good(p.first, p.second)) front.push_back(p);
  }
  if (marks.empty()) return "";
  constexpr double kWidth = 960, kHeight = 430, kLeft = 74, kRight = 936, kTop = 18, kBottom = 372;
  double x_low = INFINITY, x_high = 0, y_low = INFINITY, y_high = 0;
  bool lossless = false;
  const auto cover = [&](double cost, double loss) {
    x_low = std::min(x_low, cost);
    x_high = std::max(x_high, cost);
    if (loss > 0) {
      y_low = std::min(y_low, loss);
      y_high = std::max(y_high, loss);
    }
    lossless |= loss <= 0;
  };
  for (const auto& m : marks) cover(m.cost, m.loss);
  for (const auto& [cost, loss] : front) cover(cost, loss);
  const bool limited = options.limit && std::isfinite(*options.limit) && *options.limit >= 0;
  if (limited) x_high = std::max(x_high, *options.limit);
  if (!(y_high > 0)) y_low = 1e-3, y_high = 1;
  Axis x{0, 1, kLeft, kRight};
  std::vector<double> x_ticks;
  x.log = x_low > 0 && x_high > 15 * x_low;
  if (x.log) {
    x.low = x_low / 1.3;
    x.high = x_high * 1.6;
    x_ticks = LogTicks(x.low, x.high);
  } else {
    x_ticks = NiceTicks(0, x_high > 0 ? x_high * 1.08 : 1, 8);
    x.low = x_ticks.front();
    x.high = x_ticks.back();
  }
  const double floor = lossless ? kBottom - 34 : kBottom;
  // Twelve decades are all that anyone can tell apart.
  const Axis log_y{std::max(y_low, 1e-12 * y_high) / 1.6, y_high * 1.6, floor, kTop, true};
  const auto y = [&](double loss) {
    return loss > 0 ? log_y(std::max(loss, log_y.low)) : kBottom - 10;
  };

  std::string s = Open(kWidth, kHeight, options.y_title + " over " + options.x_title);
  for (double t : LogTicks(log_y.low, log_y.high)) {
    s += Line(kLeft, y(t), kRight, y(t), "grid");
    char text[32];
    std::snprintf(text, sizeof text, "%.0e", t);
    s += Text(kLeft - 8, y(t) + 4, "tick", "end", t < 0.01 ? text : TickText(t));
  }
  if (lossless) {
    s += Line(kLeft, y(0), kRight, y(0), "grid");
    s += Text(kLeft - 8, y(0) + 4, "tick", "end", "0");
  }
  for (double t : x_ticks) {
    s += Line(x(t), kTop, x(t), kBottom, "grid");
    s += Text(x(t), kBottom + 18, "tick", "middle", TickText(t));
  }
  s += Line(kLeft, kBottom, kRight, kBottom, "axis") + Line(kLeft, kTop, kLeft, kBottom, "axis");
  s += Text((kLeft + kRight) / 2, kBottom + 42, "title", "middle",
            options.x_title + (x.log ? " (logarithmic)" : ""));
  s += "<text transform=\"translate(16 " + N((kTop + kBottom) / 2) +
       ") rotate(-90)\" class=\"title\" text-anchor=\"middle\">" + EscapeHtml(options.y_title) +
       "</text>\n";
  std::vector<Box> taken, lines;
  if (limited) {
    const double at = x(*options.limit), w = DisplayWidth(options.limit_title) * kCharWidth;
    const bool left = at + 6 + w > kRight;
    s += Line(at, kTop, at, kBottom, "limit");
    s += Text(left ? at - 6 : at + 6, kTop + 10, "note", left ? "end" : "start",
              options.limit_title);
    lines.push_back({at - 1, kTop, at + 1, kBottom});
    taken.push_back({left ? at - 6 - w : at + 6, kTop - 2, left ? at - 6 : at + 6 + w, kTop + 14});
  }
  std::string path;
  for (const auto& [cost, loss] : front)
    path += (path.empty() ? "M" : "L") + N(x(cost)) + " " + N(y(loss));
  if (front.size() > 1) s += "<path d=\"" + path + "\" class=\"front\"/>\n";
  for (const auto& [cost, loss] : front)
    s += "<circle cx=\"" + N(x(cost)) + "\" cy=\"" + N(y(loss)) +
         "\" r=\"2.5\" fill=\"var(--dim)\"/>\n";
  for (const auto& m : marks)
    taken.push_back({x(m.cost) - 8, y(m.loss) - 8, x(m.cost) + 8, y(m.loss) + 8});
  std::string labels;
  std::vector<const FrontMark*> order;
  for (const auto& m : marks) order.push_back(&m);
  // The chosen one first: it gets the best place.
  std::stable_sort(order.begin(), order.end(),
                   [](const auto* a, const auto* b) { return a->chosen > b->chosen; });
  for (const FrontMark* m : order) {
    const std::string text = Shorten(Printable(m->label), 32);
    const Label l = PlaceLabel(x(m->cost), y(m->loss), text, {kLeft, kTop - 6, kRight, kBottom + 6},
                               &taken, lines);
    labels += Text(l.x, l.y, "label", l.anchor, text);
  }
  for (const auto& m : marks) {
    if (m.chosen)
      s += "<circle cx=\"" + N(x(m.cost)) + "\" cy=\"" + N(y(m.loss)) +
           "\" r=\"11\" fill=\"none\" stroke=\"" + Color(m.color) + "\" stroke-width=\"2\"/>\n";
    s += Mark({m.label, m.cost, m.loss, m.color, false, false, m.title}, x(m.cost), y(m.loss));
  }
  return s + labels + "</svg>\n";
}

std::string HorizontalBars(const std::vector<Bar>& bars, const std::vector<LegendEntry>& legend,
                           const std::string& x_title) {
  if (bars.empty()) return "";
  constexpr double kWidth = 960, kLeft = 268, kRight = 850, kRow = 19, kTop = 6;
  const double bottom = kTop + kRow * static_cast<double>(bars.size());
  double high = 0;
  for (const auto& b : bars) high = std::max(high, std::isfinite(b.value) ? b.value : 0);
  const auto ticks = NiceTicks(0, high > 0 ? high : 1, 6);
  const Axis x{0, ticks.back(), kLeft, kRight};
  std::string out;
  if (!legend.empty()) {
    out += "<div class=\"legend\">";
    for (const auto& e : legend) {
      out += "<span><i style=\"background:" + Color(e.color) + "\"></i>" + EscapeHtml(e.label) +
             "</span>";
    }
    out += "</div>\n";
  }
  out += Open(kWidth, bottom + 44, x_title);
  for (double t : ticks) {
    out += Line(x(t), kTop, x(t), bottom, "grid");
    out += Text(x(t), bottom + 16, "tick", "middle", TickText(t));
  }
  double y = kTop;
  for (const auto& b : bars) {
    const double value = std::isfinite(b.value) && b.value > 0 ? b.value : 0;
    out +=
        "<g class=\"bar\"><title>" + EscapeHtml(b.title.empty() ? b.label : b.title) + "</title>";
    out += "<rect x=\"0\" y=\"" + N(y) + "\" width=\"" + N(kWidth) + "\" height=\"" + N(kRow) +
           "\" class=\"hit\"/>";
    out += "<rect x=\"" + N(kLeft) + "\" y=\"" + N(y + 3) + "\" width=\"" +
           N(std::max(x(value) - kLeft, value > 0 ? 1.0 : 0.0)) + "\" height=\"" + N(kRow - 6) +
           "\" rx=\"2\" fill=\"" + Color(b.color) + "\"/>";
    out += Text(kLeft - 8, y + kRow - 6, "label", "end", Shorten(Printable(b.label), 38));
    out += Text(x(value) + 6, y + kRow - 6, "tick", "start", b.text);
    out += "</g>\n";
    y += kRow;
  }
  out += Line(kLeft, kTop, kLeft, bottom, "axis");
  out += Text((kLeft + kRight) / 2, bottom + 36, "title", "middle", x_title);
  return out + "</svg>\n";
}

}  // namespace slipway::report
