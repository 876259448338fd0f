#include "engine/kernels/winograd/winograd.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/aligned.h"
#include "engine/kernels/simd/isa_test_util.h"

namespace slipway::kernels {
namespace {

std::vector<float> Normal(int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> v(static_cast<size_t>(count));
  for (float& f : v) f = normal(random);
  return v;
}

struct Extras {
  bool bias, residual;
  float low, high;
};

// What is computed, in double, with the sum of absolute products as the measure of rounding.
struct Truth {
  std::vector<double> value, size;
};
Truth Direct(const WinogradShape& s, const std::vector<float>& x, const std::vector<float>& w,
             const std::vector<float>& bias, const std::vector<float>& residual, const Extras& e) {
  const int64_t outs = s.groups * s.out_channels, ins = s.groups * s.in_channels;
  const auto at = [&](int64_t n, int64_t c, int64_t channels, int64_t h, int64_t row, int64_t width,
                      int64_t column) {
    return static_cast<size_t>(
        (((n * (channels / s.block) + c / s.block) * h + row) * width + column) * s.block +
        c % s.block);
  };
  Truth t;
  t.value.resize(residual.size());
  t.size.resize(residual.size());
  for (int64_t n = 0; n < s.images; ++n) {
    for (int64_t o = 0; o < outs; ++o) {
      for (int64_t i = 0; i < s.out_height; ++i) {
        for (int64_t j = 0; j < s.out_width; ++j) {
          double sum = e.bias ? bias[static_cast<size_t>(o)] : 0, size = std::fabs(sum);
          for (int64_t c = 0; c < s.in_channels; ++c) {
            for (int64_t tap = 0; tap < 9; ++tap) {
              const int64_t row = i + tap / 3 - s.pad_top, column = j + tap % 3 - s.pad_left;
              if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
              const int64_t channel = o / s.out_channels * s.in_channels + c;
              const double p =
                  static_cast<double>(x[at(n, channel, ins, s.height, row, s.width, column)]) *
                  w[static_cast<size_t>((o * s.in_channels + c) * 9 + tap)];
              sum += p;
              size += std::fabs(p);
            }
          }
          const size_t to = at(n, o, outs, s.out_height, i, s.out_width, j);
          if (e.residual) sum += residual[to];
          t.value[to] =
              std::min(std::max(sum, static_cast<double>(e.low)), static_cast<double>(e.high));
          t.size[to] = size;
        }
      }
    }
  }
  return t;
}

void Check(const WinogradShape& s, const Extras& e, std::mt19937& random) {
  SCOPED_TRACE("images " + std::to_string(s.images) + " groups " + std::to_string(s.groups) +
               " channels " + std::to_string(s.in_channels) + " to " +
               std::to_string(s.out_channels) + " image " + std::to_string(s.height) + "x" +
               std::to_string(s.width) + " to " + std::to_string(s.out_height) + "x" +
               std::to_string(s.out_width) + " pads " + std::to_string(s.pad_top) + "," +
               std::to_string(s.pad_left) + " block " + std::to_string(s.block) + " tile " +
               std::to_string(s.tile));
  ASSERT_TRUE(s.Valid());
  const auto x = Normal(s.images * s.groups * s.in_channels * s.height * s.width, random);
  const auto w = Normal(s.groups * s.out_channels * s.in_channels * 9, random);
  const auto bias = Normal(s.groups * s.out_channels, random);
  const auto residual =
      Normal(s.images * s.groups * s.out_channels * s.out_height * s.out_width, random);
  const Truth truth = Direct(s, x, w, bias, residual, e);
  const double largest = 1 + *std::max_element(truth.size.begin(), truth.size.end());
  for (Isa isa : Isas()) {
    if (s.block == 8 && isa == Isa::kAvx512) continue;  // a vector must lie in one block
    const WinogradKernels& kernels = GetWinograd(isa);
    AlignedBuffer packed(static_cast<size_t>(s.weight_floats()) * 4);
    auto* weights = reinterpret_cast<float*>(packed.data());
    const int64_t middle = kernels.panels(s) / 2;
    kernels.pack(s, w.data(), weights, middle, kernels.panels(s));
    kernels.pack(s, w.data(), weights, 0, middle);
    std::vector<float> first;
    for (int threads : {1, 2, 5}) {
      const WinogradPlan plan = kernels.plan(s, threads);
      const auto floats = static_cast<size_t>(plan.workspace_bytes) / 4;
      AlignedBuffer memory(floats * 4 + 64);
      auto* workspace = reinterpret_cast<float*>(memory.data());
      std::memset(workspace, 0xFF, floats * 4);
      std::memset(workspace + floats, 0xA5, 64);
      // In place: y holds the residual.
      std::vector<float> y = e.residual ? residual : std::vector<float>(residual.size(), NAN);
      y.push_back(7);
      const WinogradCall call{x.data(),
                              weights,
                              e.bias ? bias.data() : nullptr,
                              e.residual ? y.data() : nullptr,
                              y.data(),
                              e.low,
                              e.high,
                              nullptr,
                              0,
                              0,
                              workspace};
      const int64_t jobs = plan.blocks * s.groups;
      if (plan.shared) {
        for (int64_t job = 0; job < jobs; ++job) {
          kernels.input(s, plan, call, job, 0, kernels.input_vectors(s));
          for (int slot = threads; slot-- > 0;)
            kernels.output(s, plan, call, slot, job, kernels.group_panels(s) * slot / threads,
                           kernels.group_panels(s) * (slot + 1) / threads);
        }
      } else {
        for (int slot = threads; slot-- > 0;)
          kernels.block(s, plan, call, slot, jobs * slot / threads, jobs * (slot + 1) / threads);
      }
      ASSERT_EQ(y.back(), 7);
      const std::vector<uint8_t> guard(64, 0xA5);
      ASSERT_EQ(std::memcmp(workspace + floats, guard.data(), 64), 0)
          << IsaName(isa) << " wrote behind its workspace";
      if (first.empty()) {
        first = y;
        for (size_t i = 0; i + 1 < y.size(); ++i) {
          // What a tile shares is rounded as its largest sums are.
          ASSERT_NEAR(y[i], truth.value[i], (s.tile == 4 ? 2e-6 : 1e-6) * largest)
              << IsaName(isa) << " at " << i;
        }
      }
      ASSERT_EQ(std::memcmp(first.data(), y.data(), y.size() * 4), 0)
          << IsaName(isa) << ": other results with " << threads << " threads";
    }
  }
}

TEST(Winograd, RandomShapes) {
  const uint32_t seed = std::random_device{}();
  std::mt19937 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  const auto below = [&](int n) {
    return static_cast<int64_t>(random() % static_cast<unsigned>(n));
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(900);
  constexpr float kNone = std::numeric_limits<float>::infinity();
  for (int round = 0; round < 30 || std::chrono::steady_clock::now() < end; ++round) {
    const int block = below(3) == 0 ? 8 : 16;
    WinogradShape s{.images = 1 + below(2),
                    .groups = below(3) == 0 ? 1 + below(3) : 1,
                    .in_channels = block * (1 + below(3)),
                    .out_channels = block * (1 + below(5)),
                    .height = 1 + below(12),
                    .width = 1 + below(12),
                    .pad_top = below(3),
                    .pad_left = below(3),
                    .block = block,
                    .tile = round % 2 == 0 ? 4 : 2};
    s.out_height = std::max<int64_t>(1, s.height + s.pad_top + below(3) - 2);
    s.out_width = std::max<int64_t>(1, s.width + s.pad_left + below(3) - 2);
    const bool relu = below(2) == 0;
    Check(s, {below(2) == 0, below(2) == 0, relu ? 0 : -kNone, relu && below(2) == 0 ? 6 : kNone},
          random);
    if (HasFatalFailure()) return;
  }
}

// Many tiles: several blocks for every thread.
TEST(Winograd, Blocks) {
  std::mt19937 random(1);
  Check({.images = 1,
         .in_channels = 16,
         .out_channels = 48,
         .height = 61,
         .width = 130,
         .out_height = 61,
         .out_width = 130,
         .pad_top = 1,
         .pad_left = 1,
         .block = 16,
         .tile = 2},
        {true, true, 0, 6}, random);
  const WinogradShape large{.images = 1,
                            .in_channels = 512,
                            .out_channels = 512,
                            .height = 56,
                            .width = 56,
                            .out_height = 56,
                            .out_width = 56,
                            .pad_top = 1,
                            .pad_left = 1,
                            .block = 16,
                            .tile = 4};
  // The intermediates of a thread stay about the size of the second-level cache.
  EXPECT_LE(GetWinograd(BestIsa()).plan(large, 1).workspace_bytes, 2 << 20);
  EXPECT_LE(GetWinograd(BestIsa()).plan(large, 4).workspace_bytes, 8 << 20);
}

TEST(Winograd, Shapes) {
  WinogradShape s{.images = 1,
                  .in_channels = 16,
                  .out_channels = 32,
                  .height = 7,
                  .width = 7,
                  .out_height = 7,
                  .out_width = 7,
                  .pad_top = 1,
                  .pad_left = 1};
  EXPECT_TRUE(s.Valid());
  EXPECT_EQ(s.tiles(), 4);
  EXPECT_EQ(s.weight_floats(), 36 * 16 * 32);
  const auto without = [&](auto change) {
    WinogradShape t = s;
    change(t);
    return !t.Valid();
  };
  EXPECT_TRUE(without([](WinogradShape& t) { t.in_channels = 15; }));
  EXPECT_TRUE(without([](WinogradShape& t) { t.out_channels = 8; }));
  EXPECT_TRUE(without([](WinogradShape& t) { t.tile = 3; }));
  EXPECT_TRUE(without([](WinogradShape& t) { t.block = 4; }));
  EXPECT_TRUE(without([](WinogradShape& t) { t.height = 0; }));
  EXPECT_TRUE(without([](WinogradShape& t) { t.pad_left = -1; }));
  EXPECT_TRUE(without([](WinogradShape& t) { t.out_height = t.out_width = int64_t{1} << 30; }));
}

}  // namespace
}  // namespace slipway::kernels
