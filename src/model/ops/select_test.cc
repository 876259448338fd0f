#include "model/ops/ops_test_util.h"

namespace slipway::ops {
namespace {

TEST(NonZero, PositionsRowMajor) {
  const T x = F({2, 3}, {0, 1, -0.0f, 2, NAN, 0});
  EXPECT_EQ(ShapeFromData("NonZero", {x}), "[2, 3]");
  EXPECT_EQ(Run1("NonZero", {x}, {2, 3}, {}, DType::kInt64).As<int64_t>(),
            (Ints{0, 1, 1, 1, 0, 1}));
  EXPECT_EQ(Run1("NonZero", {B({4}, {0, 1, 1, 0})}, {1, 2}, {}, DType::kInt64).As<int64_t>(),
            (Ints{1, 2}));
}

TEST(NonZero, ScalarsAndEmptyTensors) {
  // The specification: a scalar has no coordinates.
  EXPECT_EQ(ShapeFromData("NonZero", {F({}, {5})}), "[0, 1]");
  EXPECT_EQ(ShapeFromData("NonZero", {F({}, {0})}), "[0, 0]");
  EXPECT_EQ(ShapeFromData("NonZero", {F({3, 0}, {})}), "[2, 0]");
  Run1("NonZero", {F({}, {5})}, {0, 1}, {}, DType::kInt64);
}

TEST(NonZero, AnExtentThatContradictsTheDataIsAnError) {
  for (int64_t n : {0, 1, 3}) {
    EXPECT_NE(RunError("NonZero", {I({4}, {0, 7, 7, 0})}, {1, n}, {}, DType::kInt64).find("room"),
              std::string::npos)
        << n;
  }
}

TEST(Compress, FlatAndAlongAnAxis) {
  const T x = Iota({3, 2}, 1);
  EXPECT_EQ(ShapeFromData("Compress", {x, B({5}, {0, 1, 0, 0, 1})}), "[2]");
  ExpectNear(Run1("Compress", {x, B({5}, {0, 1, 0, 0, 1})}, {2}), {2, 5});
  const Attributes rows{{"axis", int64_t{0}}}, columns{{"axis", int64_t{-1}}};
  EXPECT_EQ(ShapeFromData("Compress", {x, B({3}, {0, 1, 1})}, rows), "[2, 2]");
  ExpectNear(Run1("Compress", {x, B({3}, {0, 1, 1})}, {2, 2}, rows), {3, 4, 5, 6});
  EXPECT_EQ(ShapeFromData("Compress", {x, B({2}, {0, 1})}, columns), "[3, 1]");
  ExpectNear(Run1("Compress", {x, B({2}, {0, 1})}, {3, 1}, columns), {2, 4, 6});
  EXPECT_EQ(ShapeFromData("Compress", {x, B({1}, {0})}, rows), "[0, 2]");  // shorter than the axis
}

TEST(Compress, Errors) {
  const T x = Iota({3, 2});
  const Attributes rows{{"axis", int64_t{0}}};
  EXPECT_EQ(ShapeFromData("Compress", {x, B({4}, {0, 0, 0, 1})}, rows),
            "condition selects element 3 of 3");
  EXPECT_EQ(ShapeFromData("Compress", {x, I({1}, {1})}), "condition must be a vector of bool");
  EXPECT_NE(ShapeFromData("Compress", {x, B({1}, {1})}, {{"axis", int64_t{2}}}).find("axis 2"),
            std::string::npos);
  RunError("Compress", {x, B({3}, {1, 0, 1})}, {1, 2}, rows);
}

// Whatever the table names has a kernel, and reads data of some input.
TEST(ShapeFunctions, TableFitsTheOperators) {
  for (const ShapeEntry& e : ShapeFunctions()) {
    EXPECT_TRUE(FindKernel(e.domain, e.name)) << e.name;
    EXPECT_EQ(FindShapeFunction(e.domain, e.name), &e) << e.name << " is listed twice";
    EXPECT_NE(e.data, 0u) << e.name;
  }
  EXPECT_EQ(FindShapeFunction("", "Relu"), nullptr);
}

}  // namespace
}  // namespace slipway::ops
