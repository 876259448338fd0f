#include "report/graph_svg.h"

#include <algorithm>
#include <cstdio>
#include <queue>

#include "report/format.h"
#include "report/html.h"
#include "report/svg.h"

namespace slipway::report {
namespace {

constexpr double kHeight = 40, kGapX = 22, kGapY = 44, kCharWidth = 7.1, kPad = 16;
constexpr double kLeast = 84, kMost = 190;
constexpr int kSweeps = 8, kMoves = 10;
// Beyond so many bends, long edges run straight.
constexpr size_t kMostBends = 40000;

struct Vertex {
  int node = -1;  // -1: a bend of a long edge
  int layer = 0, order = 0;
  double x = 0, width = 0;
  std::vector<int> up, down;
};

std::string N(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", v);
  return text;
}

class Layout {
 public:
  Layout(const std::vector<DrawnNode>& nodes, const std::vector<std::pair<int, int>>& edges)
      : nodes_(nodes) {
    const int n = static_cast<int>(nodes.size());
    vertices_.resize(nodes.size());
    for (int i = 0; i < n; ++i) {
      Vertex& v = vertices_[static_cast<size_t>(i)];
      v.node = i;
      const int longest = std::max(DisplayWidth(nodes[v.node].title),
                                   std::min(DisplayWidth(nodes[v.node].subtitle), 26));
      v.width = std::clamp(longest * kCharWidth + kPad, kLeast, kMost);
    }
    for (auto [from, to] : edges) {
      if (from >= 0 && to >= 0 && from < n && to < n && from != to) edges_.push_back({from, to});
    }
    std::sort(edges_.begin(), edges_.end());
    edges_.erase(std::unique(edges_.begin(), edges_.end()), edges_.end());
    Layers();
    Bends();
    Order();
    Place();
  }

  std::string Draw() const {
    double width = 0;
    for (const Vertex& v : vertices_) width = std::max(width, v.x + v.width / 2);
    const double height = static_cast<double>(rows_.size()) * (kHeight + kGapY);
    std::string out = "<svg class=\"graph\" viewBox=\"-20 -20 " + N(width + 40) + " " +
                      N(height + 20) +
                      "\" role=\"img\" aria-label=\"the graph\" tabindex=\"0\">\n<g>";
    for (const auto& path : paths_) {
      const Vertex& first = At(path.front());
      std::string d = "M" + N(first.x) + " " + N(Y(first) + kHeight);
      for (size_t i = 1; i < path.size(); ++i) {
        const Vertex &a = At(path[i - 1]), &b = At(path[i]);
        const double from = Y(a) + (a.node >= 0 ? kHeight : kHeight / 2);
        const double to = Y(b) + (b.node >= 0 ? 0 : kHeight / 2);
        const double middle = (from + to) / 2;
        d += "C" + N(a.x) + " " + N(middle) + " " + N(b.x) + " " + N(middle) + " " + N(b.x) + " " +
             N(to);
      }
      out += "<path class=\"edge\" data-from=\"" + std::to_string(path.front()) + "\" data-to=\"" +
             std::to_string(path.back()) + "\" d=\"" + d + "\"/>\n";
    }
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const Vertex& v = vertices_[i];
      const DrawnNode& n = nodes_[i];
      const int letters = static_cast<int>((v.width - kPad / 2) / kCharWidth);
      const std::string left = N(v.x - v.width / 2), top = N(Y(v));
      out += "<g class=\"gnode\" data-node=\"" + std::to_string(i) + "\" tabindex=\"0\"><title>" +
             EscapeHtml(n.hover) + "</title><rect x=\"" + left + "\" y=\"" + top + "\" width=\"" +
             N(v.width) + "\" height=\"" + N(kHeight) + "\" rx=\"" + (n.round ? "20" : "6") +
             "\" style=\"--node:var(--c" +
             std::to_string(((n.color % kPalette) + kPalette) % kPalette) + ")\"/><text x=\"" +
             N(v.x) + "\" y=\"" + N(Y(v) + 17) + "\" text-anchor=\"middle\" class=\"gtitle\">" +
             EscapeHtml(Shorten(n.title, letters)) + "</text><text x=\"" + N(v.x) + "\" y=\"" +
             N(Y(v) + 32) + "\" text-anchor=\"middle\" class=\"gsub\">" +
             EscapeHtml(Shorten(n.subtitle, letters + letters / 6)) + "</text></g>\n";
    }
    return out + "</g></svg>\n";
  }

 private:
  const Vertex& At(int i) const { return vertices_[static_cast<size_t>(i)]; }
  static double Y(const Vertex& v) { return v.layer * (kHeight + kGapY); }

  // Longest paths from the sources; nodes on cycles stay where they are and lose their edges.
  void Layers() {
    const size_t n = nodes_.size();
    std::vector<std::vector<int>> readers(n);
    std::vector<int> waiting(n, 0);
    for (auto [from, to] : edges_) {
      readers[static_cast<size_t>(from)].push_back(to);
      ++waiting[static_cast<size_t>(to)];
    }
    std::queue<int> ready;
    std::vector<bool> done(n, false), source(n, false);
    for (size_t i = 0; i < n; ++i) {
      source[i] = waiting[i] == 0;
      if (source[i]) ready.push(static_cast<int>(i));
    }
    while (!ready.empty()) {
      const auto i = static_cast<size_t>(ready.front());
      ready.pop();
      done[i] = true;
      for (int to : readers[i]) {
        Vertex& v = vertices_[static_cast<size_t>(to)];
        v.layer = std::max(v.layer, vertices_[i].layer + 1);
        if (--waiting[static_cast<size_t>(to)] == 0) ready.push(to);
      }
    }
    std::erase_if(edges_, [&](const auto& e) {
      return !done[static_cast<size_t>(e.first)] || !done[static_cast<size_t>(e.second)];
    });
    // A source stands right above its first reader.
    for (size_t i = 0; i < n; ++i) {
      if (!source[i] || readers[i].empty()) continue;
      int nearest = 1 << 30;
      for (int to : readers[i])
        nearest = std::min(nearest, vertices_[static_cast<size_t>(to)].layer);
      vertices_[i].layer = std::max(0, nearest - 1);
    }
  }

  void Bends() {
    size_t bends = 0;
    for (auto [from, to] : edges_)
      bends += static_cast<size_t>(std::max(0, At(to).layer - At(from).layer - 1));
    const bool straight = bends > kMostBends;
    for (auto [from, to] : edges_) {
      std::vector<int> path = {from};
      for (int layer = At(from).layer + 1; layer < At(to).layer && !straight; ++layer) {
        Vertex bend;
        bend.layer = layer;
        bend.width = 4;
        path.push_back(static_cast<int>(vertices_.size()));
        vertices_.push_back(bend);
      }
      path.push_back(to);
      for (size_t i = 1; i < path.size(); ++i) {
        vertices_[static_cast<size_t>(path[i - 1])].down.push_back(path[i]);
        vertices_[static_cast<size_t>(path[i])].up.push_back(path[i - 1]);
      }
      paths_.push_back(std::move(path));
    }
    int layers = 0;
    for (const Vertex& v : vertices_) layers = std::max(layers, v.layer + 1);
    rows_.resize(static_cast<size_t>(layers));
    for (size_t i = 0; i < vertices_.size(); ++i) {
      auto& row = rows_[static_cast<size_t>(vertices_[i].layer)];
      vertices_[i].order = static_cast<int>(row.size());
      row.push_back(static_cast<int>(i));
    }
  }

  // Rows are sorted by the mean place of their neighbours above, then below, and so on.
  void Order() {
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      const bool down = sweep % 2 == 0;
      for (size_t k = 0; k < rows_.size(); ++k) {
        auto& row = rows_[down ? k : rows_.size() - 1 - k];
        std::vector<std::pair<double, int>> keys;
        for (int i : row) {
          const auto& near = down ? At(i).up : At(i).down;
          double sum = 0;
          for (int j : near) sum += At(j).order;
          keys.push_back({near.empty() ? At(i).order : sum / static_cast<double>(near.size()), i});
        }
        std::stable_sort(keys.begin(), keys.end(),
                         [](const auto& a, const auto& b) { return a.first < b.first; });
        for (size_t i = 0; i < keys.size(); ++i) {
          row[i] = keys[i].second;
          vertices_[static_cast<size_t>(row[i])].order = static_cast<int>(i);
        }
      }
    }
  }

  // Rows start packed; then each vertex moves towards its neighbours as far as its row allows.
  void Place() {
    for (const auto& row : rows_) {
      double x = 0;
      for (int i : row) {
        Vertex& v = vertices_[static_cast<size_t>(i)];
        v.x = x + v.width / 2;
        x += v.width + kGapX;
      }
    }
    for (int move = 0; move < kMoves; ++move) {
      const bool down = move % 2 == 0;
      for (size_t k = 0; k < rows_.size(); ++k) {
        const auto& row = rows_[down ? k : rows_.size() - 1 - k];
        std::vector<double> want;
        for (int i : row) {
          const Vertex& v = At(i);
          double sum = 0;
          for (const auto* near : {&v.up, &v.down}) {
            for (int j : *near) sum += At(j).x;
          }
          const double count = static_cast<double>(v.up.size() + v.down.size());
          want.push_back(count == 0 ? v.x : sum / count);
        }
        // Left to right and right to left; the mean of both keeps the distances.
        std::vector<double> left(row.size()), right(row.size());
        for (size_t i = 0; i < row.size(); ++i) {
          left[i] = want[i];
          if (i > 0) left[i] = std::max(left[i], left[i - 1] + Distance(row[i - 1], row[i]));
        }
        for (size_t i = row.size(); i-- > 0;) {
          right[i] = want[i];
          if (i + 1 < row.size())
            right[i] = std::min(right[i], right[i + 1] - Distance(row[i], row[i + 1]));
        }
        for (size_t i = 0; i < row.size(); ++i)
          vertices_[static_cast<size_t>(row[i])].x = (left[i] + right[i]) / 2;
      }
    }
    double least = 1e18;
    for (const Vertex& v : vertices_) least = std::min(least, v.x - v.width / 2);
    for (Vertex& v : vertices_) v.x -= least;
  }

  double Distance(int a, int b) const {
    const bool bends = At(a).node < 0 && At(b).node < 0;
    return (At(a).width + At(b).width) / 2 + (bends ? 10 : kGapX);
  }

  const std::vector<DrawnNode>& nodes_;
  std::vector<std::pair<int, int>> edges_;
  std::vector<Vertex> vertices_;
  std::vector<std::vector<int>> rows_, paths_;
};

}  // namespace

std::string DrawGraph(const std::vector<DrawnNode>& nodes,
                      const std::vector<std::pair<int, int>>& edges) {
  if (nodes.empty()) return "";
  return Layout(nodes, edges).Draw();
}

}  // namespace slipway::report
