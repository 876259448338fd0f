#include "model/ops/ops_test_util.h"

namespace slipway::ops {
namespace {

std::vector<T> UniqueOutputs(Dims values, int64_t groups, int64_t items) {
  return {T(DType::kFloat32, values), T(DType::kInt64, {groups}), T(DType::kInt64, {items}),
          T(DType::kInt64, {groups})};
}

TEST(Unique, ElementsInBothOrders) {
  const T x = F({6}, {2, 1, 1, 3, 4, 3});
  EXPECT_EQ(ShapeFromData("Unique", {x}, {}, 4), "[4]; [4]; [6]; [4]");
  auto out = UniqueOutputs({4}, 4, 6);
  ASSERT_TRUE(Call("Unique", {x}, out, {{"sorted", int64_t{0}}}).ok());
  ExpectNear(out[0], {2, 1, 3, 4});
  EXPECT_EQ(out[1].As<int64_t>(), (Ints{0, 1, 3, 4}));
  EXPECT_EQ(out[2].As<int64_t>(), (Ints{0, 1, 1, 2, 3, 2}));
  EXPECT_EQ(out[3].As<int64_t>(), (Ints{1, 2, 2, 1}));
  ASSERT_TRUE(Call("Unique", {x}, out).ok());
  ExpectNear(out[0], {1, 2, 3, 4});
  EXPECT_EQ(out[1].As<int64_t>(), (Ints{1, 0, 3, 4}));
  EXPECT_EQ(out[2].As<int64_t>(), (Ints{1, 0, 0, 2, 3, 2}));
  EXPECT_EQ(out[3].As<int64_t>(), (Ints{2, 1, 2, 1}));
}

TEST(Unique, SlicesAlongAnAxis) {
  const T x = F({2, 3}, {1, 0, 1, 2, 3, 2});  // columns (1 2), (0 3), (1 2)
  EXPECT_EQ(ShapeFromData("Unique", {x}, {{"axis", int64_t{-1}}}, 4), "[2, 2]; [2]; [3]; [2]");
  auto out = UniqueOutputs({2, 2}, 2, 3);
  ASSERT_TRUE(Call("Unique", {x}, out, {{"axis", int64_t{1}}}).ok());
  ExpectNear(out[0], {0, 1, 3, 2});
  EXPECT_EQ(out[2].As<int64_t>(), (Ints{1, 0, 1}));
  EXPECT_NE(ShapeFromData("Unique", {x}, {{"axis", int64_t{2}}}, 4).find("axis 2"),
            std::string::npos);
}

const T kBoxes = F({1, 4, 4}, {0, 0, 1, 1, 0, 0.1f, 1, 1.1f, 1, 1, 0, 0.05f, 5, 5, 6, 6});
const T kScores = F({1, 1, 4}, {0.9f, 0.8f, 0.95f, 0.5f});

TEST(NonMaxSuppression, KeepsTheBestOfOverlappingBoxes) {
  const std::vector<T> in = {kBoxes, kScores, I({1}, {3}), F({1}, {0.5f})};
  EXPECT_EQ(ShapeFromData("NonMaxSuppression", in), "[2, 3]");
  std::vector<T> out{T(DType::kInt64, {2, 3})};
  ASSERT_TRUE(Call("NonMaxSuppression", in, out).ok());
  EXPECT_EQ(out[0].As<int64_t>(), (Ints{0, 0, 2, 0, 0, 3}));
  auto few = in;
  few[2] = I({}, {1});
  EXPECT_EQ(ShapeFromData("NonMaxSuppression", few), "[1, 3]");
  few = in;
  few.push_back(F({1}, {0.6f}));
  EXPECT_EQ(ShapeFromData("NonMaxSuppression", few), "[1, 3]");
  EXPECT_EQ(ShapeFromData("NonMaxSuppression", {kBoxes, kScores}), "[0, 3]");  // none asked for
  few = in;
  few[3] = F({1}, {1.5f});
  EXPECT_NE(ShapeFromData("NonMaxSuppression", few).find("iou_threshold"), std::string::npos);
}

TEST(NonMaxSuppression, CentresAndClasses) {
  const T centres = F({1, 2, 4}, {0.5f, 0.5f, 1, 1, 0.5f, 0.6f, 1, 1});
  const std::vector<T> in = {centres, F({1, 2, 2}, {0.3f, 0.4f, 0.6f, 0.5f}), I({1}, {2}),
                             F({1}, {0.5f})};
  std::vector<T> out{T(DType::kInt64, {2, 3})};
  ASSERT_TRUE(Call("NonMaxSuppression", in, out, {{"center_point_box", int64_t{1}}}).ok());
  EXPECT_EQ(out[0].As<int64_t>(), (Ints{0, 0, 1, 0, 1, 0}));
}

}  // namespace
}  // namespace slipway::ops
