#include "engine/kernels/recurrent/recurrent.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/kernels/simd/isa_test_util.h"
#include "engine/kernels/simd/random_test_util.h"

namespace slipway::kernels {
namespace {

std::vector<float> Reals(Random& random, int64_t n) {
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v) x = random.Real(-1, 1);
  return v;
}
int64_t Padded(int64_t units, int64_t lanes) { return (units + lanes - 1) / lanes * lanes; }

// Some gates of [4, hidden, k] added to some of the slots of a block.
void CheckProduct(Random& random, Isa isa) {
  const RecurrentKernels& kernels = GetRecurrent(isa);
  const int64_t lanes = kernels.lanes, hidden = random.Int(1, 150), k = random.Int(0, 40),
                rows = random.Int(1, 9), x_stride = k + random.Int(0, 3);
  const int gates = static_cast<int>(random.Int(1, 4)), first = static_cast<int>(random.Int(0, 1)),
            slots = gates + first + static_cast<int>(random.Int(0, 1));
  const bool apart = random.Chance(0.4);
  SCOPED_TRACE("hidden " + std::to_string(hidden) + ", k " + std::to_string(k) + ", rows " +
               std::to_string(rows) + ", gates " + std::to_string(gates) + " from " +
               std::to_string(first) + " of " + std::to_string(slots) + (apart ? ", apart" : ""));
  std::vector<int> which;
  for (int i = 0; i < gates; ++i) which.push_back(static_cast<int>(random.Int(0, 3)));
  const int64_t padded = Padded(hidden, lanes), blocks = padded / lanes,
                stride = padded * slots + 5;
  const auto weights = Reals(random, 4 * hidden * k), x = Reals(random, rows * x_stride + 1),
             start = Reals(random, padded), before = Reals(random, rows * stride);
  std::vector<float> packed(static_cast<size_t>(padded * gates * k) + 1, 7.0f);
  PackRecurrent(weights.data(), hidden, k, which, static_cast<int>(lanes), packed.data());
  ASSERT_EQ(packed.back(), 7.0f);
  std::vector<float> sums = before, beside(static_cast<size_t>(rows * padded), 9.0f);
  RecurrentProduct p{.x = x.data(),
                     .x_stride = x_stride,
                     .rows = rows,
                     .k = k,
                     .w = packed.data(),
                     .gates = gates,
                     .blocks = blocks,
                     .sums = sums.data(),
                     .sums_stride = stride,
                     .slots = slots,
                     .first = first,
                     .apart = apart ? beside.data() : nullptr,
                     .apart_stride = padded,
                     .apart_start = start.data()};
  // Whole, and cut where a group begins.
  const int64_t group = RecurrentGroup(gates, blocks), cut = random.Int(0, blocks / group) * group;
  kernels.product(p, cut, blocks);
  kernels.product(p, 0, cut);
  std::vector<float> again = before;
  p.sums = again.data();
  kernels.product(p, 0, blocks);
  ASSERT_EQ(std::memcmp(sums.data(), again.data(), sums.size() * 4), 0);
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<double> want(before.begin() + row * stride, before.begin() + (row + 1) * stride);
    for (int64_t unit = 0; unit < hidden; ++unit) {
      for (int gate = 0; gate < gates; ++gate) {
        const bool aside = apart && gate == gates - 1;
        const int64_t at = (unit / lanes * slots + first + gate) * lanes + unit % lanes;
        double sum = aside ? start[static_cast<size_t>(unit)] : want[static_cast<size_t>(at)];
        const float* w = weights.data() + (which[static_cast<size_t>(gate)] * hidden + unit) * k;
        for (int64_t i = 0; i < k; ++i)
          sum += static_cast<double>(w[i]) * x[static_cast<size_t>(row * x_stride + i)];
        if (aside) {
          ASSERT_NEAR(beside[static_cast<size_t>(row * padded + unit)], sum, 1e-5);
        } else {
          want[static_cast<size_t>(at)] = sum;
        }
      }
    }
    for (int64_t i = 0; i < stride; ++i)  // slots of others and what follows too
      ASSERT_NEAR(sums[static_cast<size_t>(row * stride + i)], want[static_cast<size_t>(i)], 1e-5)
          << "row " << row << ", " << i;
  }
}

double True(const CellActivation& f, double x) {
  switch (f.function) {
    case CellFunction::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case CellFunction::kTanh:
      return std::tanh(x);
    case CellFunction::kRelu:
      return std::max(x, 0.0);
    case CellFunction::kHardSigmoid:
      return std::min(1.0, std::max(0.0, f.a * x + f.b));
  }
  return 0;
}

void CheckCells(Random& random, Isa isa) {
  const RecurrentKernels& kernels = GetRecurrent(isa);
  const int64_t lanes = kernels.lanes, blocks = random.Int(1, 5), units = blocks * lanes;
  CellActivation f[3];
  for (CellActivation& one : f)
    one = {static_cast<CellFunction>(random.Int(0, 3)), random.Real(0.1f, 0.4f), 0.5f};
  std::vector<float> sums = Reals(random, 4 * units);
  for (float& x : sums) x *= 6;
  const auto state = Reals(random, units), apart = Reals(random, units);
  auto at = [&](int slots, int slot, int64_t unit) {
    return static_cast<double>(
        sums[static_cast<size_t>((unit / lanes * slots + slot) * lanes + unit % lanes)]);
  };
  std::vector<float> next(state.size() + 1, 3.0f), cell = state;
  auto used = sums;
  kernels.lstm(used.data(), cell.data(), next.data(), blocks, f);
  for (int64_t i = 0; i < units; ++i) {
    const auto u = static_cast<size_t>(i);
    const double now =
        True(f[0], at(4, 2, i)) * state[u] + True(f[0], at(4, 0, i)) * True(f[1], at(4, 3, i));
    ASSERT_NEAR(cell[u], now, 1e-5);
    ASSERT_NEAR(next[u], True(f[0], at(4, 1, i)) * True(f[2], now), 3e-5);
  }
  ASSERT_EQ(next.back(), 3.0f);
  for (const bool behind : {false, true}) {
    used = sums;
    kernels.gru(used.data(), behind ? apart.data() : nullptr, state.data(), next.data(), blocks, f);
    for (int64_t i = 0; i < units; ++i) {
      const auto u = static_cast<size_t>(i);
      const double z = True(f[0], at(3, 0, i)), r = True(f[0], at(3, 1, i));
      const double h = True(f[1], at(3, 2, i) + (behind ? r * apart[u] : 0));
      ASSERT_NEAR(next[u], (1 - z) * h + z * state[u], 3e-5);
    }
  }
  used = sums;
  kernels.gru_reset(used.data(), state.data(), next.data(), blocks, f);
  for (int64_t i = 0; i < units; ++i)
    ASSERT_NEAR(next[static_cast<size_t>(i)],
                True(f[0], at(3, 1, i)) * state[static_cast<size_t>(i)], 1e-5);
  used = sums;
  kernels.rnn(used.data(), next.data(), blocks, f);
  for (int64_t i = 0; i < units; ++i)
    ASSERT_NEAR(next[static_cast<size_t>(i)], True(f[0], sums[static_cast<size_t>(i)]), 1e-5);
  ASSERT_EQ(next.back(), 3.0f);
}

TEST(Recurrent, RandomShapes) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random{std::mt19937(seed)};
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(700);
  for (int round = 0; round < 60 || std::chrono::steady_clock::now() < end; ++round) {
    for (Isa isa : Isas()) {
      SCOPED_TRACE(IsaName(isa));
      CheckProduct(random, isa);
      CheckCells(random, isa);
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace slipway::kernels
