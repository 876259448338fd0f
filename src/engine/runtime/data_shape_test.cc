// Steps whose outputs' extents depend on data: the session binds the symbols in the middle of a run.

#include <algorithm>
#include <functional>

#include "engine/runtime/session_test_util.h"

namespace slipway {
namespace {

// Runs the selection package and compares everything.
void RunSelection(Sess& s, const std::vector<float>& x, int64_t count) {
  ASSERT_EQ(s.SetShape("x", {static_cast<int64_t>(x.size())}), 0) << s.error.message;
  std::copy(x.begin(), x.end(), s.In("x"));
  *reinterpret_cast<int64_t*>(s.In("count")) = count;
  ASSERT_EQ(s.Run(), 0) << s.error.message;
  std::vector<float> all, picked, few;
  double sum = 0;
  for (float v : x) all.push_back(std::max(v, 0.f));
  for (float v : all) {
    if (v != 0) picked.push_back(v);
  }
  for (float a : picked) {
    for (float b : picked) sum += static_cast<double>(a) * static_cast<double>(b);
  }
  few.assign(picked.begin(), picked.begin() + std::min<int64_t>(count, static_cast<int64_t>(picked.size())));
  const auto expect = [&](const char* name, const std::vector<float>& want) {
    slipway_tensor t{};
    ASSERT_EQ(slipway_session_output(s.s, name, &t, &s.error), 0) << s.error.message;
    ASSERT_EQ(t.rank, 1);
    ASSERT_EQ(t.dims[0], static_cast<int64_t>(want.size())) << name;
    ASSERT_EQ(t.bytes, want.size() * 4);
    for (size_t i = 0; i < want.size(); ++i) ASSERT_EQ(static_cast<float*>(t.data)[i], want[i]) << name << " " << i;
  };
  expect("all", all);
  expect("picked", picked);
  expect("few", few);
  EXPECT_NEAR(s.Out("largest")[0], sum, 1e-4 * (1 + sum));
}

TEST(DataShapes, ExtentsFollowTheData) {
  Loaded p(SelectionPackage());
  ASSERT_NE(p.package, nullptr) << p.error.message;
  slipway_tensor_info info;
  ASSERT_EQ(slipway_package_output(p.package, 0, &info), 0);
  EXPECT_EQ(info.dims[0], -1);
  EXPECT_STREQ(info.dim_names[0], "u");
  for (int threads : {1, 2}) {
    Sess s(p.package, threads);
    RunSelection(s, {1, -2, 3, 0, 5}, 2);
    RunSelection(s, {1, -2, 3, 0, 5}, 3);
    RunSelection(s, {-1, -2, -3, 0, -5}, 3);  // nothing is selected
    RunSelection(s, {4, 2, 3, 1, 5}, 1);
    std::vector<float> large(700);
    for (size_t i = 0; i < large.size(); ++i) large[i] = i % 3 ? 1.f / static_cast<float>(i) : -1.f;
    RunSelection(s, large, 5);  // the arena grows with what it holds
    RunSelection(s, {7}, 5);
    RunSelection(s, {}, 0);
    RunSelection(s, large, 600);
  }
}

TEST(DataShapes, OutputsAreThereAfterARun) {
  Loaded p(SelectionPackage());
  Sess s(p.package);
  ASSERT_EQ(s.SetShape("x", {2}), 0);
  slipway_tensor t{};
  EXPECT_EQ(slipway_session_output(s.s, "picked", &t, &s.error), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_NE(std::string(s.error.message).find("which the data decide; run the session"), std::string::npos) << s.error.message;
  EXPECT_EQ(slipway_session_output(s.s, "all", &t, &s.error), 0) << s.error.message;
  RunSelection(s, {1, 2}, 1);
  ASSERT_EQ(s.SetShape("x", {3}), 0);  // the old extents are of the old shapes
  EXPECT_EQ(slipway_session_output(s.s, "picked", &t, &s.error), SLIPWAY_INVALID_ARGUMENT);
}

TEST(DataShapes, ABoundThatIsExceededIsNamed) {
  Loaded p(SelectionPackage(2));
  Sess s(p.package);
  RunSelection(s, {1, 0, 2}, 1);
  ASSERT_EQ(s.SetShape("x", {3}), 0);
  std::fill_n(s.In("x"), 3, 1.f);
  EXPECT_EQ(s.Run(), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_NE(std::string(s.error.message).find("step 'nonzero' (NonZero on reference): output 'at', dimension 1: expected u from 0 to 2, the data give 3"),
            std::string::npos)
      << s.error.message;
  RunSelection(s, {1, 0, 2}, 1);  // the session goes on
}

TEST(DataShapes, BoundMemoryIsCheckedInTheRun) {
  Loaded p(SelectionPackage());
  Sess s(p.package);
  ASSERT_EQ(s.SetShape("x", {3}), 0);
  alignas(64) float memory[16];
  ASSERT_EQ(slipway_session_bind(s.s, "picked", memory, 8, &s.error), 0) << s.error.message;
  float* x = s.In("x");
  x[0] = 5, x[1] = 6, x[2] = -1;
  *reinterpret_cast<int64_t*>(s.In("count")) = 1;
  ASSERT_EQ(s.Run(), 0) << s.error.message;
  EXPECT_EQ(memory[1], 6);
  x[2] = 1;
  EXPECT_EQ(s.Run(), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_NE(std::string(s.error.message).find("12 bytes are needed"), std::string::npos) << s.error.message;
}

TEST(DataShapes, WrongProgramsAreRefused) {
  const auto refused = [](const std::function<void(PackageMaker&)>& damage, const std::string& why) {
    PackageMaker m = SelectionPackage();
    damage(m);
    auto file = format::SerializePackage(m.data);
    std::string message = file.ok() ? "" : file.status().message();
    if (file.ok()) {
      Loaded p(m);
      EXPECT_EQ(p.package, nullptr) << why;
      message = p.error.message;
    }
    EXPECT_NE(message.find(why), std::string::npos) << message;
  };
  refused([](PackageMaker& m) { m.data.steps[1].data_dims = false; }, "its extent is not known at this step");
  refused([](PackageMaker& m) { std::swap(m.data.steps[0], m.data.steps[1]); }, "read before any step writes it");
  refused([](PackageMaker& m) { m.data.tensors[3].shape[1] = PackageMaker::Sym("u") + Dim(1); }, "is not one new symbol");
  refused([](PackageMaker& m) { m.data.tensors[3].shape[1] = Dim(2); }, "its extent is not known at this step");
  refused(
      [](PackageMaker& m) {
        m.data.symbols["q"] = {0, 9};
        m.Arena("unused", DType::kFloat32, {PackageMaker::Sym("q")});
      },
      "no input and no step says");
}

// A backend that gives no extents is refused when the package is loaded; here one that has no such operator, in the run.
TEST(DataShapes, AStepWithoutAShapeFunctionIsNamed) {
  PackageMaker m;
  m.data.symbols["u"] = {0, 9};
  int x = m.Input("x", DType::kFloat32, {3});
  int y = m.Output("y", DType::kFloat32, {PackageMaker::Sym("u")});
  m.Step("relu", "", "Relu", {x}, {y}).data_dims = true;
  Loaded p(m);
  ASSERT_NE(p.package, nullptr) << p.error.message;
  Sess s(p.package);
  EXPECT_EQ(s.Run(), SLIPWAY_UNSUPPORTED);
  EXPECT_NE(std::string(s.error.message).find("step 'relu'"), std::string::npos) << s.error.message;
}

// The extent that a package claims is compared with the data's.
TEST(DataShapes, AClaimThatTheDataContradictIsAnError) {
  PackageMaker m;
  int x = m.Input("x", DType::kFloat32, {3});
  int y = m.Output("y", DType::kInt64, {1, 2});
  m.Step("nonzero", "", "NonZero", {x}, {y}).data_dims = true;
  Loaded p(m);
  ASSERT_NE(p.package, nullptr) << p.error.message;
  Sess s(p.package);
  float* in = s.In("x");
  in[0] = 0, in[1] = 1, in[2] = 1;
  EXPECT_EQ(s.Run(), 0) << s.error.message;
  in[0] = 1;
  EXPECT_EQ(s.Run(), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_NE(std::string(s.error.message).find("expected 2, the data give 3"), std::string::npos) << s.error.message;
}

}  // namespace
}  // namespace slipway
