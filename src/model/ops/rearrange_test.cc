#include "model/ops/ops_test_util.h"

namespace slipway::ops {
namespace {

TEST(Scatter, ElementsAndReductions) {
  const T x = F({3, 2}, {1, 2, 3, 4, 5, 6});
  const T indices = I({2, 2}, {0, -1, 0, 1}), updates = F({2, 2}, {10, 20, 30, 40});
  ExpectNear(Run1("ScatterElements", {x, indices, updates}, {3, 2}), {30, 2, 3, 40, 5, 20});
  auto with = [](const char* how) { return Attributes{{"reduction", std::string(how)}}; };
  ExpectNear(Run1("ScatterElements", {x, indices, updates}, {3, 2}, with("add")),
             {41, 2, 3, 44, 5, 26});
  ExpectNear(Run1("ScatterElements", {x, indices, updates}, {3, 2}, with("mul")),
             {300, 2, 3, 160, 5, 120});
  ExpectNear(Run1("ScatterElements", {x, indices, updates}, {3, 2}, with("min")), x.As<float>());
  ExpectNear(
      Run1("ScatterElements", {x, I({1, 1}, {1}), F({1, 1}, {9})}, {3, 2}, {{"axis", int64_t{-1}}}),
      {1, 9, 3, 4, 5, 6});
  EXPECT_NE(
      RunError("ScatterElements", {x, I({1, 1}, {3}), F({1, 1}, {9})}, {3, 2}).find("index 3"),
      std::string::npos);
}

TEST(Scatter, TensorScatter) {
  const T cache = F({2, 3, 1}, {1, 2, 3, 4, 5, 6}), update = F({2, 2, 1}, {10, 20, 30, 40});
  ExpectNear(Run1("TensorScatter", {cache, update, I({2}, {1, 0})}, {2, 3, 1}),
             {1, 10, 20, 30, 40, 6});
  ExpectNear(Run1("TensorScatter", {cache, update, I({2}, {2, 0})}, {2, 3, 1},
                  {{"mode", std::string("circular")}}),
             {20, 2, 10, 30, 40, 6});
  EXPECT_NE(RunError("TensorScatter", {cache, update, I({2}, {2, 0})}, {2, 3, 1})
                .find("write_indices[0]"),
            std::string::npos);
}

TEST(Rearrange, ReverseSequence) {
  const T x = F({2, 3}, {1, 2, 3, 4, 5, 6});
  ExpectNear(Run1("ReverseSequence", {x, I({2}, {2, 3})}, {2, 3},
                  {{"batch_axis", int64_t{0}}, {"time_axis", int64_t{1}}}),
             {2, 1, 3, 6, 5, 4});
  ExpectNear(Run1("ReverseSequence", {x, I({3}, {1, 2, 0})}, {2, 3}), {1, 5, 3, 4, 2, 6});
  EXPECT_NE(RunError("ReverseSequence", {x, I({3}, {1, 3, 0})}, {2, 3}).find("sequence_lens[1]"),
            std::string::npos);
}

TEST(Rearrange, CenterCropPad) {
  ExpectNear(Run1("CenterCropPad", {F({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}), I({2}, {3, 1})}, {3, 1}),
             {2, 6, 0});
}

TEST(Rearrange, MaxUnpoolUndoesMaxPool) {
  const Attributes a = {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}};
  const T x = F({1, 1, 2, 2}, {1, 2, 3, 4}), at = I({1, 1, 2, 2}, {5, 7, 13, 15});
  ExpectNear(Run1("MaxUnpool", {x, at}, {1, 1, 4, 4}, a),
             {0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 4});
  ExpectNear(Run1("MaxUnpool", {x, at, I({4}, {1, 1, 5, 5})}, {1, 1, 5, 5}, a),
             {0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0, 0});
  EXPECT_NE(
      RunError("MaxUnpool", {x, I({1, 1, 2, 2}, {16, 0, 0, 0})}, {1, 1, 4, 4}, a).find("index 16"),
      std::string::npos);
}

TEST(Rearrange, Col2ImAddsOverlaps) {
  ExpectNear(
      Run1("Col2Im", {F({1, 2, 3}, {1, 2, 3, 10, 20, 30}), I({1}, {4}), I({1}, {2})}, {1, 1, 4}),
      {1, 12, 23, 30});
}

TEST(Rearrange, ExtentsFromData) {
  const T x = F({1, 1, 2, 2}, {1, 2, 3, 4});
  EXPECT_EQ(ShapeFromData("CenterCropPad", {x, I({2}, {5, 6})}, {{"axes", Ints{-1, 2}}}),
            "[1, 1, 6, 5]");
  EXPECT_NE(ShapeFromData("CenterCropPad", {x, I({1}, {5})}).find("too short"), std::string::npos);
  const Attributes a = {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}};
  EXPECT_EQ(ShapeFromData("MaxUnpool", {x, I({1, 1, 2, 2}, {0, 0, 0, 0})}, a), "[1, 1, 4, 4]");
  EXPECT_EQ(ShapeFromData("MaxUnpool", {x, I({1, 1, 2, 2}, {0, 0, 0, 0}), I({4}, {1, 1, 5, 5})}, a),
            "[1, 1, 5, 5]");
  EXPECT_EQ(ShapeFromData("Col2Im",
                          {F({1, 6, 2}, std::vector<float>(12, 0.0f)), I({1}, {4}), I({1}, {3})}),
            "[1, 2, 4]");
  EXPECT_EQ(ShapeFromData("AffineGrid", {F({1, 2, 3}, {1, 0, 0, 0, 1, 0}), I({4}, {1, 1, 5, 6})}),
            "[1, 5, 6, 2]");
}

TEST(Rearrange, EyeLikeAndBitCast) {
  ExpectNear(Run1("EyeLike", {F({2, 3}, {5, 5, 5, 5, 5, 5})}, {2, 3}, {{"k", int64_t{1}}}),
             {0, 1, 0, 0, 0, 1});
  ExpectNear(Run1("EyeLike", {F({1, 2}, {5, 5})}, {1, 2}, {{"k", INT64_MIN}}), {0, 0});
  EXPECT_EQ(Run1("BitCast", {F({2}, {1, -0.0f})}, {2}, {}, DType::kInt32).As<int32_t>(),
            (std::vector<int32_t>{0x3f800000, INT32_MIN}));
}

TEST(Matrix, Einsum) {
  const T a = F({2, 2}, {1, 2, 3, 4}), b = F({2, 2}, {5, 6, 7, 8});
  auto run = [&](std::vector<T> in, const char* equation, Dims out) {
    return Run1("Einsum", std::move(in), out, {{"equation", std::string(equation)}});
  };
  ExpectNear(run({a, b}, "ij,jk->ik", {2, 2}), {19, 22, 43, 50});
  ExpectNear(run({a, b}, "ij, jk", {2, 2}), {19, 22, 43, 50});
  ExpectNear(run({a}, "ii", {}), {5});
  ExpectNear(run({a}, "ji", {2, 2}), {1, 3, 2, 4});  // implicit outputs are in alphabetic order
  ExpectNear(run({a, b}, "ij,ij->", {}), {70});
  ExpectNear(run({a, b, a}, "ij,jk,kl->il", {2, 2}), {85, 126, 193, 286});
  ExpectNear(run({Iota({2, 1, 2, 2}), b}, "...ij,...jk->...ik", {2, 1, 2, 2}),
             {7, 8, 31, 36, 55, 64, 79, 92});
  const std::vector<T> ints = {I32({2}, {INT32_MAX, 1}), I32({2}, {2, 3})};
  EXPECT_EQ(run(ints, "i,i->i", {2}).As<int32_t>(), (std::vector<int32_t>{-2, 3}));
  auto error = [&](std::vector<T> in, const char* equation) {
    return RunError("Einsum", std::move(in), {2, 2}, {{"equation", std::string(equation)}});
  };
  EXPECT_NE(error({a}, "i1->i").find("character"), std::string::npos);
  EXPECT_NE(error({a}, "ij,jk->ik").find("2 terms for 1"), std::string::npos);
  EXPECT_NE(error({a}, "ij->ik").find("no input"), std::string::npos);
  EXPECT_NE(error({a}, "ijk->ij").find("term 0"), std::string::npos);
  EXPECT_NE(error({a, F({3, 2}, {1, 2, 3, 4, 5, 6})}, "ij,jk->ik").find("both"), std::string::npos);
}

TEST(Matrix, Determinants) {
  ExpectNear(Run1("Det", {F({2, 2, 2}, {1, 2, 3, 4, 0, 2, 2, 0})}, {2}), {-2, -4});
  ExpectNear(Run1("Det", {F({2, 2}, {1, 2, 2, 4})}, {}), {0});
}

TEST(Matrix, CumulativeProductsAndHardmax) {
  const T x = F({4}, {1, 2, 3, 4});
  ExpectNear(Run1("CumProd", {x, I({}, {0})}, {4}), {1, 2, 6, 24});
  ExpectNear(
      Run1("CumProd", {x, I({}, {0})}, {4}, {{"exclusive", int64_t{1}}, {"reverse", int64_t{1}}}),
      {24, 12, 4, 1});
  ExpectNear(Run1("Hardmax", {F({2, 2}, {1, 1, 0, 2})}, {2, 2}), {1, 0, 0, 1});
}

TEST(Predicates, InfinityAndNan) {
  const float inf = std::numeric_limits<float>::infinity();
  const T x = F({4}, {inf, -inf, NAN, 1});
  auto run = [&](const char* op, const Attributes& a) {
    return Run1(op, {x}, {4}, a, DType::kBool).As<uint8_t>();
  };
  EXPECT_EQ(run("IsNaN", {}), (std::vector<uint8_t>{0, 0, 1, 0}));
  EXPECT_EQ(run("IsInf", {}), (std::vector<uint8_t>{1, 1, 0, 0}));
  EXPECT_EQ(run("IsInf", {{"detect_negative", int64_t{0}}}), (std::vector<uint8_t>{1, 0, 0, 0}));
}

}  // namespace
}  // namespace slipway::ops
