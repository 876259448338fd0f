#pragma once
// A directed acyclic graph drawn in layers from top to bottom (Sugiyama's method: longest-path
// layers, barycentre ordering), as inline SVG. The page's script (html.cc) pans, zooms and chooses.

#include <string>
#include <utility>
#include <vector>

namespace slipway::report {

struct DrawnNode {
  std::string title, subtitle;  // two lines in the box
  int color = 0;                // of the palette
  bool round = false;           // inputs and outputs
  std::string hover;
};

// `edges` are pairs of indices into `nodes`, from producer to reader; those that would close a
// cycle and those out of range are left out. The drawing is of class "graph", node i is an element
// with data-node="i". "" when there are no nodes.
std::string DrawGraph(const std::vector<DrawnNode>& nodes,
                      const std::vector<std::pair<int, int>>& edges);

}  // namespace slipway::report
