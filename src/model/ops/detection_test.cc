#include <limits>

#include "model/ops/ops_test_util.h"

namespace slipway::ops {
namespace {

const Attributes kTwoClasses{{"num_classes", int64_t{2}}, {"nms_threshold", 0.5f}};

// Two priors far apart; scores of background and one class.
std::vector<T> Inputs(std::vector<float> scores = {0, 0.25f, 0, 0.75f}) {
  return {F({1, 8}, std::vector<float>(8)), F({1, 4}, std::move(scores)),
          F({1, 2, 8}, {0, 0, 1, 1, 2, 2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1})};
}

std::string Extent(std::vector<T> inputs, const Attributes& a) {
  std::vector<TensorView> in;
  for (T& t : inputs) in.push_back(t.view());
  const TensorView out[1] = {};
  Dims dims[1];
  const Status status =
      FindShapeFunction("slipway", "DetectionOutput")->function({in, out, &a, nullptr}, {dims, 1});
  return status.ok() ? dims[0].ToString() : status.message();
}

Status Detect(std::vector<T> inputs, Dims out, const Attributes& a = kTwoClasses) {
  std::vector<T> outputs{T(DType::kFloat32, out)};
  return Call("DetectionOutput", std::move(inputs), outputs, a, "slipway");
}

TEST(DetectionOutput, ExtentAndRowsAgree) {
  EXPECT_EQ(Extent(Inputs(), kTwoClasses), "[1, 1, 2, 7]");
  ExpectNear(
      Run1("DetectionOutput", Inputs(), {1, 1, 2, 7}, kTwoClasses, DType::kFloat32, "slipway"),
      {0, 1, 0.75f, 2, 2, 3, 3, 0, 1, 0.25f, 0, 0, 1, 1});
  Attributes none = kTwoClasses;
  none.Set("keep_top_k", int64_t{0});
  EXPECT_EQ(Extent(Inputs(), none), "[1, 1, 1, 7]");  // the row that says that there is none
  none.Set("keep_top_k", int64_t{-1});
  none.Set("top_k", int64_t{0});
  EXPECT_EQ(Extent(Inputs(), none), "[1, 1, 1, 7]");
}

// What a damaged package may ask for: no row is written beside the output.
TEST(DetectionOutput, OutputsOfAnotherExtentAreErrors) {
  for (const Dims& out : {Dims{0, 1, 2, 7}, Dims{1, 0, 2, 7}, Dims{1, 1, 0, 7}, Dims{1, 1, 1, 7},
                          Dims{1, 1, 3, 7}, Dims{1, 1, 2, 6}, Dims{2, 7}}) {
    EXPECT_FALSE(Detect(Inputs(), out).ok()) << out.ToString();
  }
}

TEST(DetectionOutput, OddNumbersEnd) {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Extent(Inputs({0, nan, 0, inf}), kTwoClasses), "[1, 1, 1, 7]");
  auto boxes = Inputs();
  boxes[0] = F({1, 8}, {nan, nan, nan, nan, inf, -inf, inf, -inf});
  EXPECT_EQ(Extent(boxes, kTwoClasses), "[1, 1, 2, 7]");
  EXPECT_EQ(Extent(Inputs(), {{"num_classes", int64_t{3}}}).find("do not fit") != std::string::npos,
            true);
  EXPECT_NE(Extent(Inputs(), {{"num_classes", int64_t{0}}}).find("do not fit"), std::string::npos);
  EXPECT_NE(Extent(Inputs(), {{"num_classes", int64_t{1} << 62}}).find("do not fit"),
            std::string::npos);
  EXPECT_NE(Extent(Inputs(), {{"num_classes", int64_t{2}}, {"eta", 0.0f}}).find("eta"),
            std::string::npos);
  auto wrong = Inputs();
  wrong[2] = F({1, 1, 8}, std::vector<float>(8));
  EXPECT_NE(Extent(wrong, kTwoClasses).find("must be"), std::string::npos);
  Attributes huge = kTwoClasses;
  huge.Set("top_k", std::numeric_limits<int64_t>::max());
  huge.Set("keep_top_k", std::numeric_limits<int64_t>::max());
  EXPECT_EQ(Extent(Inputs(), huge), "[1, 1, 2, 7]");
}

}  // namespace
}  // namespace slipway::ops
