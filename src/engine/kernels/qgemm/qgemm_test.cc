// Bit for bit against the formulas of qgemm.h written out, for every instruction set of this CPU;
// activations to one code.

#include "engine/kernels/qgemm/qgemm.h"

#include <gtest/gtest.h>

#if defined(__aarch64__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/aligned.h"

namespace slipway::kernels {
namespace {

std::vector<Isa> Isas() {
#if defined(__aarch64__)
  return {BestIntegerIsa()};  // for which weights are packed; SLIPWAY_CPU_FEATURES narrows it
#endif
  std::vector<Isa> all;
  for (int i = 0; i <= static_cast<int>(BestIntegerIsa()); ++i) all.push_back(static_cast<Isa>(i));
  return all;
}

class QGemm : public testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isa, QGemm, testing::ValuesIn(Isas()),
                         [](const auto& info) { return IsaName(info.param); });

int32_t ValueOf(uint8_t code, bool is_signed) {
  return is_signed ? static_cast<int8_t>(code) : code;
}

struct Problem {
  int64_t rows, columns, k, x_stride, y_stride;
  bool x_signed, row_add, residual, z_signed, activation;
  CodeType y;
  int64_t line = 0, runs = 1, groups = 1;  // k: of a run
  int x_bits = 8, w_bits = 8;
  bool extreme = false;  // codes and weights of the least and greatest values only
  bool leaky = false;    // the activation is LeakyRelu, which all compute alike; else Swish

  int x_low() const { return x_signed ? -(1 << (x_bits - 1)) : 0; }
  int x_high() const { return x_low() + (1 << x_bits) - 1; }
  int w_low() const { return -(1 << (w_bits - 1)); }
  int w_high() const { return w_low() + (1 << w_bits) - 1; }
};

void CheckOne(const QGemmKernels& kernels, const Problem& p, std::mt19937& random) {
  auto fill = [&](auto& v) {
    for (auto& x : v) x = static_cast<std::decay_t<decltype(x)>>(random());
  };
  // Rows in lines, runs that overlap, groups side by side.
  const int64_t line = p.line > 0 ? p.line : p.rows, own = (p.columns + 15) / 16 * 16;
  const auto rows = static_cast<size_t>(p.rows), columns = static_cast<size_t>(p.columns),
             k = static_cast<size_t>(p.k), stride = static_cast<size_t>(p.y_stride),
             groups = static_cast<size_t>(p.groups), count = static_cast<size_t>(p.runs),
             deep = (k + 3) / 4 * 4 * count;
  const int64_t line_stride = line * p.x_stride + 5;
  std::vector<int64_t> runs(count);
  for (size_t i = 0; i < count; ++i) runs[i] = static_cast<int64_t>(i) * (p.k / 2 + 3);
  const int64_t wide = p.groups * p.k + runs.back() + 4;
  std::vector<uint8_t> x(
      static_cast<size_t>((p.rows - 1) / line * line_stride + line * p.x_stride + wide)),
      z(rows * stride);
  std::vector<int8_t> w(groups * columns * deep);
  std::vector<int32_t> given(groups * columns), bias(groups * static_cast<size_t>(own)),
      sums(columns), row_add(rows);
  std::vector<float> multiplier(bias.size());
  const auto draw = [&](auto& v, int low, int high) {
    for (auto& value : v) {
      const auto at = static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
      value = static_cast<std::decay_t<decltype(value)>>(!p.extreme           ? low + at
                                                         : random() % 16 == 0 ? high
                                                                              : low);
    }
  };
  draw(x, p.x_low(), p.x_high());
  draw(w, p.w_low(), p.w_high());
  fill(z);
  for (size_t i = 0; i < w.size(); ++i) {
    if (i % deep % (deep / count) >= k) w[i] = 0;  // what fills a run up
  }
  const float scale =
      p.activation && !p.leaky ? 1e-5f : 2e-4f / std::sqrt(static_cast<float>(k * count)) * 50;
  for (int32_t& v : given) v = static_cast<int32_t>(random() % 40001) - 20000;
  for (int32_t& v : row_add) v = static_cast<int32_t>(random() % 40001) - 20000;
  const int32_t x_zero = p.x_bits < 4 ? 0 : p.x_signed ? -3 : 7;
  int32_t shift = QGemmShift(p.x_signed);
  if (shift < 0 && p.x_high() <= 127) shift = 0;
  const int64_t bytes = QGemmPackedBytes(static_cast<int64_t>(deep), p.columns);
  AlignedBuffer packed(static_cast<size_t>(bytes * p.groups));
  for (size_t g = 0; g < groups; ++g) {
    QGemmPack(w.data() + g * columns * deep, static_cast<int64_t>(deep), p.columns, 1,
              static_cast<int64_t>(deep),
              reinterpret_cast<int8_t*>(packed.data()) + static_cast<int64_t>(g) * bytes,
              sums.data());
    for (size_t j = 0; j < columns; ++j) {
      const size_t at = g * static_cast<size_t>(own) + j;
      bias[at] = given[g * columns + j] - (x_zero + shift) * sums[j];
      multiplier[at] = scale * (1 + static_cast<float>(j % 7));
    }
  }

  QGemmCall c;
  c.x = x.data(), c.x_stride = p.x_stride, c.rows = p.rows, c.k = p.k, c.flip = shift != 0;
  c.x_low = p.x_low() + shift, c.x_high = p.x_high() + shift;
  c.w_low = p.w_low(), c.w_high = p.w_high();
  c.line = p.line, c.line_stride = line_stride;
  if (p.runs > 1) c.runs = runs.data(), c.num_runs = p.runs;
  c.groups = p.groups, c.x_group = p.k;
  c.weights = reinterpret_cast<int8_t*>(packed.data()), c.columns = p.columns;
  c.bias = bias.data(), c.multiplier = multiplier.data();
  if (p.row_add) c.row_add = row_add.data();
  if (p.residual) {
    c.z = z.data(), c.z_stride = p.y_stride, c.z_multiplier = 0.37f, c.z_zero = 5;
    c.z_type = p.z_signed ? CodeType::kS8 : CodeType::kU8;
  }
  if (p.activation && p.leaky) {
    c.activation = GetEltwise(BestIsa()).unary[static_cast<int>(UnaryKind::kLeakyRelu)];
    c.a = 0.3f, c.y_multiplier = 0.9f;
    c.leaky = p.rows % 4 != 0;
  } else if (p.activation) {
    c.activation = GetEltwise(BestIsa()).unary[static_cast<int>(UnaryKind::kSwish)];
    c.a = 1, c.y_multiplier = 20;
    if (p.rows % 2 == 0) c.rectifier = MakeRectifierTable(UnaryKind::kSwish, 1, 20);
  }
  c.bounded = p.rows % 3 != 0;
  c.to = p.rows % 2 == 0        ? (p.y == CodeType::kS8 ? Requant{0, -7, 127} : Requant{0, 3, 255})
         : p.y == CodeType::kS8 ? Requant{-4, -120, 127}
                                : Requant{9, 9, 250};
  c.y_type = p.y, c.y_stride = p.y_stride;
  const size_t size = p.y == CodeType::kF32 ? 4 : 1;
  std::vector<uint8_t> y(rows * stride * size, 0xAA);
  c.y = y.data();
  // All blocks, in two calls.
  const int64_t blocks = own / 16 * p.groups,
                middle = static_cast<int64_t>(random()) % (blocks + 1);
  c.end_block = middle;
  kernels.run(c);
  c.first_block = middle, c.end_block = INT64_MAX;
  kernels.run(c);

  for (size_t m = 0; m < rows; ++m) {
    for (size_t j = 0; j < stride; ++j) {
      const uint8_t* got = y.data() + (m * stride + j) * size;
      if (j >= columns * groups) {
        ASSERT_EQ(*got, 0xAA) << "written beside the columns";
        continue;
      }
      uint32_t acc =
          static_cast<uint32_t>(given[j]) + static_cast<uint32_t>(p.row_add ? row_add[m] : 0);
      const size_t g = j / columns;
      for (size_t r = 0; r < count; ++r) {
        const int64_t at = static_cast<int64_t>(m) / line * line_stride +
                           static_cast<int64_t>(m) % line * p.x_stride + runs[r] +
                           static_cast<int64_t>(g) * p.k;
        for (size_t i = 0; i < k; ++i)
          acc +=
              static_cast<uint32_t>((ValueOf(x[static_cast<size_t>(at) + i], p.x_signed) - x_zero) *
                                    w[j * deep + r * (deep / count) + i]);
      }
      float v = static_cast<float>(static_cast<int32_t>(acc)) *
                multiplier[g * static_cast<size_t>(own) + j % columns];
      if (p.residual)
        v = std::fma(static_cast<float>(ValueOf(z[m * stride + j], p.z_signed) - 5), 0.37f, v);
      const bool rough = p.activation && !p.leaky;
      if (rough) v = v / (1 + std::exp(-v)) * 20;
      if (p.activation && p.leaky) v = (v < 0 ? 0.3f * v : v) * 0.9f;
      if (p.y == CodeType::kF32) {
        float f;
        std::memcpy(&f, got, 4);
        ASSERT_NEAR(f, v, rough ? 1e-5 * std::max(1.0f, std::fabs(v)) : 0);
        continue;
      }
      double r = std::nearbyint(static_cast<double>(v)) + c.to.zero_point;
      r = std::min<double>(std::max<double>(r, c.to.lo), c.to.hi);
      ASSERT_NEAR(ValueOf(*got, p.y == CodeType::kS8), r, rough ? 1 : 0)
          << "row " << m << " column " << j << " of " << p.rows << " x " << p.columns << " x "
          << p.k;
    }
  }
}

TEST_P(QGemm, EveryTile) {
  std::mt19937 random(5);
  for (int64_t columns : {1, 15, 16, 17, 33, 48, 64, 65, 80, 112}) {
    for (int64_t rows = 1; rows <= 14; ++rows) {
      const int64_t k = rows % 3 == 0 ? 7 : 4 * rows;
      CheckOne(GetQGemm(GetParam()),
               {rows, columns, k, k + 4, columns + 3, rows % 2 == 0, false, false, false, false,
                rows % 4 < 2 ? CodeType::kS8 : CodeType::kU8},
               random);
      CheckOne(GetQGemm(GetParam()),
               {rows, columns, k, k + 1, columns + 1, rows % 2 == 0, rows % 4 == 0, false, false,
                false, CodeType::kF32},
               random);
    }
  }
}

TEST_P(QGemm, LinesRunsAndGroups) {
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (int i = 0; i < 60; ++i) {
    const int64_t groups = i % 2 == 0 ? 1 : 2 + random() % 5, k = 1 + random() % 40,
                  columns = i % 4 == 1 ? 16 : 1 + random() % (groups == 1 ? 150 : 70);
    Problem p{static_cast<int64_t>(1 + random() % 40),
              columns,
              k,
              static_cast<int64_t>(k * groups + random() % 5),
              static_cast<int64_t>(columns * groups + random() % 5),
              random() % 2 == 0,
              random() % 5 == 0,
              random() % 3 == 0,
              random() % 2 == 0,
              random() % 5 == 0,
              static_cast<CodeType>(random() % 3)};
    p.groups = groups, p.runs = 1 + random() % 5, p.line = 1 + random() % 9;
    p.leaky = random() % 2 == 0;
    CheckOne(GetQGemm(GetParam()), p, random);
  }
}

// 8, 16 and 32 columns of few k have a way of their own (qgemm_narrow.h).
TEST_P(QGemm, FewColumnsOfFewCodes) {
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (int i = 0; i < 150; ++i) {
    const int64_t columns = int64_t{8} << i % 3, k = 1 + random() % 24;
    Problem p{static_cast<int64_t>(8 + random() % 60),
              columns,
              k,
              static_cast<int64_t>(k + random() % 5),
              static_cast<int64_t>(columns + random() % 2 * 5),
              random() % 2 == 0,
              random() % 8 == 0,
              random() % 8 == 0,
              random() % 2 == 0,
              random() % 3 == 0,
              static_cast<CodeType>(random() % 3)};
    p.leaky = random() % 2 == 0;
    p.runs = 1 + random() % 3;
    p.line = random() % 2 == 0 ? 0 : 6 + random() % 30;
    CheckOne(GetQGemm(GetParam()), p, random);
    if (HasFatalFailure()) return;
  }
}

TEST_P(QGemm, RandomProblems) {
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (int i = 0; i < 60; ++i) {
    const int64_t columns = 1 + random() % 100, k = 1 + random() % 300;
    Problem p{static_cast<int64_t>(1 + random() % 40),
              columns,
              k,
              static_cast<int64_t>(k + random() % 5),
              static_cast<int64_t>(columns + random() % 5),
              random() % 2 == 0,
              random() % 3 == 0,
              random() % 3 == 0,
              random() % 2 == 0,
              random() % 3 == 0,
              static_cast<CodeType>(random() % 3)};
    p.leaky = random() % 2 == 0;
    CheckOne(GetQGemm(GetParam()), p, random);
  }
}

// Every width of codes with every width of weights, also where lanes are as full as they may be.
TEST_P(QGemm, EveryWidth) {
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (int x_bits = 1; x_bits <= 8; ++x_bits) {
    for (int w_bits = 1; w_bits <= 8; ++w_bits) {
      for (int i = 0; i < 4; ++i) {
        // At most 4032 codes fit the lanes of one call (LoopBytes16).
        const int64_t columns = 1 + random() % 70,
                      k = i < 3 ? 1 + random() % 200 : x_bits + w_bits <= 4 ? 4080 : 2080;
        Problem p{static_cast<int64_t>(1 + random() % 20),
                  columns,
                  k,
                  static_cast<int64_t>(k + random() % 5),
                  columns,
                  i != 1,
                  false,
                  false,
                  false,
                  false,
                  CodeType::kF32};
        p.x_bits = x_bits, p.w_bits = w_bits, p.extreme = i >= 2;
        if (i == 1) p.runs = 3, p.k = k % 5 * 16 + 16, p.x_stride = p.k;
        SCOPED_TRACE("w" + std::to_string(w_bits) + "a" + std::to_string(x_bits));
        CheckOne(GetQGemm(GetParam()), p, random);
        if (HasFatalFailure()) return;
      }
    }
  }
}

#if defined(__aarch64__)
// `size` bytes with a page behind them that nobody may read.
class Guarded {
 public:
  explicit Guarded(int64_t size)
      : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))),
        bytes_((static_cast<size_t>(size) + page_ - 1) / page_ * page_) {
    base_ = static_cast<uint8_t*>(
        mmap(nullptr, bytes_ + page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_NE(static_cast<void*>(base_), MAP_FAILED);
    EXPECT_EQ(mprotect(base_ + bytes_, page_, PROT_NONE), 0);
    data_ = base_ + bytes_ - size;
  }
  ~Guarded() { munmap(base_, bytes_ + page_); }
  uint8_t* data() { return data_; }

 private:
  size_t page_, bytes_;
  uint8_t *base_, *data_;
};

// The loops in assembly load for the next turn: not behind the last row or weight.
TEST_P(QGemm, ReadsNothingBeyond) {
  std::mt19937 random(1);
  for (int64_t k = 16; k <= 272; k += k < 160 ? 16 : 112) {
    for (int bits = 1; bits <= 8; ++bits) {
      const int64_t rows = 4, columns = 16, bytes = QGemmPackedBytes(k, columns);
      Guarded x(rows * k), packed(bytes);
      const int half = 1 << (bits - 1);
      std::vector<int8_t> w(static_cast<size_t>(columns * k));
      for (int8_t& v : w) v = static_cast<int8_t>(static_cast<int>(random() % (2 * half)) - half);
      for (int64_t i = 0; i < rows * k; ++i)
        x.data()[i] = static_cast<uint8_t>(static_cast<int>(random() % (2 * half)) - half);
      std::vector<int32_t> sums(columns), bias(columns, 0);
      QGemmPack(w.data(), k, columns, 1, k, reinterpret_cast<int8_t*>(packed.data()), sums.data());
      const std::vector<float> multiplier(columns, 1);
      std::vector<float> y(rows * columns);
      QGemmCall c;
      c.x = x.data(), c.x_stride = k, c.rows = rows, c.k = k, c.columns = columns;
      c.x_low = c.w_low = -half, c.x_high = c.w_high = half - 1;
      c.weights = reinterpret_cast<int8_t*>(packed.data());
      c.bias = bias.data(), c.multiplier = multiplier.data();
      c.y = y.data(), c.y_type = CodeType::kF32, c.y_stride = columns;
      GetQGemm(GetParam()).run(c);
      for (int64_t m = 0; m < rows; ++m) {
        for (int64_t j = 0; j < columns; ++j) {
          int32_t sum = 0;
          for (int64_t i = 0; i < k; ++i)
            sum += static_cast<int8_t>(x.data()[m * k + i]) * w[static_cast<size_t>(j * k + i)];
          ASSERT_EQ(y[static_cast<size_t>(m * columns + j)], static_cast<float>(sum))
              << bits << " bits, " << k << " codes, row " << m << ", column " << j;
        }
      }
    }
  }
}
#endif

// Sums wrap and do not saturate, whatever the codes.
TEST_P(QGemm, ExtremeCodes) {
  const int64_t k = 4096;
  std::vector<uint8_t> x(static_cast<size_t>(k), 255);
  std::vector<int8_t> w(static_cast<size_t>(k), -128);
  AlignedBuffer packed(static_cast<size_t>(QGemmPackedBytes(k, 1)));
  int32_t sum = 0;
  QGemmPack(w.data(), k, 1, 1, 1, reinterpret_cast<int8_t*>(packed.data()), &sum);
  EXPECT_EQ(sum, -128 * k);
  std::vector<int32_t> bias(16, 0);
  bias[0] = -QGemmShift(false) * sum;
  const std::vector<float> multiplier(16, 1);
  float y = 0;
  QGemmCall c;
  c.x = x.data(), c.x_stride = k, c.rows = 1, c.k = k, c.columns = 1;
  c.flip = QGemmShift(false) != 0;
  c.weights = reinterpret_cast<int8_t*>(packed.data());
  c.bias = bias.data(), c.multiplier = multiplier.data();
  c.y = &y, c.y_type = CodeType::kF32, c.y_stride = 1;
  GetQGemm(GetParam()).run(c);
  EXPECT_EQ(y, -128.0f * 255 * static_cast<float>(k));
}

TEST_P(QGemm, PacksActivations) {
  std::mt19937 random(4);
  for (const auto& [k, n] : {std::pair<int64_t, int64_t>{1, 1},
                             {4, 16},
                             {7, 33},
                             {64, 197},
                             {197, 64},
                             {32, 49},
                             {21, 18}}) {
    for (bool flip : {false, true}) {
      const int64_t stride = n + 5;
      std::vector<uint8_t> b(static_cast<size_t>(k * stride));
      for (uint8_t& v : b) v = static_cast<uint8_t>(random());
      std::vector<int8_t> signed_codes;
      for (int64_t i = 0; i < k; ++i) {
        for (int64_t j = 0; j < n; ++j)
          signed_codes.push_back(
              static_cast<int8_t>(b[static_cast<size_t>(i * stride + j)] ^ (flip ? 0x80 : 0)));
      }
      std::vector<int8_t> want(static_cast<size_t>(QGemmPackedBytes(k, n))), transposed;
      AlignedBuffer got(want.size());
      auto* packed = reinterpret_cast<int8_t*>(got.data());
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t i = 0; i < k; ++i)
          transposed.push_back(static_cast<int8_t>(b[static_cast<size_t>(i * stride + j)]));
      }
      std::vector<int32_t> sums(static_cast<size_t>(n)), got_sums(static_cast<size_t>(n + 15));
      QGemmPack(signed_codes.data(), k, n, n, 1, want.data(), sums.data());
      for (bool rows : {false, true}) {
        const QGemmKernels& kernels = GetQGemm(GetParam());
        std::memset(packed, 1, want.size());
        if (rows) {
          kernels.pack_rows(reinterpret_cast<const uint8_t*>(transposed.data()), k, k, n, flip,
                            packed, got_sums.data());
        } else {
          kernels.pack(b.data(), stride, k, n, flip, packed, got_sums.data());
        }
        EXPECT_EQ(std::vector<int8_t>(packed, packed + want.size()), want)
            << k << " x " << n << (rows ? " rows" : "");
        EXPECT_TRUE(std::equal(sums.begin(), sums.end(), got_sums.begin())) << k << " x " << n;
      }
    }
  }
}

TEST_P(QGemm, RowSums) {
  std::mt19937 random(9);
  std::vector<uint8_t> x(5 * 70);
  for (uint8_t& v : x) v = static_cast<uint8_t>(random());
  for (int is_signed = 0; is_signed < 2; ++is_signed) {
    int32_t sums[5];
    GetQGemm(GetParam()).row_sums[is_signed](x.data(), 70, 5, 67, sums);
    for (size_t m = 0; m < 5; ++m) {
      int32_t want = 0;
      for (size_t i = 0; i < 67; ++i) want += ValueOf(x[m * 70 + i], is_signed);
      EXPECT_EQ(sums[m], want);
    }
  }
}

}  // namespace
}  // namespace slipway::kernels
