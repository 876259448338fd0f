// The C interface over packages made by hand.

#include <cstdlib>
#include <numeric>
#include <thread>

#include "base/mapped_file.h"
#include "engine/runtime/session_test_util.h"

namespace slipway {
namespace {

TEST(Runtime, RunsAPackageMadeByHand) {
  PackageMaker m = SmallPackage({3, 4});
  m.Plan();
  Loaded p(m);
  ASSERT_NE(p.package, nullptr) << p.error.message;
  EXPECT_EQ(slipway_package_num_inputs(p.package), 1u);
  slipway_tensor_info info;
  ASSERT_EQ(slipway_package_input(p.package, 0, &info), 0);
  EXPECT_STREQ(info.name, "x");
  EXPECT_EQ(info.rank, 2);
  EXPECT_EQ(info.dims[1], 4);
  EXPECT_STREQ(slipway_package_provenance(p.package, "platform"), "reference");
  EXPECT_EQ(slipway_package_provenance(p.package, "none"), nullptr);
  Sess s(p.package, 2, true);
  ASSERT_NE(s.s, nullptr) << s.error.message;
  float* x = s.In("x");
  for (int i = 0; i < 12; ++i) x[i] = static_cast<float>(i - 6);
  ASSERT_EQ(s.Run(), 0) << s.error.message;
  const float* y = s.Out("y");
  for (int i = 0; i < 12; ++i) EXPECT_EQ(y[i], std::max(0.f, static_cast<float>(i - 6)) + static_cast<float>(i % 4 + 1));
  EXPECT_EQ(slipway_session_num_steps(s.s), 3u);
  slipway_step_profile profile;
  ASSERT_EQ(slipway_session_profile(s.s, 2, &profile), 0);
  EXPECT_STREQ(profile.name, "add");
  EXPECT_STREQ(profile.op, "Add");
  EXPECT_STREQ(profile.backend, "reference");
  EXPECT_EQ(profile.runs, 1u);
  EXPECT_EQ(profile.macs, 12);
  slipway_step_cost cost{.struct_size = sizeof cost};
  ASSERT_EQ(slipway_session_step_cost(s.s, 2, &cost), 0);
  EXPECT_EQ(cost.macs, 12);
  EXPECT_EQ(cost.dtype, static_cast<uint32_t>(DType::kFloat32));
  EXPECT_GT(cost.bytes_read, 0u);
  EXPECT_GT(cost.bytes_written, 0u);
  EXPECT_EQ(cost.bytes_read % sizeof(float), 0u);
  slipway_step_cost early{.struct_size = 8, .dtype = 99, .macs = 99};  // of an older header
  ASSERT_EQ(slipway_session_step_cost(s.s, 2, &early), 0);
  EXPECT_EQ(early.dtype, cost.dtype);
  EXPECT_EQ(early.macs, 99);
  cost.struct_size = 0;
  EXPECT_EQ(slipway_session_step_cost(s.s, 2, &cost), SLIPWAY_INVALID_ARGUMENT);
  cost.struct_size = sizeof cost;
  EXPECT_EQ(slipway_session_step_cost(s.s, 1000, &cost), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_EQ(slipway_session_memory(s.s), 64u + 48 + 48);
}


std::vector<float> Iota(size_t n) {
  std::vector<float> v(n);
  std::iota(v.begin(), v.end(), -3.f);
  return v;
}

// Runs x through SmallPackage and checks every element.
void RunAndCheck(Sess& s, size_t n) {
  std::vector<float> x = Iota(n);
  std::copy(x.begin(), x.end(), s.In("x"));
  ASSERT_EQ(s.Run(), 0) << s.error.message;
  const float* y = s.Out("y");
  for (size_t i = 0; i < n; ++i) ASSERT_EQ(y[i], std::max(0.f, x[i]) + static_cast<float>(i % 4 + 1)) << i;
}

TEST(Runtime, DynamicShapesReplan) {
  PackageMaker m = SmallPackage({PackageMaker::Sym("N"), 4});
  m.data.symbols["N"] = {1, 100};
  Loaded p(m);
  ASSERT_NE(p.package, nullptr) << p.error.message;
  slipway_tensor_info info;
  ASSERT_EQ(slipway_package_input(p.package, 0, &info), 0);
  EXPECT_EQ(info.dims[0], -1);
  EXPECT_STREQ(info.dim_names[0], "N");
  EXPECT_EQ(info.dim_names[1], nullptr);
  EXPECT_EQ(slipway_package_input(p.package, 1, &info), SLIPWAY_INVALID_ARGUMENT);
  Sess s(p.package);
  ASSERT_NE(s.s, nullptr) << s.error.message;
  slipway_tensor t;
  EXPECT_EQ(slipway_session_input(s.s, "x", &t, &s.error), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_STREQ(s.error.message, "input 'x' has the dynamic shape [N, 4]; set its shape first");
  EXPECT_EQ(s.Run(), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_EQ(slipway_session_memory(s.s), 0u);
  for (int64_t n : {3, 100, 1, 50}) {
    ASSERT_EQ(s.SetShape("x", {n, 4}), 0) << s.error.message;
    RunAndCheck(s, static_cast<size_t>(n * 4));
    ASSERT_EQ(slipway_session_output(s.s, "y", &t, &s.error), 0);
    EXPECT_EQ(t.dims[0], n);
    EXPECT_EQ(t.bytes, static_cast<uint64_t>(n * 16));
    EXPECT_EQ(slipway_session_memory(s.s), static_cast<uint64_t>((n * 16 + 63) / 64 * 64 + 2 * n * 16));
  }
  struct {
    std::vector<int64_t> dims;
    const char* expected;
  } bad[] = {
      {{3, 5}, "input 'x', dimension 1: expected 4, given 5"},
      {{0, 4}, "input 'x', dimension 0: expected N from 1 to 100, given 0"},
      {{101, 4}, "input 'x', dimension 0: expected N from 1 to 100, given 101"},
      {{-1, 4}, "input 'x', dimension 0: expected N >= 0, given -1"},
      {{3}, "input 'x': expected rank 2 [N, 4], given rank 1"},
  };
  for (const auto& c : bad) {
    EXPECT_EQ(s.SetShape("x", c.dims), SLIPWAY_INVALID_ARGUMENT);
    EXPECT_STREQ(s.error.message, c.expected);
  }
  RunAndCheck(s, 200);  // the last good shape holds
  EXPECT_EQ(s.SetShape("nope", {1}), SLIPWAY_NOT_FOUND);
  EXPECT_STREQ(s.error.message, "no input 'nope'; the inputs are: x");
}

TEST(Runtime, InputsThatShareASymbolMustAgree) {
  PackageMaker m;
  Dim n = PackageMaker::Sym("N"), k = PackageMaker::Sym("K");
  int a = m.Input("a", DType::kFloat32, {n, k});
  int b = m.Input("b", DType::kFloat32, {n, 1});
  int c = m.Input("c", DType::kFloat32, {n + n, 1});
  int y = m.Output("y", DType::kFloat32, {n, k});
  int z = m.Output("z", DType::kFloat32, {2 * n, 1});
  m.Step("add", "", "Add", {a, b}, {y});
  m.Step("neg", "", "Neg", {c}, {z});
  Loaded p(m);
  ASSERT_NE(p.package, nullptr) << p.error.message;
  Sess s(p.package);
  ASSERT_EQ(s.SetShape("a", {3, 2}), 0);
  ASSERT_EQ(s.SetShape("b", {4, 1}), 0);
  EXPECT_EQ(s.Run(), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_STREQ(s.error.message, "input 'c' has the dynamic shape [2*N, 1]; set its shape first");
  ASSERT_EQ(s.SetShape("c", {6, 1}), 0);
  EXPECT_EQ(s.Run(), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_STREQ(s.error.message, "input 'b', dimension 0: expected N = 3 as in input 'a', given 4");
  ASSERT_EQ(s.SetShape("b", {3, 1}), 0);
  ASSERT_EQ(s.SetShape("c", {7, 1}), 0);
  EXPECT_EQ(s.Run(), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_STREQ(s.error.message, "input 'c', dimension 0: expected 2*N = 6, given 7");
  ASSERT_EQ(s.SetShape("c", {6, 1}), 0);
  EXPECT_EQ(s.Run(), 0) << s.error.message;
}

TEST(Runtime, ShapesThatOverflowOrGoNegativeAreErrors) {
  PackageMaker m;
  Dim n = PackageMaker::Sym("N");
  int x = m.Input("x", DType::kFloat32, {n});
  int t = m.Arena("t", DType::kFloat32, {n * n, n * n});
  int u = m.Arena("u", DType::kFloat32, {n - 3});
  int y = m.Output("y", DType::kFloat32, {n});
  m.Step("a", "", "Neg", {x}, {t});
  m.Step("b", "", "Neg", {x}, {u});
  m.Step("c", "", "Neg", {x}, {y});
  m.data.symbols["N"] = {0, int64_t{1} << 40};
  Loaded p(m);
  ASSERT_NE(p.package, nullptr) << p.error.message;
  Sess s(p.package);
  ASSERT_EQ(s.SetShape("x", {1 << 20}), 0);
  EXPECT_EQ(s.Run(), SLIPWAY_RESOURCE_EXHAUSTED);
  EXPECT_NE(std::string(s.error.message).find("tensor 't'"), std::string::npos) << s.error.message;
  ASSERT_EQ(s.SetShape("x", {2}), 0);
  EXPECT_EQ(s.Run(), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_NE(std::string(s.error.message).find("negative"), std::string::npos) << s.error.message;
  EXPECT_EQ(s.SetShape("x", {int64_t{1} << 60}), SLIPWAY_INVALID_ARGUMENT);
}

TEST(Runtime, UndeterminedSymbolsAreErrors) {
  PackageMaker m;
  int x = m.Input("x", DType::kFloat32, {4});
  int y = m.Output("y", DType::kFloat32, {PackageMaker::Sym("M")});
  m.Step("a", "", "Neg", {x}, {y});
  Loaded p(m);
  ASSERT_NE(p.package, nullptr) << p.error.message;
  Sess s(p.package);
  EXPECT_EQ(s.s, nullptr);
  EXPECT_NE(std::string(s.error.message).find("tensor 'y' [M]"), std::string::npos) << s.error.message;
}

TEST(Runtime, BoundMemoryIsUsedUntilTheNextShape) {
  Loaded p(SmallPackage({PackageMaker::Sym("N"), 4}));
  Sess s(p.package);
  ASSERT_EQ(s.SetShape("x", {2, 4}), 0);
  AlignedBuffer x(32), y(32), small(16);
  std::vector<float> values = Iota(8);
  std::memcpy(x.data(), values.data(), 32);
  EXPECT_EQ(slipway_session_bind(s.s, "x", small.data(), 16, &s.error), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_STREQ(s.error.message, "memory for 'x': 32 bytes are needed for [2, 4], given 16");
  EXPECT_EQ(slipway_session_bind(s.s, "x", x.data() + 4, 32, &s.error), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_EQ(slipway_session_bind(s.s, "q", x.data(), 32, &s.error), SLIPWAY_NOT_FOUND);
  ASSERT_EQ(slipway_session_bind(s.s, "x", x.data(), 32, &s.error), 0) << s.error.message;
  ASSERT_EQ(slipway_session_bind(s.s, "y", y.data(), 32, &s.error), 0) << s.error.message;
  ASSERT_EQ(s.Run(), 0);
  EXPECT_EQ(s.Out("y"), reinterpret_cast<float*>(y.data()));
  EXPECT_EQ(reinterpret_cast<float*>(y.data())[7], 4.f + 4.f);
  ASSERT_EQ(slipway_session_bind(s.s, "y", nullptr, 0, &s.error), 0);
  ASSERT_EQ(s.Run(), 0);
  EXPECT_NE(s.Out("y"), reinterpret_cast<float*>(y.data()));
  EXPECT_EQ(s.Out("y")[7], 8.f);
  ASSERT_EQ(s.SetShape("x", {2, 4}), 0);
  EXPECT_NE(s.In("x"), reinterpret_cast<float*>(x.data()));
}

TEST(Runtime, AliasesOfOutputsAndViewsOfInputsAndConstants) {
  PackageMaker m;
  int x = m.Input("x", DType::kFloat32, {2, 3});
  int xv = m.Arena("xv", DType::kFloat32, {6}, x);
  int c = m.Constant<float>("c", {2, 3}, {10, 20, 30, 40, 50, 60});
  int cv = m.Arena("cv", DType::kFloat32, {6}, c);
  int t = m.Arena("t", DType::kFloat32, {6});
  int y = m.Output("y", DType::kFloat32, {2, 3}, t);  // a view
  m.Step("add", "", "Add", {xv, cv}, {t});
  m.Plan();
  Loaded p(m);
  ASSERT_NE(p.package, nullptr) << p.error.message;
  (void)y;
  Sess s(p.package);
  ASSERT_NE(s.s, nullptr) << s.error.message;
  for (int i = 0; i < 6; ++i) s.In("x")[i] = static_cast<float>(i);
  ASSERT_EQ(s.Run(), 0) << s.error.message;
  EXPECT_EQ(s.Out("y")[5], 65.f);
  EXPECT_EQ(slipway_session_memory(s.s), 48u);
}

TEST(Runtime, PackagesForOthersAreUnsupported) {
  PackageMaker m = SmallPackage({3, 4});
  m.data.arch = "vax";
  Loaded arch(m);
  EXPECT_EQ(arch.error.code, SLIPWAY_UNSUPPORTED);
  EXPECT_NE(std::string(arch.error.message).find("is for vax"), std::string::npos) << arch.error.message;
  m.data.arch = "any";
  m.data.required_features = uint64_t{1} << 24;  // RISC-V vectors
  Loaded features(m);
  EXPECT_EQ(features.error.code, SLIPWAY_UNSUPPORTED);
  EXPECT_NE(std::string(features.error.message).find("rvv"), std::string::npos) << features.error.message;
  m.data.required_features = 0;
  m.data.backends[0].name = "quantum";
  Loaded backend(m);
  EXPECT_EQ(backend.error.code, SLIPWAY_UNSUPPORTED);
  EXPECT_NE(std::string(backend.error.message).find("backend 'quantum', this runtime has: reference, null"), std::string::npos)
      << backend.error.message;
  m.data.backends[0] = {"reference", 7, ""};
  Loaded abi(m);
  EXPECT_EQ(abi.error.code, SLIPWAY_UNSUPPORTED);
}

TEST(Runtime, ErrorsCarryTheStep) {
  PackageMaker m = SmallPackage({3, 4});
  m.data.steps[1].blob = format::EncodeOp({"", "Frobnicate", {}});
  Loaded unknown(m);
  EXPECT_EQ(unknown.error.code, SLIPWAY_UNSUPPORTED);
  EXPECT_STREQ(unknown.error.message, "step 'relu' (Relu on reference): no operator Frobnicate in the reference backend");
  m.data.steps[1].blob = {1, 2, 3};
  Loaded broken(m);
  EXPECT_EQ(broken.error.code, SLIPWAY_DATA_LOSS);
  // At run time: an index that is out of range.
  PackageMaker g;
  int x = g.Input("x", DType::kFloat32, {4});
  int i = g.Input("i", DType::kInt64, {1});
  int y = g.Output("y", DType::kFloat32, {1});
  g.Step("gather", "", "Gather", {x, i}, {y});
  Loaded p(g);
  ASSERT_NE(p.package, nullptr) << p.error.message;
  Sess s(p.package);
  slipway_tensor t;
  ASSERT_EQ(slipway_session_input(s.s, "i", &t, &s.error), 0);
  *static_cast<int64_t*>(t.data) = 9;
  EXPECT_EQ(s.Run(), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_EQ(std::string(s.error.message).rfind("step 'gather' (Gather on reference): ", 0), 0u) << s.error.message;
  *static_cast<int64_t*>(t.data) = 2;
  EXPECT_EQ(s.Run(), 0);
}

TEST(Runtime, BadCallsAreErrors) {
  slipway_error error;
  slipway_package* package = nullptr;
  EXPECT_EQ(slipway_package_load("/no/such.slip", &package, &error), SLIPWAY_NOT_FOUND);
  EXPECT_NE(std::string(error.message).find("/no/such.slip"), std::string::npos);
  EXPECT_EQ(slipway_package_load(nullptr, &package, &error), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_EQ(slipway_package_load("/no/such.slip", &package, nullptr), SLIPWAY_NOT_FOUND);
  alignas(64) uint8_t bytes[128] = {};
  EXPECT_EQ(slipway_package_load_memory(bytes, 128, &package, &error), SLIPWAY_DATA_LOSS);
  EXPECT_EQ(slipway_package_load_memory(bytes + 8, 64, &package, &error), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_EQ(slipway_package_num_inputs(nullptr), 0u);
  slipway_package_free(nullptr);
  slipway_session_free(nullptr);
  EXPECT_EQ(slipway_session_run(nullptr, &error), SLIPWAY_INVALID_ARGUMENT);
  Loaded p(SmallPackage({3, 4}));
  slipway_session* session = nullptr;
  slipway_session_options options;
  slipway_session_options_init(&options);
  options.threads = -4;
  EXPECT_EQ(slipway_session_create(p.package, &options, &session, &error), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_NE(std::string(error.message).find("-4"), std::string::npos);
  options.struct_size = 0;
  EXPECT_EQ(slipway_session_create(p.package, &options, &session, &error), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_EQ(slipway_session_create(p.package, nullptr, &session, &error), 0);
  EXPECT_EQ(slipway_session_output(session, "x", nullptr, &error), SLIPWAY_INVALID_ARGUMENT);
  slipway_tensor t;
  EXPECT_EQ(slipway_session_output(session, "x", &t, &error), SLIPWAY_NOT_FOUND);
  EXPECT_STREQ(error.message, "no output 'x'; the outputs are: y");
  slipway_session_free(session);
  EXPECT_STRNE(slipway_version(), "");
}

TEST(Runtime, SessionsOutliveTheirPackage) {
  auto p = std::make_unique<Loaded>(SmallPackage({3, 4}));
  Sess s(p->package);
  slipway_package_free(p->package);
  p->package = nullptr;
  RunAndCheck(s, 12);
}

TEST(Runtime, ManySessionsOfOnePackageInThreads) {
  Loaded p(SmallPackage({PackageMaker::Sym("N"), 4}));
  ASSERT_NE(p.package, nullptr) << p.error.message;
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (int repeat = 0; repeat < 3; ++repeat) {
        Sess s(p.package, t % 3 + 1);
        for (int64_t n : {1, 300, 7, 4000}) {
          ASSERT_EQ(s.SetShape("x", {n + t, 4}), 0);
          RunAndCheck(s, static_cast<size_t>((n + t) * 4));
        }
      }
    });
  }
  for (auto& t : threads) t.join();
}

TEST(Runtime, ProfileCountsAndResets) {
  Loaded p(SmallPackage({3, 4}));
  Sess s(p.package, 1, true);
  for (int i = 0; i < 5; ++i) RunAndCheck(s, 12);
  slipway_step_profile profile;
  ASSERT_EQ(slipway_session_profile(s.s, 1, &profile), 0);
  EXPECT_EQ(profile.runs, 5u);
  EXPECT_GT(profile.total_ms, 0);
  EXPECT_LE(profile.min_ms, profile.total_ms);
  EXPECT_EQ(slipway_session_profile(s.s, 3, &profile), SLIPWAY_INVALID_ARGUMENT);
  slipway_session_reset_profile(s.s);
  ASSERT_EQ(slipway_session_profile(s.s, 1, &profile), 0);
  EXPECT_EQ(profile.runs, 0u);
}

TEST(Runtime, PluginsServePackages) {
  slipway_error error{};
  EXPECT_EQ(slipway_load_plugin("/no/such.so", &error), SLIPWAY_NOT_FOUND);
  EXPECT_EQ(slipway_load_plugin(SLIPWAY_TEST_PLUGIN_OLD, &error), SLIPWAY_UNSUPPORTED);
  EXPECT_NE(std::string(error.message).find("version 99"), std::string::npos) << error.message;
  EXPECT_EQ(slipway_load_plugin(SLIPWAY_TEST_PLUGIN_REFUSES, &error), SLIPWAY_UNSUPPORTED);
  ASSERT_EQ(slipway_load_plugin(SLIPWAY_TEST_PLUGIN, &error), 0) << error.message;
  EXPECT_EQ(slipway_load_plugin(SLIPWAY_TEST_PLUGIN, &error), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_NE(std::string(error.message).find("registered already"), std::string::npos) << error.message;
  PackageMaker m;
  int x = m.Input("x", DType::kFloat32, {5});
  int t = m.Arena("t", DType::kFloat32, {5});
  int y = m.Output("y", DType::kFloat32, {5});
  m.Step("double", "", "Whatever", {x}, {t}, {}, "doubler");
  m.Step("neg", "", "Neg", {t}, {y});
  m.Plan();  // with no workspace: the plugin asks for 100 bytes, so the session plans anew
  Loaded p(m);
  ASSERT_NE(p.package, nullptr) << p.error.message;
  Sess s(p.package);
  for (int i = 0; i < 5; ++i) s.In("x")[i] = static_cast<float>(i);
  ASSERT_EQ(s.Run(), 0) << s.error.message;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(s.Out("y")[i], static_cast<float>(-2 * i));
  EXPECT_EQ(slipway_session_memory(s.s), 192u + 40);
}

TEST(Runtime, GoldenPackageRuns) {
  const std::string path = std::string(SLIPWAY_SOURCE_DIR) + "/src/engine/format/testdata/v1.slip";
  slipway_error error{};
  slipway_package* package = nullptr;
  ASSERT_EQ(slipway_package_load(path.c_str(), &package, &error), 0) << error.message;
  {
    Sess s(package);
    ASSERT_EQ(s.SetShape("x", {2, 4}), 0);
    RunAndCheck(s, 8);
    EXPECT_EQ(s.Out("z")[7], -4.f);
  }
  slipway_package_free(package);
}

}  // namespace
}  // namespace slipway
