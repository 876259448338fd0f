#include <limits>

#include "model/ops/ops_test_util.h"

namespace slipway::ops {
namespace {

constexpr int64_t kMin = std::numeric_limits<int64_t>::min(),
                  kMax = std::numeric_limits<int64_t>::max();

TEST(Movement, ReshapeFamilyKeepsBytes) {
  const T x = Iota({2, 3});
  for (const char* op : {"Reshape", "Squeeze", "Unsqueeze"})
    EXPECT_EQ(Run1(op, {x, I({2}, {3, 2})}, {3, 2}).bytes, x.bytes);
  EXPECT_EQ(Run1("Flatten", {x}, {2, 3}).bytes, x.bytes);
  T packed(DType::kInt4, {3});
  packed.bytes = {0x21, 0x03};
  EXPECT_EQ(Run1("Reshape", {packed, I({2}, {3, 1})}, {3, 1}).bytes, packed.bytes);
}

TEST(Movement, ConcatAndSplit) {
  const T a = F({2, 1}, {1, 2}), b = F({2, 2}, {3, 4, 5, 6}), none = F({2, 0}, {});
  ExpectNear(Run1("Concat", {a, none, b}, {2, 3}, {{"axis", int64_t{-1}}}), {1, 3, 4, 2, 5, 6});
  ExpectNear(Run1("Concat", {b, b}, {4, 2}, {{"axis", int64_t{0}}}), {3, 4, 5, 6, 3, 4, 5, 6});
  std::vector<T> out{T(DType::kFloat32, {2, 1}), T(DType::kFloat32, {2, 0}),
                     T(DType::kFloat32, {2, 2})};
  ASSERT_TRUE(Call("Split", {Iota({2, 3}), I({3}, {1, 0, 2})}, out, {{"axis", int64_t{1}}}).ok());
  EXPECT_EQ(out[0].As<float>(), (std::vector<float>{0, 3}));
  EXPECT_EQ(out[2].As<float>(), (std::vector<float>{1, 2, 4, 5}));
}

TEST(Movement, Transpose) {
  const T x = Iota({2, 3, 4});
  const auto v = Run1("Transpose", {x}, {4, 2, 3}, {{"perm", Ints{2, 0, 1}}}).As<float>();
  for (size_t c = 0; c < 4; ++c) {
    for (size_t a = 0; a < 2; ++a) {
      for (size_t b = 0; b < 3; ++b)
        EXPECT_EQ(v[(c * 2 + a) * 3 + b], static_cast<float>((a * 3 + b) * 4 + c));
    }
  }
  EXPECT_EQ(Run1("Transpose", {U8({2, 2}, {1, 2, 3, 4})}, {2, 2}).As<uint8_t>(),
            (std::vector<uint8_t>{1, 3, 2, 4}));
  RunError("Transpose", {x}, {2, 3, 4}, {{"perm", Ints{0, 0, 1}}});
  RunError("Transpose", {x}, {2, 3, 4}, {{"perm", Ints{0, 1}}});
}

TEST(Movement, Slice) {
  const T x = Iota({4, 5});
  auto slice = [&](Ints starts, Ints ends, Ints axes, Ints steps, Dims out) {
    const int64_t n = static_cast<int64_t>(starts.size());
    return Run1("Slice", {x, I({n}, starts), I({n}, ends), I({n}, axes), I({n}, steps)}, out);
  };
  ExpectNear(slice({1, 0}, {3, 5}, {0, 1}, {1, 2}, {2, 3}), {5, 7, 9, 10, 12, 14});
  ExpectNear(slice({-1}, {kMin}, {-1}, {-2}, {4, 3}), {4, 2, 0, 9, 7, 5, 14, 12, 10, 19, 17, 15});
  ExpectNear(slice({100, -2}, {-100, kMax}, {0, 1}, {-3, 1}, {2, 2}), {18, 19, 3, 4});
  ExpectNear(slice({1}, {2}, {0}, {kMax}, {1, 5}), {5, 6, 7, 8, 9});
  EXPECT_EQ(slice({2}, {2}, {0}, {1}, {0, 5}).bytes.size(), 0u);
  ExpectNear(Run1("Slice", {x, I({1}, {3}), I({1}, {4})}, {1, 5}), {15, 16, 17, 18, 19});
  EXPECT_NE(RunError("Slice", {x, I({1}, {0}), I({1}, {1}), I({1}, {0}), I({1}, {0})}, {1, 5})
                .find("step of 0"),
            std::string::npos);
  RunError("Slice", {x, I({1}, {0}), I({1}, {1}), I({1}, {2})}, {1, 5});
  RunError("Slice", {x, I({1}, {4}), I({1}, {9}), I({1}, {0})},
           {1, 5});  // an extent that inference would never give
}

TEST(Movement, Pad) {
  const T x = F({3}, {1, 2, 3}), pads = I({2}, {2, 1});
  ExpectNear(Run1("Pad", {x, pads}, {6}), {0, 0, 1, 2, 3, 0});
  ExpectNear(Run1("Pad", {x, pads, F({}, {9})}, {6}), {9, 9, 1, 2, 3, 9});
  ExpectNear(Run1("Pad", {x, pads}, {6}, {{"mode", "edge"}}), {1, 1, 1, 2, 3, 3});
  ExpectNear(Run1("Pad", {x, pads}, {6}, {{"mode", "reflect"}}), {3, 2, 1, 2, 3, 2});
  ExpectNear(Run1("Pad", {x, pads}, {6}, {{"mode", "wrap"}}), {2, 3, 1, 2, 3, 1});
  ExpectNear(Run1("Pad", {x, I({2}, {-1, 1})}, {3}), {2, 3, 0});
  ExpectNear(Run1("Pad", {F({2, 1}, {1, 2}), I({2}, {1, 0}), T(), I({1}, {-1})}, {2, 2}),
             {0, 1, 0, 2});
  RunError("Pad", {x, I({1}, {1})}, {4});
  RunError("Pad", {x, pads}, {6}, {{"mode", "mirror"}});
  RunError("Pad", {F({0}, {}), pads}, {3}, {{"mode", "edge"}});
}

TEST(Movement, ExpandAndTile) {
  ExpectNear(Run1("Expand", {F({2, 1}, {1, 2}), I({3}, {2, 1, 2})}, {2, 2, 2}),
             {1, 1, 2, 2, 1, 1, 2, 2});
  ExpectNear(Run1("Expand", {F({}, {5}), I({1}, {3})}, {3}), {5, 5, 5});
  ExpectNear(Run1("Tile", {F({2, 2}, {1, 2, 3, 4}), I({2}, {2, 2})}, {4, 4}),
             {1, 2, 1, 2, 3, 4, 3, 4, 1, 2, 1, 2, 3, 4, 3, 4});
}

TEST(Movement, DepthAndSpace) {
  const T x = Iota({1, 8, 1, 1});
  ExpectNear(Run1("DepthToSpace", {x}, {1, 2, 2, 2}, {{"blocksize", int64_t{2}}}),
             {0, 2, 4, 6, 1, 3, 5, 7});
  ExpectNear(Run1("DepthToSpace", {x}, {1, 2, 2, 2}, {{"blocksize", int64_t{2}}, {"mode", "CRD"}}),
             {0, 1, 2, 3, 4, 5, 6, 7});
  const T y = Iota({2, 3, 4, 6});
  const T z = Run1("SpaceToDepth", {y}, {2, 12, 2, 3}, {{"blocksize", int64_t{2}}});
  EXPECT_EQ(Run1("DepthToSpace", {z}, {2, 3, 4, 6}, {{"blocksize", int64_t{2}}}).bytes, y.bytes);
  RunError("DepthToSpace", {x}, {1, 2, 2, 2}, {{"blocksize", int64_t{3}}});
  RunError("SpaceToDepth", {y}, {2, 12, 2, 3}, {{"blocksize", int64_t{0}}});
}

TEST(Gather, PlainElementsAndNd) {
  const T x = F({3, 2}, {1, 2, 3, 4, 5, 6});
  ExpectNear(Run1("Gather", {x, I({2}, {-1, 0})}, {2, 2}), {5, 6, 1, 2});
  ExpectNear(Run1("Gather", {x, I32({}, {1})}, {3}, {{"axis", int64_t{1}}}), {2, 4, 6});
  EXPECT_NE(RunError("Gather", {x, I({1}, {3})}, {1, 2}).find("index 3"), std::string::npos);
  RunError("Gather", {x, I({1}, {kMin})}, {1, 2});
  ExpectNear(Run1("GatherElements", {x, I({2, 2}, {0, -1, 1, 0})}, {2, 2}), {1, 6, 3, 2});
  RunError("GatherElements", {x, I({1, 2}, {0, 9})}, {1, 2});
  RunError("GatherElements", {x, I({1, 3}, {0, 0, 0})}, {1, 3});
  ExpectNear(Run1("GatherND", {x, I({2, 2}, {0, 1, 2, 0})}, {2}), {2, 5});
  ExpectNear(Run1("GatherND", {x, I({2, 1}, {-1, 1})}, {2, 2}), {5, 6, 3, 4});
  ExpectNear(Run1("GatherND", {x, I({3, 1}, {1, 0, 1})}, {3}, {{"batch_dims", int64_t{1}}}),
             {2, 3, 6});
  RunError("GatherND", {x, I({1, 2}, {0, 2})}, {1});
  RunError("GatherND", {x, I({1, 3}, {0, 0, 0})}, {1});
}

TEST(Gather, ScatterNd) {
  const T x = F({4}, {1, 2, 3, 4}), at = I({3, 1}, {1, -1, 1}), up = F({3}, {10, 20, 30});
  ExpectNear(Run1("ScatterND", {x, at, up}, {4}), {1, 30, 3, 20});
  ExpectNear(Run1("ScatterND", {x, at, up}, {4}, {{"reduction", "add"}}), {1, 42, 3, 24});
  ExpectNear(Run1("ScatterND", {x, at, up}, {4}, {{"reduction", "mul"}}), {1, 600, 3, 80});
  ExpectNear(Run1("ScatterND", {x, at, F({3}, {-1, 9, 1})}, {4}, {{"reduction", "max"}}),
             {1, 2, 3, 9});
  ExpectNear(Run1("ScatterND", {x, at, F({3}, {-1, 9, 1})}, {4}, {{"reduction", "min"}}),
             {1, -1, 3, 4});
  ExpectNear(
      Run1("ScatterND", {F({2, 2}, {1, 2, 3, 4}), I({1, 1}, {1}), F({1, 2}, {8, 9})}, {2, 2}),
      {1, 2, 8, 9});
  RunError("ScatterND", {x, I({1, 1}, {4}), F({1}, {1})}, {4});
  RunError("ScatterND", {x, at, F({2}, {1, 2})}, {4});
  RunError("ScatterND", {x, at, up}, {4}, {{"reduction", "xor"}});
}

TEST(Shapes, ShapeSizeConstantRange) {
  const T x = Iota({2, 3, 4});
  EXPECT_EQ(Run1("Shape", {x}, {3}, {}, DType::kInt64).As<int64_t>(), (Ints{2, 3, 4}));
  EXPECT_EQ(Run1("Shape", {x}, {1}, {{"start", int64_t{-2}}, {"end", int64_t{-1}}}, DType::kInt64)
                .As<int64_t>(),
            (Ints{3}));
  EXPECT_EQ(Run1("Size", {x}, {}, {}, DType::kInt64).As<int64_t>()[0], 24);
  EXPECT_EQ(Run1("ConstantOfShape", {I({1}, {2})}, {2},
                 {{"dtype", int64_t{7}}, {"value_int", int64_t{5}}}, DType::kInt64)
                .As<int64_t>(),
            (Ints{5, 5}));
  ExpectNear(Run1("ConstantOfShape", {I({1}, {2})}, {2}, {{"value_float", 1.5f}}, DType::kFloat32),
             {1.5f, 1.5f});
  EXPECT_EQ(Run1("Range", {I({}, {10}), I({}, {4}), I({}, {-3})}, {2}).As<int64_t>(),
            (Ints{10, 7}));
  ExpectNear(Run1("Range", {F({}, {1}), F({}, {2}), F({}, {0.25f})}, {4}), {1, 1.25f, 1.5f, 1.75f});
}

TEST(Shapes, TriluCumSum) {
  const T x = F({2, 3}, {1, 2, 3, 4, 5, 6});
  ExpectNear(Run1("Trilu", {x}, {2, 3}), {1, 2, 3, 0, 5, 6});
  ExpectNear(Run1("Trilu", {x, I({}, {1})}, {2, 3}), {0, 2, 3, 0, 0, 6});
  ExpectNear(Run1("Trilu", {x}, {2, 3}, {{"upper", int64_t{0}}}), {1, 0, 0, 4, 5, 0});
  ExpectNear(Run1("Trilu", {x, I({}, {kMax})}, {2, 3}), {0, 0, 0, 0, 0, 0});
  ExpectNear(Run1("CumSum", {x, I({}, {1})}, {2, 3}), {1, 3, 6, 4, 9, 15});
  ExpectNear(Run1("CumSum", {x, I32({}, {-1})}, {2, 3},
                  {{"exclusive", int64_t{1}}, {"reverse", int64_t{1}}}),
             {5, 3, 0, 11, 6, 0});
  RunError("CumSum", {x, I({}, {2})}, {2, 3});
}

TEST(Shapes, TopKAndOneHot) {
  std::vector<T> out{T(DType::kFloat32, {2, 3}), T(DType::kInt64, {2, 3})};
  const T x = F({2, 5}, {3, 1, 4, 4, 5, 9, 2, 6, 9, 0});
  ASSERT_TRUE(Call("TopK", {x, I({1}, {3})}, out).ok());
  EXPECT_EQ(out[0].As<float>(), (std::vector<float>{5, 4, 4, 9, 9, 6}));
  EXPECT_EQ(out[1].As<int64_t>(), (Ints{4, 2, 3, 0, 3, 2}));
  ASSERT_TRUE(Call("TopK", {x, I({1}, {3})}, out, {{"largest", int64_t{0}}}).ok());
  EXPECT_EQ(out[0].As<float>(), (std::vector<float>{1, 3, 4, 0, 2, 6}));
  EXPECT_EQ(out[1].As<int64_t>(), (Ints{1, 0, 2, 4, 1, 2}));
  std::vector<T> column{T(DType::kFloat32, {1, 5}), T(DType::kInt64, {1, 5})};
  ASSERT_TRUE(Call("TopK", {x, I({1}, {1})}, column, {{"axis", int64_t{0}}}).ok());
  EXPECT_EQ(column[0].As<float>(), (std::vector<float>{9, 2, 6, 9, 5}));
  std::vector<T> many{T(DType::kFloat32, {2, 6}), T(DType::kInt64, {2, 6})};
  EXPECT_FALSE(Call("TopK", {x, I({1}, {6})}, many).ok());
  ExpectNear(Run1("OneHot", {I({3}, {0, -1, 7}), I({}, {3}), F({2}, {-1, 1})}, {3, 3}, {},
                  DType::kFloat32),
             {1, -1, -1, -1, -1, 1, -1, -1, -1});
  ExpectNear(Run1("OneHot", {I({2}, {1, 0}), I({}, {2}), F({2}, {0, 1})}, {2, 2},
                  {{"axis", int64_t{0}}}, DType::kFloat32),
             {0, 1, 1, 0});
}

// Expected values: ONNX's operator documentation and PyTorch's interpolate.
TEST(Resize, Modes) {
  const T x = F({1, 1, 2, 2}, {1, 2, 3, 4}), no = T();
  const T up = F({4}, {1, 1, 2, 2});
  ExpectNear(Run1("Resize", {x, no, up}, {1, 1, 4, 4}),
             {1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4});
  ExpectNear(
      Run1("Resize", {x, no, up}, {1, 1, 4, 4}, {{"mode", "linear"}}),
      {1, 1.25f, 1.75f, 2, 1.5f, 1.75f, 2.25f, 2.5f, 2.5f, 2.75f, 3.25f, 3.5f, 3, 3.25f, 3.75f, 4});
  ExpectNear(Run1("Resize", {x, no, up}, {1, 1, 4, 4},
                  {{"mode", "linear"}, {"coordinate_transformation_mode", "align_corners"}}),
             {1, 4.0f / 3, 5.0f / 3, 2, 5.0f / 3, 2, 7.0f / 3, 8.0f / 3, 7.0f / 3, 8.0f / 3, 3,
              10.0f / 3, 3, 10.0f / 3, 11.0f / 3, 4});
  const T row = F({1, 1, 1, 4}, {1, 2, 3, 4});
  const T sizes = I({4}, {1, 1, 1, 2});
  ExpectNear(Run1("Resize", {row, no, no, sizes}, {1, 1, 1, 2}, {{"mode", "linear"}}),
             {1.5f, 3.5f});
  // Antialias: the triangle of half width 2 around 0.5, edge samples repeated: weights of 0
  // (twice), 1, 2.
  ExpectNear(Run1("Resize", {row, no, no, sizes}, {1, 1, 1, 2},
                  {{"mode", "linear"}, {"antialias", int64_t{1}}}),
             {(0.25f + 0.75f) * 1 / 2 + 0.75f * 2 / 2 + 0.25f * 3 / 2,
              0.25f * 2 / 2 + 0.75f * 3 / 2 + (0.75f + 0.25f) * 4 / 2});
  for (const auto& [mode, want] :
       std::vector<std::pair<const char*, std::vector<float>>>{{"floor", {1, 3}},
                                                               {"ceil", {2, 4}},
                                                               {"round_prefer_floor", {1, 3}},
                                                               {"round_prefer_ceil", {2, 4}}}) {
    ExpectNear(Run1("Resize", {row, no, no, sizes}, {1, 1, 1, 2}, {{"nearest_mode", mode}}), want);
  }
  RunError("Resize", {row, no, no, sizes}, {1, 1, 1, 2}, {{"mode", "lanczos"}});
  RunError("Resize", {row, no, F({4}, {1, 1, 1, 0})}, {1, 1, 1, 2});
}

TEST(Resize, CubicAxesAndCrop) {
  const T row = F({4}, {1, 2, 3, 4}), no = T();
  // At coordinate 1.5 the four cubic weights for a = -0.75 are -0.09375, 0.59375, 0.59375,
  // -0.09375.
  ExpectNear(Run1("Resize", {row, no, no, I({1}, {1})}, {1}, {{"mode", "cubic"}}), {2.5f});
  const float a = -0.09375f, b = 0.59375f;
  // At -0.25 ... of an upscale by 2: check partition of unity and exclude_outside on a constant
  // row.
  ExpectNear(Run1("Resize", {F({3}, {7, 7, 7}), no, F({1}, {2})}, {6},
                  {{"mode", "cubic"}, {"exclude_outside", int64_t{1}}}),
             {7, 7, 7, 7, 7, 7});
  ExpectNear(Run1("Resize", {F({2}, {0, 1}), no, no, I({1}, {1})}, {1}, {{"mode", "cubic"}}),
             {b + a});
  const T x = Iota({1, 2, 2});
  ExpectNear(Run1("Resize", {x, no, F({1}, {2})}, {1, 4, 2}, {{"axes", Ints{1}}}),
             {0, 1, 0, 1, 2, 3, 2, 3});
  ExpectNear(Run1("Resize", {row, F({2}, {0.5f, 1.5f}), no, I({1}, {3})}, {3},
                  {{"mode", "linear"},
                   {"coordinate_transformation_mode", "tf_crop_and_resize"},
                   {"extrapolation_value", 9.0f}}),
             {2.5f, 4, 9});
  RunError("Resize", {row, no, no, I({1}, {3})}, {3},
           {{"coordinate_transformation_mode", "tf_crop_and_resize"}});
}

}  // namespace
}  // namespace slipway::ops
