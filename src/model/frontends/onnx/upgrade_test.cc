// Operators of opsets 1 to 19 as they were written then: the imported graph is run.

#include <gtest/gtest.h>

#include <cmath>

#include "model/frontends/onnx/test_model.h"
#include "model/interp/interpreter.h"

namespace slipway::onnx {
namespace {

using ir::Tensor;
using Values = std::vector<double>;

// The model's first output for the given inputs, as numbers; empty when anything fails.
Values RunModel(const TestModel& m, std::vector<Tensor> inputs, size_t output = 0) {
  auto g = m.Import();
  EXPECT_TRUE(g.ok()) << g.status().ToString();
  if (!g.ok()) return {};
  auto out = interp::Evaluate(**g, inputs);
  EXPECT_TRUE(out.ok()) << out.status().ToString();
  return out.ok() ? (*out)[output].ToDoubles() : Values();
}

Tensor Floats(const Dims& dims, std::vector<float> v) { return Tensor::Of<float>(dims, v); }

void ExpectNear(const Values& got, const Values& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-4) << "element " << i;
}

TEST(OldUpgrade, ShapesOfOpsetOne) {
  TestModel m(1);
  m.Input("x", {"2", "3"}).Output("y");
  m.Node("Reshape", {"x"}, {"r"},
         {TestModel::IntList("shape", {1, 6}), TestModel::IntList("consumed_inputs", {0})});
  m.Node("Concat", {"r", "r"}, {"c"});  // the axis was 1 where none was said
  m.Node("Pad", {"c"}, {"p"},
         {TestModel::IntList("paddings", {0, 1, 0, 0}), TestModel::Float("value", 9)});
  m.Node("Cast", {"p"}, {"y"}, {TestModel::Text("to", "INT64")});
  EXPECT_EQ(RunModel(m, {Floats({2, 3}, {1, 2, 3, 4, 5, 6})}),
            (Values{9, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6}));
}

TEST(OldUpgrade, TileOneAxis) {
  TestModel m(5);
  m.Input("x", {"1", "2"}).Output("y").Ints("tiles", {3}).Ints("axis", {1});
  m.Node("Tile", {"x", "tiles", "axis"}, {"y"});
  EXPECT_EQ(RunModel(m, {Floats({1, 2}, {1, 2})}), (Values{1, 2, 1, 2, 1, 2}));
}

TEST(OldUpgrade, UpsampleByHeightAndWidth) {
  TestModel m(1);
  m.Input("x", {"1", "1", "1", "2"}).Output("y");
  m.Node("Upsample", {"x"}, {"y"},
         {TestModel::Float("height_scale", 1), TestModel::Float("width_scale", 2)});
  EXPECT_EQ(RunModel(m, {Floats({1, 1, 1, 2}, {1, 2})}), (Values{1, 1, 2, 2}));
}

TEST(OldUpgrade, DroppedOperators) {
  TestModel m(1);
  m.Input("x", {"1", "2", "2", "2"}).Output("y");
  m.Node("ImageScaler", {"x"}, {"s"},
         {TestModel::Float("scale", 2), TestModel::FloatList("bias", {10, 20})});
  m.Node("Crop", {"s"}, {"c"}, {TestModel::IntList("border", {1, 0, 0, 1})});
  m.Node("Affine", {"c"}, {"y"}, {TestModel::Float("alpha", 3), TestModel::Float("beta", 1)});
  EXPECT_EQ(RunModel(m, {Floats({1, 2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7})}), (Values{37, 91}));
  TestModel t(1);
  t.Input("x", {"1"}).Output("y");
  t.Node("ScaledTanh", {"x"}, {"a"},
         {TestModel::Float("alpha", 2), TestModel::Float("beta", 0.5f)});
  t.Node("ParametricSoftplus", {"a"}, {"y"}, {TestModel::Float("alpha", 3)});
  ExpectNear(RunModel(t, {Floats({1}, {1})}), {3 * std::log1p(std::exp(2 * std::tanh(0.5)))});
}

TEST(OldUpgrade, BroadcastAtAnAxis) {
  TestModel m(6);
  m.Input("x", {"1", "2", "2"}).Output("y").Floats("b", {2}, {10, 20});
  m.Node("Add", {"x", "b"}, {"y"}, {TestModel::Int("broadcast", 1), TestModel::Int("axis", 1)});
  EXPECT_EQ(RunModel(m, {Floats({1, 2, 2}, {1, 2, 3, 4})}), (Values{11, 12, 23, 24}));
}

TEST(OldUpgrade, PoolingWithAFloatPower) {
  TestModel m(1);
  m.Input("x", {"1", "1", "1", "2"}).Output("y");
  m.Node("GlobalLpPool", {"x"}, {"y"}, {TestModel::Float("p", 2)});
  ExpectNear(RunModel(m, {Floats({1, 1, 1, 2}, {3, -4})}), {5});
}

TEST(OldUpgrade, BatchNormalizationForEveryPosition) {
  TestModel m(7);
  m.Input("x", {"2", "1", "2"}).Output("y");
  m.Floats("s", {1, 2}, {1, 2}).Floats("b", {1, 2}, {0, 1}).Floats("m", {1, 2}, {1, 0});
  m.Floats("v", {1, 2}, {4, 1});
  m.Node("BatchNormalization", {"x", "s", "b", "m", "v"}, {"y"},
         {TestModel::Int("spatial", 0), TestModel::Float("epsilon", 0)});
  ExpectNear(RunModel(m, {Floats({2, 1, 2}, {1, 2, 3, 4})}), {0, 5, 1, 9});
}

TEST(OldUpgrade, BatchNormalizationInTraining) {
  TestModel m(15);
  m.Input("x", {"2", "1", "2"}).Output("y").Output("rm").Output("rv");
  for (const char* n : {"s", "b", "m", "v"}) m.Floats(n, {1}, {n[0] == 'b' ? 1.0f : 2.0f});
  m.Node("BatchNormalization", {"x", "s", "b", "m", "v"}, {"y", "rm", "rv"},
         {TestModel::Int("training_mode", 1), TestModel::Float("epsilon", 0),
          TestModel::Float("momentum", 0.75f)});
  const auto x = Floats({2, 1, 2}, {1, 5, 1, 5});  // mean 3, variance 4
  ExpectNear(RunModel(m, {x}), {-1, 3, -1, 3});
  ExpectNear(RunModel(m, {x}, 1), {2.25});
  ExpectNear(RunModel(m, {x}, 2), {2.5});
}

TEST(OldUpgrade, LogarithmsOfSumsOverNothing) {
  for (const char* op : {"ReduceLogSum", "ReduceLogSumExp"}) {
    TestModel m(18);
    m.Input("x", {"2"}).Output("y").Node(op, {"x"}, {"y"},
                                         {TestModel::Int("noop_with_empty_axes", 1)});
    const bool exp = std::string(op) == "ReduceLogSumExp";
    ExpectNear(RunModel(m, {Floats({2}, {1, 4})}), {exp ? 1.0 : 0.0, exp ? 4.0 : std::log(4.0)});
  }
}

TEST(OldUpgrade, LogarithmsOverAxesOfTheRun) {
  for (int noop : {0, 1}) {
    for (bool some : {false, true}) {
      TestModel m(18);
      m.Input("x", {"1", "2"}).Input("a", {some ? "1" : "0"}, DType::kInt64).Output("y");
      m.Node("ReduceLogSumExp", {"x", "a"}, {"y"},
             {TestModel::Int("noop_with_empty_axes", noop), TestModel::Int("keepdims", 0)});
      const auto axes = some ? Tensor::Vector<int64_t>(std::vector<int64_t>{0})
                             : Tensor::Vector<int64_t>(std::vector<int64_t>{});
      const Values both = {1, 2}, sum = {2 + std::log1p(std::exp(-1.0))};
      ExpectNear(RunModel(m, {Floats({1, 2}, {1, 2}), axes}), some || noop ? both : sum);
    }
  }
}

TEST(OldUpgrade, MeanVarianceNormalization) {
  TestModel m(9);
  m.Input("x", {"1", "1", "1", "2"}).Output("y").Node("MeanVarianceNormalization", {"x"}, {"y"});
  ExpectNear(RunModel(m, {Floats({1, 1, 1, 2}, {1, 5})}), {-1, 1});
}

TEST(OldUpgrade, EinsumOfThreeBecomesPairs) {
  TestModel m(12);
  m.Input("x", {"1", "2"}).Output("y").Floats("b", {2, 2}, {1, 2, 3, 4});
  m.Node("Einsum", {"x", "b", "b"}, {"y"}, {TestModel::Text("equation", "ij, jk,kl")});
  EXPECT_EQ(RunModel(m, {Floats({1, 2}, {1, 1})}), (Values{22, 32}));
  auto g = m.Import();
  ASSERT_TRUE(g.ok());
  EXPECT_EQ((*g)->nodes().size(), 2u);
}

TEST(OldUpgrade, TransformsAlongAnAttribute) {
  TestModel m(17);
  m.Input("x", {"1", "2", "1"}).Output("y").Node("DFT", {"x"}, {"y"});
  ExpectNear(RunModel(m, {Floats({1, 2, 1}, {1, 3})}), {4, 0, -2, 0});
}

TEST(OldUpgrade, GridAndRoisOfTheirTime) {
  TestModel m(16);
  m.Input("x", {"1", "1", "1", "2"}).Output("y").Output("z");
  m.Floats("g", {1, 1, 1, 2}, {0, 0}).Floats("r", {1, 4}, {0, 0, 1, 0}).Ints("b", {0});
  m.Node("GridSample", {"x", "g"}, {"y"}, {TestModel::Text("mode", "bilinear")});
  m.Node("RoiAlign", {"x", "r", "b"}, {"z"},
         {TestModel::Text("coordinate_transformation_mode", "output_half_pixel"),
          TestModel::Int("sampling_ratio", 1)});
  const auto x = Floats({1, 1, 1, 2}, {1, 3});
  ExpectNear(RunModel(m, {x}), {2});
  ExpectNear(RunModel(m, {x}, 1), {2});
}

TEST(OldUpgrade, StringsAreNamed) {
  TestModel m(9);
  m.Input("x", {"3"}, DType::kInt64).Output("y");
  WireWriter pool;
  pool.Text(1, "pool_strings");
  pool.Text(9, "a");
  pool.Int(20, 8);
  m.Node("TfIdfVectorizer", {"x"}, {"y"}, {pool}, "tokens");
  auto g = m.Import();
  ASSERT_FALSE(g.ok());
  EXPECT_NE(g.status().message().find("'tokens'"), std::string::npos) << g.status().message();
}

}  // namespace
}  // namespace slipway::onnx
