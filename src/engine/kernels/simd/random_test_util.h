#pragma once
// Random shapes and values for the tests of kernels.

#include <cstdint>
#include <random>

namespace slipway::kernels {

struct Random {
  std::mt19937 engine;
  int64_t Int(int64_t lo, int64_t hi) {
    return std::uniform_int_distribution<int64_t>(lo, hi)(engine);
  }
  bool Chance(double p) { return std::uniform_real_distribution<double>(0, 1)(engine) < p; }
  float Real(float lo, float hi) { return std::uniform_real_distribution<float>(lo, hi)(engine); }
};

}  // namespace slipway::kernels
