#include "engine/kernels/attention/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/aligned.h"
#include "base/float16.h"
#include "engine/kernels/simd/isa_test_util.h"

namespace slipway::kernels {
namespace {

constexpr float kOut = -std::numeric_limits<float>::infinity();

struct Mask {
  bool present, by_row, by_key;
};

void Check(const AttentionShape& s, const Mask& m, int64_t gap, std::mt19937& random) {
  SCOPED_TRACE("queries " + std::to_string(s.queries) + " keys " + std::to_string(s.keys) +
               " size " + std::to_string(s.size) + " to " + std::to_string(s.v_size) +
               (s.causal ? " causal" : "") + (m.present ? " masked" : "") + " gap " +
               std::to_string(gap));
  ASSERT_TRUE(s.Valid());
  std::normal_distribution<float> normal;
  const auto make = [&](int64_t count) {
    std::vector<float> v(static_cast<size_t>(count));
    for (float& f : v) f = normal(random);
    return v;
  };
  const int64_t row = s.size + gap, v_row = s.v_size + gap;
  auto q = make(s.queries * row), k = make(s.keys * row), v = make(s.keys * v_row);
  auto mask = make((m.by_row ? s.queries : 1) * (m.by_key ? s.keys : 1));
  for (float& f : mask) {
    if (random() % 4 == 0) f = kOut;
  }
  if (m.by_row && random() % 2) {  // a query that sees nothing
    for (int64_t j = 0; j < (m.by_key ? s.keys : 1); ++j) mask[static_cast<size_t>(j)] = kOut;
  }
  const int64_t mask_row = m.by_row ? (m.by_key ? s.keys : 1) : 0;
  const auto check = [&](AttentionFunction function, const char* name, bool half) {
    AlignedBuffer memory(static_cast<size_t>(s.workspace_floats()) * 4 + 64);
    auto* workspace = reinterpret_cast<float*>(memory.data());
    std::memset(workspace, 0xFF, memory.size());
    // In bfloat16 the operands are rounded, here too.
    std::vector<BFloat16> short_operands[3];
    const std::vector<float>* operands[3] = {&q, &k, &v};
    for (int i = 0; i < 3; ++i) {
      for (float f : *operands[i]) short_operands[i].emplace_back(f);
    }
    std::vector<float> y(static_cast<size_t>(s.queries * v_row), 7);
    std::vector<BFloat16> short_y(y.size(), BFloat16(7.0));
    const auto at = [&](int i) -> const void* {
      return half ? static_cast<const void*>(short_operands[i].data()) : operands[i]->data();
    };
    const AttentionCall call{at(0),
                             at(1),
                             at(2),
                             half ? static_cast<void*>(short_y.data()) : y.data(),
                             row,
                             row,
                             v_row,
                             v_row,
                             m.present ? mask.data() : nullptr,
                             mask_row,
                             m.by_key ? 1 : 0};
    const auto widen = [&] {
      for (size_t i = 0; half && i < y.size(); ++i) y[i] = static_cast<float>(short_y[i]);
    };
    function(s, call, workspace, 0, s.queries);
    widen();
    const std::vector<float> whole = y;
    const int64_t middle = s.queries / 2;
    function(s, call, workspace, middle, s.queries);
    function(s, call, workspace, 0, middle);
    widen();
    ASSERT_EQ(std::memcmp(whole.data(), y.data(), y.size() * 4), 0)
        << name << ": other results in two parts";
    for (int i = 0; i < 16; ++i)
      ASSERT_TRUE(std::isnan(workspace[s.workspace_floats() + i])) << "wrote behind its workspace";
    const auto number = [&](int i, int64_t index) -> double {
      const auto j = static_cast<size_t>(index);
      return half ? static_cast<float>(short_operands[i][j]) : (*operands[i])[j];
    };
    for (int64_t i = 0; i < s.queries; ++i) {
      std::vector<double> score(static_cast<size_t>(s.keys));
      double top = kOut, sum = 0;
      for (int64_t j = 0; j < s.keys; ++j) {
        double& p = score[static_cast<size_t>(j)];
        for (int64_t d = 0; d < s.size; ++d) p += number(0, i * row + d) * number(1, j * row + d);
        p *= s.scale;
        if (m.present) p += mask[static_cast<size_t>(i * mask_row + (m.by_key ? j : 0))];
        if (s.causal && j > i) p = kOut;
        top = std::max(top, p);
      }
      for (double& p : score) sum += p = std::isinf(top) ? 0 : std::exp(p - top);
      for (int64_t d = 0; d < v_row; ++d) {
        const float got = y[static_cast<size_t>(i * v_row + d)];
        if (d >= s.v_size) {
          ASSERT_EQ(got, 7) << name << " wrote between its rows";
          continue;
        }
        double want = 0, size = 0;
        for (int64_t j = 0; j < s.keys; ++j) {
          const double p = score[static_cast<size_t>(j)] * number(2, j * v_row + d);
          want += p;
          size += std::fabs(p);
        }
        // Weights are rounded to bfloat16, and the result is.
        const double rounding = half && sum > 0 ? (size + std::fabs(want)) / sum / 256 : 0;
        ASSERT_NEAR(got, sum > 0 ? want / sum : 0, 2e-5 + rounding)
            << name << " at " << i << ", " << d;
      }
    }
  };
  for (Isa isa : Isas()) {
    check(GetAttention(isa), IsaName(isa), false);
    if (testing::Test::HasFatalFailure()) return;
  }
  const AttentionFunction half = GetAttentionBf16(BestBfloat16Isa());
  if (half && s.size % 2 == 0 && row % 2 == 0) check(half, "avx512bf16", true);
}

TEST(Attention, RandomShapes) {
  const uint32_t seed = std::random_device{}();
  std::mt19937 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  const auto below = [&](int n) {
    return static_cast<int64_t>(random() % static_cast<unsigned>(n));
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(700);
  for (int round = 0; round < 40 || std::chrono::steady_clock::now() < end; ++round) {
    const AttentionShape s{.queries = 1 + below(40),
                           .keys = 1 + below(70),
                           .size = 1 + below(40),
                           .v_size = 1 + below(70),
                           .scale = 0.3f,
                           .causal = below(4) == 0};
    Check(s, {below(2) == 0, below(2) == 0, below(3) > 0}, below(2) * below(9), random);
    if (HasFatalFailure()) return;
  }
}

TEST(Attention, Shapes) {
  AttentionShape s{.queries = 197, .keys = 197, .size = 64, .v_size = 60};
  EXPECT_TRUE(s.Valid());
  EXPECT_EQ(s.workspace_floats(), 64 * 208 + 197 * 80 + 12 * (208 + 80));
  s.keys = int64_t{1} << 39;
  EXPECT_FALSE(s.Valid());
  s.keys = 0;
  EXPECT_FALSE(s.Valid());
}

}  // namespace
}  // namespace slipway::kernels
