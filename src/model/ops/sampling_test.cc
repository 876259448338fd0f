#include "model/ops/ops_test_util.h"

namespace slipway::ops {
namespace {

Attributes Grid(const char* mode, const char* padding, int64_t align) {
  return {{"mode", std::string(mode)},
          {"padding_mode", std::string(padding)},
          {"align_corners", align}};
}

TEST(Sampling, GridSampleModesAndBorders) {
  const T x = F({1, 1, 2, 2}, {0, 1, 2, 3});
  const T grid = F({1, 1, 3, 2}, {0, 0, -1, -1, 2, 0});  // centre, first corner, right of it all
  ExpectNear(Run1("GridSample", {x, grid}, {1, 1, 1, 3}, Grid("linear", "zeros", 1)), {1.5f, 0, 1});
  ExpectNear(Run1("GridSample", {x, grid}, {1, 1, 1, 3}, Grid("linear", "border", 1)),
             {1.5f, 0, 2});
  // At x = 1.5 of [0, 1], mirrored to 0.5.
  ExpectNear(Run1("GridSample", {x, grid}, {1, 1, 1, 3}, Grid("linear", "reflection", 1)),
             {1.5f, 0, 1.5f});
  // Without align_corners -1 lies half an element outside: a quarter of the corner's value.
  ExpectNear(Run1("GridSample", {F({1, 1, 2, 2}, {4, 0, 0, 0}), grid}, {1, 1, 1, 3},
                  Grid("linear", "zeros", 0)),
             {1, 1, 0});
  ExpectNear(Run1("GridSample", {x, F({1, 1, 1, 2}, {0.8f, -0.9f})}, {1, 1, 1, 1},
                  Grid("nearest", "zeros", 1)),
             {1});
  // A cubic at a sample is the sample.
  ExpectNear(
      Run1("GridSample", {x, F({1, 1, 1, 2}, {1, -1})}, {1, 1, 1, 1}, Grid("cubic", "border", 1)),
      {1});
  // NaN is nowhere.
  ExpectNear(
      Run1("GridSample", {x, F({1, 1, 1, 2}, {NAN, 0})}, {1, 1, 1, 1}, Grid("linear", "zeros", 1)),
      {0});
}

TEST(Sampling, GridSampleVolumes) {
  const T x = F({1, 1, 2, 1, 2}, {0, 1, 2, 3});
  ExpectNear(Run1("GridSample", {x, F({1, 1, 1, 1, 3}, {1, 0, 0})}, {1, 1, 1, 1, 1},
                  Grid("linear", "border", 1)),
             {2});
  EXPECT_NE(RunError("GridSample", {x, F({1, 1, 1, 1, 2}, {0, 0})}, {1, 1, 1, 1, 1}).find("grid"),
            std::string::npos);
}

TEST(Sampling, AffineGridOfTheIdentity) {
  const T theta = F({1, 2, 3}, {1, 0, 0, 0, 1, 0});
  const T size = I({4}, {1, 1, 2, 2});
  ExpectNear(Run1("AffineGrid", {theta, size}, {1, 2, 2, 2}, {{"align_corners", int64_t{1}}}),
             {-1, -1, 1, -1, -1, 1, 1, 1});
  ExpectNear(Run1("AffineGrid", {theta, size}, {1, 2, 2, 2}),
             {-0.5f, -0.5f, 0.5f, -0.5f, -0.5f, 0.5f, 0.5f, 0.5f});
}

TEST(Sampling, RoiAlign) {
  const T x = Iota({1, 1, 4, 4});
  const T rois = F({1, 4}, {0.5f, 0.5f, 2.5f, 2.5f});
  // half_pixel: bins of one element, sampled at 0.5 and 1.5.
  ExpectNear(Run1("RoiAlign", {x, rois, I({1}, {0})}, {1, 1, 2, 2},
                  {{"output_height", int64_t{2}},
                   {"output_width", int64_t{2}},
                   {"sampling_ratio", int64_t{1}}}),
             {2.5f, 3.5f, 6.5f, 7.5f});
  EXPECT_NE(RunError("RoiAlign", {x, rois, I({1}, {1})}, {1, 1, 1, 1}).find("batch_indices[0]"),
            std::string::npos);
  EXPECT_NE(RunError("RoiAlign", {x, F({1, 4}, {0, 0, 1e30f, 1}), I({1}, {0})}, {1, 1, 1, 1})
                .find("samples"),
            std::string::npos);
}

TEST(Sampling, MaxRoiPool) {
  const T x = Iota({1, 1, 4, 4});
  ExpectNear(Run1("MaxRoiPool", {x, F({1, 5}, {0, 0, 0, 3, 3})}, {1, 1, 2, 2},
                  {{"pooled_shape", Ints{2, 2}}}),
             {5, 7, 13, 15});
}

// Offsets of 0 are a convolution; a mask of 0 leaves the bias.
TEST(Sampling, DeformConvIsAConvolution) {
  const T x = Iota({1, 2, 3, 3}), w = F({1, 2, 2, 2}, {1, 0, 0, 1, 0.5f, 0, 0, 0});
  const T zero = F({1, 8, 2, 2}, std::vector<float>(32, 0.0f));
  const T plain = Run1("Conv", {x, w}, {1, 1, 2, 2});
  ExpectNear(Run1("DeformConv", {x, w, zero}, {1, 1, 2, 2}), plain.As<float>());
  ExpectNear(
      Run1("DeformConv", {x, w, zero, F({1}, {7}), F({1, 4, 2, 2}, std::vector<float>(16, 0.0f))},
           {1, 1, 2, 2}),
      {7, 7, 7, 7});
  // One element to the right.
  std::vector<float> right(32, 0.0f);
  for (size_t tap = 0; tap < 4; ++tap) std::fill_n(right.begin() + 8 * tap + 4, 4, 1.0f);
  ExpectNear(Run1("DeformConv", {x, w, F({1, 8, 2, 2}, right)}, {1, 1, 2, 2}),
             {11, 7.5f, 18.5f, 12});
  EXPECT_NE(
      RunError("DeformConv", {x, w, F({1, 4, 2, 2}, std::vector<float>(16, 0.0f))}, {1, 1, 2, 2})
          .find("offset"),
      std::string::npos);
}

}  // namespace
}  // namespace slipway::ops
