#include "engine/kernels/nbits/nbits.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <random>

#include "base/aligned.h"
#include "engine/kernels/simd/isa_test_util.h"

namespace slipway::kernels {
namespace {

struct Case {
  NBitsShape shape;
  int64_t m;
  bool is_signed, zeros, bias;
};

void Check(const Case& c, std::mt19937& random) {
  NBitsShape s = c.shape;
  ASSERT_TRUE(s.Valid());
  SCOPED_TRACE("bits " + std::to_string(s.bits) + " n " + std::to_string(s.n) + " k " +
               std::to_string(s.k) + " group " + std::to_string(s.group) + " m " +
               std::to_string(c.m) + (c.is_signed ? " signed" : "") + (c.zeros ? " zeros" : ""));
  const int low = c.is_signed ? -(1 << (s.bits - 1)) : 0;
  const auto code = [&] {
    return static_cast<uint8_t>(low + static_cast<int>(random() % (1u << s.bits)));
  };
  std::vector<uint8_t> codes(static_cast<size_t>(s.n * s.k)),
      zeros(static_cast<size_t>(s.n * s.groups()));
  for (auto& v : codes) v = code();
  for (auto& v : zeros) v = code();
  // A third has its zero points in the middle.
  if (random() % 3 == 0)
    std::fill(zeros.begin(), zeros.end(), static_cast<uint8_t>(low + (1 << (s.bits - 1))));
  s.offsets = !NBitsCentered(s, c.is_signed, c.zeros ? zeros.data() : nullptr) || random() % 4 == 0;
  std::normal_distribution<float> normal;
  std::vector<float> scales(zeros.size()), x(static_cast<size_t>(c.m * s.k)),
      bias(static_cast<size_t>(s.n));
  for (float& v : scales) v = 0.01f + std::fabs(normal(random));
  for (float& v : x) v = normal(random);
  for (float& v : bias) v = normal(random);
  const auto made =
      PackNBits(s, codes.data(), c.is_signed, scales.data(), c.zeros ? zeros.data() : nullptr);
  AlignedBuffer packed(made.size());
  std::memcpy(packed.data(), made.data(), made.size());

  const auto number = [&](uint8_t v) {
    return c.is_signed ? static_cast<double>(static_cast<int8_t>(v)) : static_cast<double>(v);
  };
  for (Isa isa : Isas()) {
    const NBitsKernels& kernels = GetNBits(isa);
    std::vector<float> sums(static_cast<size_t>(c.m * s.groups())),
        y(static_cast<size_t>(c.m * s.n), NAN);
    if (s.offsets) kernels.sums(s, x.data(), sums.data(), 0, c.m);
    const NBitsCall call{
        packed.data(), x.data(), s.offsets ? sums.data() : nullptr, c.bias ? bias.data() : nullptr,
        y.data(),      c.m};
    const int64_t middle = s.panels() / 2;
    kernels.linear(s.bits)(s, call, middle, s.panels());
    kernels.linear(s.bits)(s, call, 0, middle);
    for (int64_t m = 0; m < c.m; ++m) {
      for (int64_t n = 0; n < s.n; ++n) {
        double sum = c.bias ? bias[static_cast<size_t>(n)] : 0, size = std::fabs(sum);
        for (int64_t k = 0; k < s.k; ++k) {
          const auto g = static_cast<size_t>(n * s.groups() + k / s.group);
          const double w =
              (number(codes[static_cast<size_t>(n * s.k + k)]) - (c.zeros ? number(zeros[g]) : 0)) *
              scales[g];
          sum += x[static_cast<size_t>(m * s.k + k)] * w;
          size += std::fabs(x[static_cast<size_t>(m * s.k + k)]) * scales[g] * (1 << s.bits);
        }
        ASSERT_NEAR(y[static_cast<size_t>(m * s.n + n)], sum, 1e-6 * size)
            << IsaName(isa) << " at " << m << ", " << n;
      }
    }
  }
}

TEST(NBits, RandomShapes) {
  const uint32_t seed = std::random_device{}();
  std::mt19937 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  const auto below = [&](int n) {
    return static_cast<int64_t>(random() % static_cast<unsigned>(n));
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(700);
  for (int round = 0; round < 40 || std::chrono::steady_clock::now() < end; ++round) {
    for (int bits = 1; bits <= 8; ++bits) {
      if (!KnownNBits(bits)) continue;
      NBitsShape s{.n = 1 + below(50), .k = 1 + below(200), .group = 0, .bits = bits};
      s.group = below(3) == 0 ? s.k : 1 + below(static_cast<int>(s.k));
      Check({s, 1 + below(19), below(2) == 0, below(2) == 0, below(2) == 0}, random);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(NBits, Shapes) {
  EXPECT_EQ((NBitsShape{4096, 4096, 128, 4}).bytes(), 4096 * 4096 / 2 + 2 * 4096 * 32 * 4);
  EXPECT_EQ((NBitsShape{4096, 4096, 128, 4, false}).bytes(), 4096 * 4096 / 2 + 4096 * 32 * 4);
  const uint8_t zeros[] = {8, 8, 7};
  EXPECT_TRUE(NBitsCentered({2, 16, 16, 4}, false, zeros));
  EXPECT_FALSE(NBitsCentered({3, 16, 16, 4}, false, zeros));
  EXPECT_FALSE(NBitsCentered({3, 16, 16, 4}, false, nullptr));
  EXPECT_TRUE(NBitsCentered({3, 16, 16, 4}, true, nullptr));
  EXPECT_EQ((NBitsShape{16, 30, 30, 3}).words(), 3);
  EXPECT_EQ((NBitsShape{16, 31, 30, 3}).words(), 4);
  EXPECT_FALSE((NBitsShape{16, 16, 16, 7}).Valid());
  EXPECT_FALSE((NBitsShape{16, 16, 17, 4}).Valid());
  EXPECT_FALSE((NBitsShape{0, 16, 16, 4}).Valid());
  EXPECT_FALSE((NBitsShape{int64_t{1} << 40, int64_t{1} << 40, 16, 4}).Valid());
}

}  // namespace
}  // namespace slipway::kernels
