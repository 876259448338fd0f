#include "deploy/diff.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::deploy {
namespace {

std::unique_ptr<ir::Graph> Graph(const std::string& text) {
  auto g = ir::ParseText("graph \"g\" {\n" + text + "\n}");
  EXPECT_TRUE(g.ok()) << g.status().ToString();
  EXPECT_TRUE(ir::InferShapes(**g).ok());
  return std::move(*g);
}

const char kBase[] =
    "input %x: float32[1, 4]\nconst %w: float32[4] = [1, 2, 3, 4]\n%a = Add(%x, %w) \"add\"\n"
    "%b = LeakyRelu(%a) {alpha = 0.5} \"relu\"\n%y = Neg(%b) \"neg\"\noutput %y";

TEST(Diff, EqualModels) {
  const ModelDiff d = Diff(*Graph(kBase), *Graph(kBase));
  EXPECT_TRUE(d.Empty());
  EXPECT_TRUE(d.same_structure);
  EXPECT_EQ(d.same_nodes, 3);
  EXPECT_EQ(d.same_weights, 1);
}

TEST(Diff, WeightsAndNodes) {
  const ModelDiff d = Diff(
      *Graph(kBase), *Graph("input %x: float32[1, 4]\nconst %w: float32[4] = [1, 2, 3, 6]\n"
                            "%a = Add(%x, %w) \"add\"\n%b = LeakyRelu(%a) {alpha = 0.25} \"relu\"\n"
                            "%c = Abs(%b) \"abs\"\n%y = Exp(%c) \"neg\"\noutput %y"));
  EXPECT_FALSE(d.same_structure);
  EXPECT_EQ(d.only_second, std::vector<std::string>{"Abs node 'abs'"});
  EXPECT_TRUE(d.only_first.empty());
  ASSERT_EQ(d.changed.size(), 2u);
  EXPECT_EQ(d.changed[0].what, "attributes alpha 0.5 -> alpha 0.25");
  EXPECT_EQ(d.changed[1].what, "Neg -> Exp; input 0: b -> c");
  ASSERT_EQ(d.weights_changed.size(), 1u);
  EXPECT_EQ(d.weights_changed[0].different, 1);
  EXPECT_EQ(d.weights_changed[0].largest, 2);
  EXPECT_NEAR(d.weights_changed[0].relative, 2 / std::sqrt(30.0), 1e-9);
  EXPECT_EQ(d.operators.at("Abs"), (std::pair<int, int>{0, 1}));
}

TEST(Diff, OtherNamesOfTheSameNetwork) {
  const ModelDiff d = Diff(
      *Graph(kBase),
      *Graph(
          "input %x: float32[1, 4]\nconst %v: float32[4] = [1, 2, 3, 5]\n%p = Add(%x, %v) \"n1\"\n"
          "%q = LeakyRelu(%p) {alpha = 0.5} \"n2\"\n%y = Neg(%q) \"n3\"\noutput %y"));
  EXPECT_TRUE(d.same_structure);
  EXPECT_EQ(d.same_nodes, 3);
  ASSERT_EQ(d.weights_changed.size(), 1u);
  EXPECT_EQ(d.weights_changed[0].largest, 1);
}

TEST(Diff, RetypedWeightsAndPorts) {
  const ModelDiff d = Diff(
      *Graph("input %x: float32[1, 4]\nconst %w: float32[4] = zeros\n%y = Add(%x, %w)\noutput %y"),
      *Graph("input %x: float16[1, 4]\nconst %w: float16[4] = zeros\n%y = Add(%x, %w)\noutput %y"));
  ASSERT_EQ(d.weights_retyped.size(), 1u);
  EXPECT_EQ(d.weights_retyped[0].what, "float32[4] -> float16[4]");
  ASSERT_EQ(d.ports.size(), 2u);
  EXPECT_EQ(d.ports[0], "input x: float32[1, 4] -> x: float16[1, 4]");
}

}  // namespace
}  // namespace slipway::deploy
