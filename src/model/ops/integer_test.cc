// Bitwise operators, shifts, and exact products of 8-bit codes; against long-hand loops.

#include <limits>
#include <random>

#include "model/ops/ops_test_util.h"

namespace slipway::ops {
namespace {

TEST(Integer, Bitwise) {
  const T a = U8({3}, {0b1100, 0xff, 0}), b = U8({1}, {0b1010});
  EXPECT_EQ(Run1("BitwiseAnd", {a, b}, {3}).As<uint8_t>(), (std::vector<uint8_t>{8, 10, 0}));
  EXPECT_EQ(Run1("BitwiseOr", {a, b}, {3}).As<uint8_t>(), (std::vector<uint8_t>{14, 255, 10}));
  EXPECT_EQ(Run1("BitwiseXor", {a, b}, {3}).As<uint8_t>(), (std::vector<uint8_t>{6, 245, 10}));
  EXPECT_EQ(Run1("BitwiseNot", {S8({3}, {0, -1, 5})}, {3}).As<int8_t>(),
            (std::vector<int8_t>{-1, 0, -6}));
  EXPECT_EQ(Run1("BitwiseXor", {I({2}, {-1, 1}), I({1}, {1})}, {2}).As<int64_t>(),
            (std::vector<int64_t>{-2, 0}));
  EXPECT_NE(RunError("BitwiseAnd", {F({1}, {1}), F({1}, {1})}, {1}).find("float32"),
            std::string::npos);
}

TEST(Integer, BitShift) {
  const Attributes left{{"direction", "LEFT"}}, right{{"direction", "RIGHT"}};
  const T x = U8({4}, {16, 4, 1, 255}), by = U8({4}, {1, 2, 8, 200});
  EXPECT_EQ(Run1("BitShift", {x, by}, {4}, left).As<uint8_t>(),
            (std::vector<uint8_t>{32, 16, 0, 0}));
  EXPECT_EQ(Run1("BitShift", {x, by}, {4}, right).As<uint8_t>(),
            (std::vector<uint8_t>{8, 1, 0, 0}));
  const T wide = Make<uint64_t>({2}, {uint64_t{1} << 63, 1}), one = Make<uint64_t>({1}, {63});
  EXPECT_EQ(Run1("BitShift", {wide, one}, {2}, right).As<uint64_t>(),
            (std::vector<uint64_t>{1, 0}));
  EXPECT_NE(RunError("BitShift", {x, by}, {4}, {{"direction", "UP"}}).find("UP"),
            std::string::npos);
}

template <typename V>
T RandomCodes(Dims dims, std::mt19937& rng) {
  std::vector<V> v(static_cast<size_t>(dims.count()));
  for (V& e : v) e = static_cast<V>(rng());
  return Make<V>(dims, v);
}

TEST(Integer, MatMulIntegerAgainstLoops) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  for (int round = 0; round < 30; ++round) {
    const int64_t batch = 1 + round % 3, m = 1 + static_cast<int64_t>(rng() % 9),
                  k = 1 + static_cast<int64_t>(rng() % 70),
                  n = 1 + static_cast<int64_t>(rng() % 70);
    const bool shared = round % 2 == 0;  // one B for all batches
    const T a = RandomCodes<uint8_t>({batch, m, k}, rng);
    const T b = shared ? RandomCodes<int8_t>({k, n}, rng) : RandomCodes<int8_t>({batch, k, n}, rng);
    const bool rows = round % 5 == 1 && batch > 1;
    const T za = rows ? RandomCodes<uint8_t>({batch, m, 1}, rng) : RandomCodes<uint8_t>({}, rng);
    const T zb = round % 3 == 0 ? RandomCodes<int8_t>({n}, rng) : RandomCodes<int8_t>({1}, rng);
    const auto got =
        Run1("MatMulInteger", {a, b, za, zb}, {batch, m, n}, {}, DType::kInt32).As<int32_t>();
    const auto va = a.As<uint8_t>(), vza = za.As<uint8_t>();
    const auto vb = b.As<int8_t>(), vzb = zb.As<int8_t>();
    for (int64_t p = 0; p < batch; ++p) {
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          int32_t want = 0;
          for (int64_t r = 0; r < k; ++r) {
            const int x = va[static_cast<size_t>((p * m + i) * k + r)] -
                          vza[rows ? static_cast<size_t>(p * m + i) : 0];
            const int w = vb[static_cast<size_t>(((shared ? 0 : p) * k + r) * n + j)] -
                          vzb[vzb.size() > 1 ? static_cast<size_t>(j) : 0];
            want += x * w;
          }
          ASSERT_EQ(got[static_cast<size_t>((p * m + i) * n + j)], want)
              << p << " " << i << " " << j;
        }
      }
    }
  }
}

TEST(Integer, ConvIntegerPadsWithTheZeroPoint) {
  // x - 1 = [1..9], ones as weights: the sums over the 2x2 windows; padding adds nothing.
  const T x = U8({1, 1, 3, 3}, {2, 3, 4, 5, 6, 7, 8, 9, 10}), w = U8({1, 1, 2, 2}, {1, 1, 1, 1});
  EXPECT_EQ(Run1("ConvInteger", {x, w, U8({}, {1})}, {1, 1, 2, 2}, {}, DType::kInt32).As<int32_t>(),
            (std::vector<int32_t>{12, 16, 24, 28}));
  EXPECT_EQ(Run1("ConvInteger", {x, w, U8({}, {1})}, {1, 1, 4, 4}, {{"pads", Ints{1, 1, 1, 1}}},
                 DType::kInt32)
                .As<int32_t>()[0],
            1);
  // A zero point for each output channel.
  const T two = S8({2, 1, 2, 2}, {1, 1, 1, 1, 2, 2, 2, 2});
  EXPECT_EQ(
      Run1("ConvInteger", {x, two, U8({}, {1}), S8({2}, {0, 1})}, {1, 2, 2, 2}, {}, DType::kInt32)
          .As<int32_t>(),
      (std::vector<int32_t>{12, 16, 24, 28, 12, 16, 24, 28}));
}

TEST(Integer, DynamicQuantizeLinear) {
  std::vector<T> out{T(DType::kUInt8, {3}), T(DType::kFloat32, {}), T(DType::kUInt8, {})};
  ASSERT_TRUE(Call("DynamicQuantizeLinear", {F({3}, {-1, 0, 4.1f})}, out).ok());
  EXPECT_EQ(out[0].As<uint8_t>(), (std::vector<uint8_t>{0, 50, 255}));
  EXPECT_FLOAT_EQ(out[1].As<float>()[0], 5.1f / 255);
  EXPECT_EQ(out[2].As<uint8_t>()[0], 50);
  ASSERT_TRUE(Call("DynamicQuantizeLinear", {F({3}, {0, 0, 0})}, out).ok());
  EXPECT_EQ(out[0].As<uint8_t>(), (std::vector<uint8_t>{0, 0, 0}));
  EXPECT_EQ(out[1].As<float>()[0], 1);
  // Infinities give codes, whatever they mean.
  const float huge = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(Call("DynamicQuantizeLinear", {F({3}, {-huge, 1, huge})}, out).ok());
  EXPECT_EQ(out[2].As<uint8_t>()[0], 0);
}

TEST(SubByte, TransposeAndPad) {
  T x(DType::kInt4, {2, 3});  // 1 2 3 / 4 5 -6
  x.bytes = {0x21, 0x43, 0xa5};
  const T t = Run1("Transpose", {x}, {3, 2}, {{"perm", Ints{1, 0}}});
  EXPECT_EQ(t.bytes, (std::vector<uint8_t>{0x41, 0x52, 0xa3}));
  const T p = Run1("Pad", {x, I({4}, {0, 1, 0, 0})}, {2, 4});
  EXPECT_EQ(p.bytes, (std::vector<uint8_t>{0x10, 0x32, 0x40, 0xa5}));
}

}  // namespace
}  // namespace slipway::ops
