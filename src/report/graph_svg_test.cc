#include "report/graph_svg.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <regex>

namespace slipway::report {
namespace {

struct Box {
  double x, y, w, h;
};
std::vector<Box> Boxes(const std::string& svg) {
  std::vector<Box> boxes;
  const std::regex rect(
      "<rect x=\"([-0-9.]+)\" y=\"([-0-9.]+)\" width=\"([0-9.]+)\" height=\"([0-9.]+)\"");
  for (std::sregex_iterator i(svg.begin(), svg.end(), rect), end; i != end; ++i)
    boxes.push_back(
        {std::stod((*i)[1]), std::stod((*i)[2]), std::stod((*i)[3]), std::stod((*i)[4])});
  return boxes;
}

size_t Edges(const std::string& svg) {
  size_t count = 0;
  for (size_t at = svg.find("class=\"edge\""); at != std::string::npos;
       at = svg.find("class=\"edge\"", at + 1))
    ++count;
  return count;
}

TEST(GraphSvg, ReadersStandBelowAndNothingOverlaps) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 20; ++round) {
    const int n = 2 + static_cast<int>(random() % 40);
    std::vector<DrawnNode> nodes;
    std::vector<std::pair<int, int>> edges;
    for (int i = 0; i < n; ++i) {
      nodes.push_back({"Op" + std::to_string(i), "[1, 2, 3]", i, false, "hover"});
      for (int k = 0; k < 2 && i > 0; ++k)
        edges.push_back({static_cast<int>(random() % static_cast<unsigned>(i)), i});
    }
    const auto boxes = Boxes(DrawGraph(nodes, edges));
    ASSERT_EQ(boxes.size(), nodes.size());
    for (auto [from, to] : edges)
      EXPECT_LT(boxes[static_cast<size_t>(from)].y, boxes[static_cast<size_t>(to)].y);
    for (size_t i = 0; i < boxes.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        const Box &a = boxes[i], &b = boxes[j];
        const bool apart = a.y != b.y || a.x + a.w <= b.x + 0.2 || b.x + b.w <= a.x + 0.2;
        EXPECT_TRUE(apart) << i << " and " << j;
      }
    }
  }
}

TEST(GraphSvg, WhatCannotBeDrawnIsLeftOut) {
  EXPECT_EQ(DrawGraph({}, {}), "");
  const std::vector<DrawnNode> nodes = {
      {"a", "", 0, false, ""}, {"b", "", 0, false, ""}, {"c", "", 0, false, ""}};
  // A cycle, an edge to itself, out of range, twice.
  const std::string svg =
      DrawGraph(nodes, {{0, 1}, {0, 1}, {1, 2}, {2, 1}, {0, 0}, {-1, 2}, {0, 9}});
  EXPECT_EQ(Boxes(svg).size(), 3u);
  EXPECT_EQ(Edges(svg), 0u);  // b and c wait for each other
  EXPECT_EQ(Edges(DrawGraph(nodes, {{0, 1}, {0, 1}, {1, 2}})), 2u);
}

TEST(GraphSvg, TextIsEscaped) {
  const std::string svg = DrawGraph({{"<script>", "\"&'", 0, true, "</title><b>"}}, {});
  EXPECT_EQ(svg.find("<script>"), std::string::npos);
  EXPECT_EQ(svg.find("</title><b>"), std::string::npos);
  EXPECT_NE(svg.find("&lt;script&gt;"), std::string::npos);
}

TEST(GraphSvg, LargeGraphsTakeSeconds) {
  std::vector<DrawnNode> nodes(3000, {"Concat", "[1, 64]", 1, false, ""});
  std::vector<std::pair<int, int>> edges;
  for (int i = 1; i < 3000; ++i) {
    for (int k = 1; k <= 30 && k <= i; ++k) edges.push_back({i - k, i});
  }
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(Boxes(DrawGraph(nodes, edges)).size(), 3000u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
}  // namespace slipway::report
