#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::deploy {

inline std::unique_ptr<ir::Graph> ParseGraph(const char* text) {
  auto graph = ir::ParseText(text);
  EXPECT_TRUE(graph.ok()) << graph.status().ToString();
  if (!graph.ok()) return nullptr;
  EXPECT_TRUE(ir::InferShapes(**graph).ok());
  return std::move(*graph);
}

}  // namespace slipway::deploy
