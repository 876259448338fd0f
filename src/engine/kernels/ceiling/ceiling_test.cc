#include "engine/kernels/ceiling/ceiling.h"

#include <gtest/gtest.h>

#include <iostream>

#include "base/cpu.h"

namespace slipway::kernels {
namespace {

// No absolute figures: they are this machine's. But wider instructions do more.
TEST(Ceiling, FiguresAreInTheirOrder) {
  for (int k = 0; k < kCeilingKinds; ++k) {
    const auto kind = static_cast<CeilingKind>(k);
    std::cout << "  " << CeilingName(kind) << " " << CeilingGmacs(kind) << " GMAC/s\n";
  }
  std::cout << "  memory " << CeilingReadGbps() << " GB/s\n";
  EXPECT_GT(CeilingGmacs(CeilingKind::kFloat32), 0.1);
  EXPECT_GT(CeilingReadGbps(), 0.01);
  EXPECT_EQ(CeilingGmacs(CeilingKind::kInt8), CeilingGmacs(CeilingKind::kInt8));
  if (ThisCpu().arch != "x86_64") GTEST_SKIP() << "no x86";
  EXPECT_GT(CeilingGmacs(CeilingKind::kInt8), 0.1);
  EXPECT_EQ(CeilingGmacs(CeilingKind::kBFloat16) > 0, HasFeature(CpuFeature::kAvx512Bf16));
  EXPECT_EQ(CeilingGmacs(CeilingKind::kBits) > 0, HasFeature(CpuFeature::kAvx512Vpopcntdq));
  if (HasFeature(CpuFeature::kAvx512Vnni)) {
    EXPECT_GT(CeilingGmacs(CeilingKind::kInt8), CeilingGmacs(CeilingKind::kFloat32));
  }
}

}  // namespace
}  // namespace slipway::kernels
