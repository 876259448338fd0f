#include "engine/kernels/conv/conv.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/float16.h"

namespace slipway::kernels {
namespace {

constexpr float kNone = std::numeric_limits<float>::infinity();

struct Table {
  std::string name;
  const ConvKernels* kernels;
  Isa isa;
};
std::vector<Table> Tables() {
  std::vector<Table> out = {{"baseline", &GetConv(Isa::kBaseline), Isa::kBaseline}};
  if (HasFeature(CpuFeature::kAvx2)) out.push_back({"avx2", &GetConv(Isa::kAvx2), Isa::kAvx2});
  if (HasFeature(CpuFeature::kAvx512))
    out.push_back({"avx512", &GetConv(Isa::kAvx512), Isa::kAvx512});
  if (const ConvKernels* bf16 = GetConvBf16(BestBfloat16Isa()))
    out.push_back({"avx512bf16", bf16, Isa::kAvx512});
  return out;
}

// Numbers that bfloat16 holds.
std::vector<float> Normal(int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> v(static_cast<size_t>(count));
  for (float& f : v) f = static_cast<float>(BFloat16(normal(random)));
  return v;
}

// Memory of float32 or bfloat16 between guards.
class Buffer {
 public:
  Buffer(int64_t count, int pair) : count_(count), pair_(pair), bytes_(Bytes() + 2 * kGuard) {
    std::memset(bytes_.data(), 0xA5, Bytes() + 2 * kGuard);
  }
  uint8_t* data() { return bytes_.data() + kGuard; }
  void Set(int64_t i, float v) {
    if (pair_ == 1)
      reinterpret_cast<float*>(data())[i] = v;
    else
      reinterpret_cast<BFloat16*>(data())[i] = BFloat16(v);
  }
  float Get(int64_t i) {
    return pair_ == 1 ? reinterpret_cast<float*>(data())[i]
                      : static_cast<float>(reinterpret_cast<BFloat16*>(data())[i]);
  }
  size_t Bytes() const { return static_cast<size_t>(count_) * 4 / static_cast<size_t>(pair_); }
  bool Whole() {
    for (size_t i = 0; i < kGuard; ++i) {
      if (bytes_.data()[i] != 0xA5 || data()[Bytes() + i] != 0xA5) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kGuard = 128;
  int64_t count_;
  int pair_;
  AlignedBuffer bytes_;
};

struct Extras {
  bool bias, residual;
  float low, high;
  UnaryKind activation = UnaryKind::kIdentity;  // kSwish, kHardSwish or none
};

// Where an element lies in blocks, or with channels last for a block of 0.
int64_t Blocked(int64_t n, int64_t c, int64_t channels, int64_t pixels, int64_t pixel, int block) {
  if (block == 0) return (n * pixels + pixel) * channels + c;
  const int64_t blocks = (channels + block - 1) / block;
  return ((n * blocks + c / block) * pixels + pixel) * block + c % block;
}

void Check(const ConvShape& s, const Extras& e, std::mt19937& random) {
  SCOPED_TRACE("images " + std::to_string(s.images) + " groups " + std::to_string(s.groups) +
               " channels " + std::to_string(s.in_channels) + " to " +
               std::to_string(s.out_channels) + " image " + std::to_string(s.height) + "x" +
               std::to_string(s.width) + " to " + std::to_string(s.out_height) + "x" +
               std::to_string(s.out_width) + " kernel " + std::to_string(s.kernel_height) + "x" +
               std::to_string(s.kernel_width) + " stride " + std::to_string(s.stride_height) + "," +
               std::to_string(s.stride_width) + " dilation " + std::to_string(s.dilation_height) +
               "," + std::to_string(s.dilation_width) + " pads " + std::to_string(s.pad_top) + "," +
               std::to_string(s.pad_left) + " block " + std::to_string(s.block) + " input " +
               std::to_string(static_cast<int>(s.input)));
  ASSERT_TRUE(s.Valid());
  const int64_t ins = s.groups * s.in_channels, outs = s.groups * s.out_channels,
                pixels = s.height * s.width, out_pixels = s.out_height * s.out_width,
                taps = s.kernel_height * s.kernel_width;
  const auto x = Normal(s.images * ins * pixels, random),
             w = Normal(outs * s.in_channels * taps, random), bias = Normal(outs, random),
             residual = Normal(s.images * outs * out_pixels, random);
  std::vector<double> want(residual.size()), size(residual.size());
  for (int64_t n = 0, to = 0; n < s.images; ++n) {
    for (int64_t o = 0; o < outs; ++o) {
      for (int64_t i = 0; i < out_pixels; ++i, ++to) {
        double sum = e.bias ? bias[static_cast<size_t>(o)] : 0, most = std::fabs(sum);
        for (int64_t tap = 0; tap < taps; ++tap) {
          const int64_t row = i / s.out_width * s.stride_height - s.pad_top +
                              tap / s.kernel_width * s.dilation_height;
          const int64_t column = i % s.out_width * s.stride_width - s.pad_left +
                                 tap % s.kernel_width * s.dilation_width;
          if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
          for (int64_t c = 0; c < s.in_channels; ++c) {
            const int64_t channel = o / s.out_channels * s.in_channels + c;
            const double p =
                static_cast<double>(
                    x[static_cast<size_t>((n * ins + channel) * pixels + row * s.width + column)]) *
                w[static_cast<size_t>((o * s.in_channels + c) * taps + tap)];
            sum += p;
            most += std::fabs(p);
          }
        }
        if (e.residual) sum += residual[static_cast<size_t>(to)];
        sum = std::min(std::max(sum, static_cast<double>(e.low)), static_cast<double>(e.high));
        if (e.activation == UnaryKind::kSwish) sum /= 1 + std::exp(-sum);
        if (e.activation == UnaryKind::kHardSwish) sum *= std::clamp(sum / 6 + 0.5, 0.0, 1.0);
        want[static_cast<size_t>(to)] = sum;
        size[static_cast<size_t>(to)] = 1 + most;
      }
    }
  }
  for (const Table& table : Tables()) {
    const ConvKernels& k = *table.kernels;
    if (k.traits.block != s.block) continue;
    const int pair = k.traits.pair;
    // The second of the last pair would be read behind x.
    if (pair == 2 && s.input == ConvInput::kChannelsLast && !s.few() && s.in_channels % 2) continue;
    SCOPED_TRACE(table.name);
    const int64_t padded = s.last ? outs : (outs + s.block - 1) / s.block * s.block;
    const int out_block = s.last ? 0 : s.block;
    const bool blocked = s.input == ConvInput::kBlocked;
    Buffer in(s.images * (blocked ? (ins + s.block - 1) / s.block * s.block : ins) * pixels, pair);
    std::memset(in.data(), 0, in.Bytes());
    for (int64_t n = 0, from = 0; n < s.images; ++n) {
      for (int64_t c = 0; c < ins; ++c) {
        for (int64_t i = 0; i < pixels; ++i, ++from) {
          const int64_t at = blocked                        ? Blocked(n, c, ins, pixels, i, s.block)
                             : s.input == ConvInput::kPlain ? from
                                                            : (n * pixels + i) * ins + c;
          in.Set(at, x[static_cast<size_t>(from)]);
        }
      }
    }
    Buffer weights(static_cast<int64_t>(w.size()), pair), biases(outs, pair);
    for (size_t i = 0; i < w.size(); ++i) weights.Set(static_cast<int64_t>(i), w[i]);
    for (size_t i = 0; i < bias.size(); ++i) biases.Set(static_cast<int64_t>(i), bias[i]);
    Buffer packed(ConvPackedBytes(s, k.traits) / 4, 1);
    PackConv(s, k.traits, weights.data(), e.bias ? biases.data() : nullptr, packed.data());
    ASSERT_TRUE(packed.Whole());
    std::vector<uint8_t> first;
    // The last time with the function instead of what the kernel may have itself.
    for (int threads : {1, 2, 5, 3}) {
      ConvPlan plan = PlanConv(s, k.traits, threads);
      std::vector<ConvStep> steps(static_cast<size_t>(plan.num_steps));
      std::vector<int64_t> moves(static_cast<size_t>(plan.num_moves));
      ConvSteps(plan, steps.data(), moves.data());
      plan.steps = steps.data();
      plan.moves = moves.data();
      Buffer y(s.images * padded * out_pixels, pair);
      std::memset(y.data(), e.residual ? 0 : 0xFF, y.Bytes());  // residuals have zeros behind
      for (int64_t n = 0, from = 0; n < s.images; ++n) {
        for (int64_t c = 0; c < outs; ++c) {
          for (int64_t i = 0; i < out_pixels; ++i, ++from) {
            y.Set(Blocked(n, c, outs, out_pixels, i, out_block),
                  e.residual ? residual[static_cast<size_t>(from)] : NAN);
          }
        }
      }
      ConvCall call{.x = in.data(),
                    .weights = reinterpret_cast<const float*>(packed.data()),
                    .residual = e.residual ? y.data() : nullptr,
                    .y = y.data(),
                    .low = e.low,
                    .high = e.high};
      if (e.activation != UnaryKind::kIdentity) {
        const EltwiseKernels& eltwise = GetEltwise(table.isa);
        call.activation = pair == 2 && e.activation == UnaryKind::kSwish
                              ? eltwise.rough_swish
                              : eltwise.unary[static_cast<int>(e.activation)];
        call.a = 1;
        if (threads != 3) call.kind = e.activation;
      }
      Buffer workspace(plan.workspace_bytes / 4, 1);
      for (int64_t job = plan.jobs; job-- > 0;) k.run(plan, call, workspace.data(), job, job + 1);
      ASSERT_TRUE(y.Whole() && workspace.Whole());
      if (first.empty()) {
        first.assign(y.data(), y.data() + y.Bytes());
        for (int64_t n = 0, from = 0; n < s.images; ++n) {
          for (int64_t c = 0; c < outs; ++c) {
            for (int64_t i = 0; i < out_pixels; ++i, ++from) {
              const size_t f = static_cast<size_t>(from);
              const double bound = 1e-6 * size[f] + (pair == 2 ? std::fabs(want[f]) * 0.0041 : 0);
              ASSERT_NEAR(y.Get(Blocked(n, c, outs, out_pixels, i, out_block)), want[f], bound)
                  << "channel " << c << " pixel " << i;
            }
          }
          for (int64_t c = outs; c < padded; ++c) {
            for (int64_t i = 0; i < out_pixels; ++i)
              ASSERT_EQ(y.Get(Blocked(n, c, outs, out_pixels, i, out_block)), 0);
          }
        }
      }
      ASSERT_EQ(std::memcmp(first.data(), y.data(), y.Bytes()), 0)
          << "other results with " << threads << " threads";
    }
  }
}

TEST(Conv, RandomShapes) {
  const uint32_t seed = std::random_device{}();
  std::mt19937 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  const auto below = [&](int n) {
    return static_cast<int64_t>(random() % static_cast<unsigned>(n));
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
  for (int round = 0; round < 60 || std::chrono::steady_clock::now() < end; ++round) {
    const int block = below(2) == 0 ? 8 : 16;
    ConvShape s{.images = 1 + below(2), .groups = below(4) == 0 ? 2 + below(3) : 1, .block = block};
    const bool last = below(3) == 0;
    if (last) {
      s.input = ConvInput::kChannelsLast;
      s.last = true;
      s.in_channels = below(2) ? 2 * (1 + below(20)) : 1 + below(140);
      s.out_channels = 1 + below(70);
    } else if (s.groups > 1) {
      s.in_channels = block * (1 + below(2));
      s.out_channels = block * (1 + below(3));
    } else {
      s.in_channels = 1 + below(50);
      s.out_channels = 1 + below(70);
      if (s.in_channels <= kConvFewChannels)
        s.input = std::vector{ConvInput::kPlain, ConvInput::kChannelsLast,
                              ConvInput::kBlocked}[static_cast<size_t>(below(3))];
      s.last = s.input != ConvInput::kBlocked && below(2) == 0;
    }
    const int sizes[] = {1, 1, 3, 3, 2, 5, 7};
    s.kernel_height = sizes[below(7)];
    s.kernel_width = below(4) ? s.kernel_height : sizes[below(7)];
    s.stride_height = 1 + below(3);
    s.stride_width = below(4) ? s.stride_height : 1 + below(3);
    if (below(4) == 0) s.dilation_height = 1 + below(3);
    if (below(4) == 0 && (s.input == ConvInput::kBlocked || last)) s.dilation_width = 1 + below(3);
    s.pad_top = below(static_cast<int>(s.kernel_height) + 1);
    s.pad_left = below(2) ? s.kernel_width / 2 : below(static_cast<int>(s.kernel_width) + 1);
    s.height = 1 + below(14);
    s.width = 1 + below(below(3) ? 16 : 40);
    if (below(8) == 0) s.pad_top = -std::min(s.height - 1, below(3));
    if (below(8) == 0) s.pad_left = -std::min(s.width - 1, below(3));
    // Whole, one row or column less, or more padding behind.
    const auto extent = [&](int64_t in, int64_t before, int64_t kernel, int64_t dilation,
                            int64_t stride) {
      const int64_t after = below(2) || before < 0 ? std::max<int64_t>(before, 0)
                                                   : below(static_cast<int>(kernel) + 1);
      return std::max<int64_t>(1, (in + before + after - (kernel - 1) * dilation - 1) / stride + 1);
    };
    s.out_height = extent(s.height, s.pad_top, s.kernel_height, s.dilation_height, s.stride_height);
    s.out_width = extent(s.width, s.pad_left, s.kernel_width, s.dilation_width, s.stride_width);
    if (s.input != ConvInput::kBlocked && !s.Valid()) continue;  // groups that would be copied
    const bool relu = below(2) == 0;
    Check(s,
          {below(2) == 0, below(2) == 0, relu ? 0 : -kNone, relu && below(2) == 0 ? 6 : kNone,
           std::vector{UnaryKind::kIdentity, UnaryKind::kSwish,
                       UnaryKind::kHardSwish}[relu ? 0 : static_cast<size_t>(below(3))]},
          random);
    if (HasFatalFailure()) return;
  }
}

// Several bands in the workspace, and rows of whole tiles.
TEST(Conv, Bands) {
  std::mt19937 random(1);
  for (int block : {8, 16}) {
    Check({.images = 1,
           .in_channels = 64,
           .out_channels = 16,
           .height = 40,
           .width = 57,
           .out_height = 40,
           .out_width = 57,
           .kernel_height = 5,
           .kernel_width = 5,
           .pad_top = 2,
           .pad_left = 2,
           .block = block},
          {true, true, 0, 6}, random);
    Check({.images = 2,
           .in_channels = 256,
           .out_channels = 32,
           .height = 17,
           .width = 45,
           .out_height = 17,
           .out_width = 45,
           .block = block},
          {true, false, 0, kNone}, random);
    // One row with a window: bands of columns.
    Check({.images = 1,
           .in_channels = 16,
           .out_channels = 16,
           .height = 1,
           .width = 9000,
           .out_height = 1,
           .out_width = 4500,
           .kernel_width = 7,
           .stride_width = 2,
           .pad_left = 3,
           .block = block},
          {true, false, -kNone, kNone}, random);
    // Of eight bands some have more columns than an eighth of all.
    Check({.images = 1,
           .in_channels = 640,
           .out_channels = 16,
           .height = 1,
           .width = 112,
           .out_height = 1,
           .out_width = 112,
           .kernel_width = 7,
           .pad_left = 3,
           .block = block},
          {true, false, -kNone, kNone}, random);
  }
}

TEST(Conv, Shapes) {
  const ConvShape s{.images = 1,
                    .groups = 2,
                    .in_channels = 16,
                    .out_channels = 32,
                    .height = 7,
                    .width = 7,
                    .out_height = 7,
                    .out_width = 7,
                    .kernel_height = 3,
                    .kernel_width = 3,
                    .pad_top = 1,
                    .pad_left = 1};
  EXPECT_TRUE(s.Valid());
  EXPECT_EQ(ConvWeightWords(s, {16, 1, 16}), 2 * 32 * 16 * 9);
  EXPECT_EQ(ConvWeightWords(s, {16, 2, 16}), 32 * 16 * 9);
  EXPECT_EQ(ConvPackedBytes(s, {16, 1, 16}), (2 * 32 * 16 * 9 + 64) * 4);
  const auto invalid = [&](auto change) {
    ConvShape t = s;
    change(t);
    return !t.Valid();
  };
  EXPECT_TRUE(invalid([](ConvShape& t) { t.in_channels = 15; }));
  EXPECT_TRUE(invalid([](ConvShape& t) { t.out_channels = 8; }));
  EXPECT_TRUE(invalid([](ConvShape& t) { t.block = 4; }));
  EXPECT_TRUE(invalid([](ConvShape& t) { t.height = 0; }));
  EXPECT_FALSE(invalid([](ConvShape& t) { t.pad_left = -1; }));
  EXPECT_TRUE(invalid([](ConvShape& t) { t.pad_left = -(int64_t{1} << 32); }));
  EXPECT_TRUE(invalid([](ConvShape& t) { t.y_step_width = 2; }));
  EXPECT_FALSE(invalid([](ConvShape& t) {
    t.y_step_width = 2;
    t.y_height = 7;
    t.y_width = 13;
  }));
  EXPECT_TRUE(invalid([](ConvShape& t) {
    t.y_step_width = 2;
    t.y_height = 7;
    t.y_width = 12;
  }));
  EXPECT_TRUE(invalid([](ConvShape& t) { t.stride_width = 0; }));
  EXPECT_TRUE(invalid([](ConvShape& t) { t.input = ConvInput::kPlain; }));
  EXPECT_TRUE(invalid([](ConvShape& t) { t.last = true; }));
  EXPECT_TRUE(invalid([](ConvShape& t) { t.input = ConvInput::kChannelsLast; }));
  EXPECT_FALSE(invalid([](ConvShape& t) {
    t.input = ConvInput::kChannelsLast;
    t.last = true;
    t.in_channels = 15;
  }));
  EXPECT_TRUE(invalid([](ConvShape& t) {  // groups that would be copied
    t.input = ConvInput::kChannelsLast;
    t.last = true;
    t.pad_left = 2;
  }));
  EXPECT_TRUE(invalid([](ConvShape& t) { t.kernel_height = int64_t{1} << 31; }));
  EXPECT_TRUE(invalid([](ConvShape& t) { t.out_height = t.out_width = int64_t{1} << 30; }));
}

}  // namespace
}  // namespace slipway::kernels
