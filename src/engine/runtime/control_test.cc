// If, Loop and Scan of a package: values, extents that data decide, memory, profile, and everything
// that can be wrong in a run.

#include <algorithm>

#include "engine/runtime/registry.h"
#include "engine/runtime/session.h"
#include "engine/runtime/session_test_util.h"

namespace slipway {
namespace {

using format::ControlKind;
using format::ControlPackage;

template <typename T>
std::vector<T> Read(Sess& s, const char* name, std::vector<int64_t> dims) {
  slipway_tensor t{};
  EXPECT_EQ(slipway_session_output(s.s, name, &t, &s.error), 0) << s.error.message;
  EXPECT_EQ(std::vector<int64_t>(t.dims, t.dims + t.rank), dims) << name;
  const T* data = static_cast<const T*>(t.data);
  return {data, data + t.bytes / sizeof(T)};
}

void SetInputs(Sess& s, int64_t n, int64_t trips, bool flag) {
  ASSERT_EQ(s.SetShape("x", {n, 4}), 0) << s.error.message;
  for (int64_t i = 0; i < n * 4; ++i) s.In("x")[i] = static_cast<float>(i % 7) - 3;
  *reinterpret_cast<int64_t*>(s.In("trips")) = trips;
  *reinterpret_cast<uint8_t*>(s.In("flag")) = flag;
}

void RunAndCheck(Sess& s, int64_t n, int64_t trips, bool flag) {
  SCOPED_TRACE("n " + std::to_string(n) + ", trips " + std::to_string(trips));
  SetInputs(s, n, trips, flag);
  ASSERT_EQ(s.Run(), 0) << s.error.message;
  std::vector<float> x(static_cast<size_t>(n * 4)), sum, sums, total, parts(x.size()), y;
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) - 3;
  sum = x;
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<float>(i % 4 + 1);
    sums.insert(sums.end(), sum.begin(), sum.end());
  }
  for (size_t row = 0; row < static_cast<size_t>(n); ++row) {
    float t = sum[4 * row] + sum[4 * row + 1] + sum[4 * row + 2] + sum[4 * row + 3];
    for (size_t c = 4; c-- > 0;) parts[4 * row + c] = t += x[4 * row + c];
    total.push_back(t);
  }
  for (float v : x) {
    for (int64_t i = 0; flag && i < trips; ++i) v += v;
    y.push_back(flag ? std::max(v, 0.f) : -v);
  }
  std::vector<int64_t> grown{9}, count;
  for (int64_t i = 0; i < trips; ++i) grown.push_back(i), count.push_back(i);
  EXPECT_EQ(Read<float>(s, "sum", {n, 4}), sum);
  EXPECT_EQ(Read<float>(s, "sums", {3, n, 4}), sums);
  EXPECT_EQ(Read<float>(s, "total", {n}), total);
  EXPECT_EQ(Read<float>(s, "parts", {n, 4}), parts);
  EXPECT_EQ(Read<float>(s, "y", {n, 4}), y);
  EXPECT_EQ(Read<int64_t>(s, "grown", {static_cast<int64_t>(grown.size())}), grown);
  EXPECT_EQ(Read<int64_t>(s, "count", {static_cast<int64_t>(count.size())}), count);
}

TEST(Control, RunsBodies) {
  Loaded p(ControlPackage());
  ASSERT_NE(p.package, nullptr) << p.error.message;
  for (int threads : {1, 2}) {
    Sess s(p.package, threads);
    RunAndCheck(s, 2, 3, true);
    RunAndCheck(s, 2, 3, false);
    RunAndCheck(s, 2, 0, true);  // no iteration
    RunAndCheck(s, 5, 40, true);
    RunAndCheck(s, 16, 1, false);  // whole cache lines: slices in place
    RunAndCheck(s, 0, 2, true);    // nothing in the tensors
    RunAndCheck(s, 1, -4, true);   // as none
    RunAndCheck(s, 3, 200, false);
  }
}

TEST(Control, OutputsMayBeBound) {
  Loaded p(ControlPackage());
  Sess s(p.package);
  RunAndCheck(s, 2, 3, true);
  alignas(64) float y[8], sums[24];
  alignas(64) int64_t grown[8];
  ASSERT_EQ(slipway_session_bind(s.s, "y", y, sizeof(y), &s.error), 0);
  ASSERT_EQ(slipway_session_bind(s.s, "sums", sums, sizeof(sums), &s.error), 0);
  ASSERT_EQ(slipway_session_bind(s.s, "grown", grown, sizeof(grown), &s.error), 0);
  *reinterpret_cast<int64_t*>(s.In("trips")) = 4;
  ASSERT_EQ(s.Run(), 0) << s.error.message;
  EXPECT_EQ(grown[4], 3);
  EXPECT_EQ(y[4], 16);  // x[4] is 1
  EXPECT_EQ(sums[16], -3 + 3);
  *reinterpret_cast<int64_t*>(s.In("trips")) = 8;
  EXPECT_EQ(s.Run(), SLIPWAY_INVALID_ARGUMENT);
  EXPECT_NE(std::string(s.error.message).find("72 bytes are needed"), std::string::npos)
      << s.error.message;
}

TEST(Control, StepsOfBodiesAreProfiled) {
  Loaded p(ControlPackage());
  Sess s(p.package, 1, true);
  RunAndCheck(s, 2, 4, true);
  struct Row {
    std::string name, op, backend;
    uint64_t runs;
    bool operator==(const Row&) const = default;
  };
  std::vector<Row> rows;
  for (uint32_t i = 0; i < slipway_session_num_steps(s.s); ++i) {
    slipway_step_profile r;
    ASSERT_EQ(slipway_session_profile(s.s, i, &r), 0);
    rows.push_back({r.name, r.op, r.backend, r.runs});
    EXPECT_TRUE(r.runs > 0 || r.total_ms == 0) << r.name;
    EXPECT_GE(r.total_ms, 0) << r.name;
  }
  const std::vector<Row> want = {{"loop", "Loop", "session", 1},
                                 {"loop/body/go", "engine.Copy", "reference", 3},
                                 {"loop/body/add", "Add", "reference", 3},
                                 {"loop/body/seen", "engine.Copy", "reference", 3},
                                 {"grow", "Loop", "session", 1},
                                 {"grow/body/go", "engine.Copy", "reference", 4},
                                 {"grow/body/one", "Unsqueeze", "reference", 4},
                                 {"grow/body/concat", "Concat", "reference", 4},
                                 {"grow/body/again", "engine.Copy", "reference", 4},
                                 {"zeros", "ReduceSum", "reference", 1},
                                 {"scan", "Scan", "session", 1},
                                 {"scan/body/add", "Add", "reference", 4},
                                 {"scan/body/shown", "engine.Copy", "reference", 4},
                                 {"if", "If", "session", 1},
                                 {"if/then_branch/twice", "Loop", "session", 1},
                                 {"if/then_branch/twice/body/go", "engine.Copy", "reference", 4},
                                 {"if/then_branch/twice/body/add", "Add", "reference", 4},
                                 {"if/then_branch/relu", "Relu", "reference", 1},
                                 {"if/else_branch/neg", "Neg", "reference", 0}};
  ASSERT_EQ(rows.size(), want.size());
  for (size_t i = 0; i < rows.size(); ++i)
    EXPECT_TRUE(rows[i] == want[i]) << rows[i].name << " " << rows[i].runs;
  slipway_session_reset_profile(s.s);
  slipway_step_profile r;
  ASSERT_EQ(slipway_session_profile(s.s, 2, &r), 0);
  EXPECT_EQ(r.runs, 0u);
  EXPECT_EQ(slipway_session_profile(s.s, static_cast<uint32_t>(want.size()), &r),
            SLIPWAY_INVALID_ARGUMENT);
}

TEST(Control, MemoryOfBodiesCounts) {
  Loaded p(ControlPackage());
  Sess s(p.package);
  SetInputs(s, 100, 3, true);
  ASSERT_EQ(s.Run(), 0);
  // Outputs, and what loops carry from one iteration to the next.
  EXPECT_GT(slipway_session_memory(s.s), 100u * 4 * 4 * 6 + 2 * 1600);
}

// A loop over `body`, which has inputs i, go, v; outputs go and v.
std::string RunError(const PackageMaker& m, int code, int64_t most = 0) {
  Loaded p(m);
  EXPECT_NE(p.package, nullptr) << p.error.message;
  if (!p.package) return p.error.message;
  slipway_session_options options;
  slipway_session_options_init(&options);
  options.max_iterations = most;
  slipway_session* session = nullptr;
  slipway_error error{};
  EXPECT_EQ(slipway_session_create(p.package, &options, &session, &error), 0) << error.message;
  EXPECT_EQ(slipway_session_run(session, &error), code) << error.message;
  slipway_session_free(session);
  return error.message;
}

PackageMaker Endless() {
  PackageMaker m, body;
  body.Input("i", DType::kInt64, {});
  int go = body.Input("go", DType::kBool, {}), v = body.Input("v", DType::kFloat32, {4});
  int on = body.Output("on", DType::kBool, {}), next = body.Output("next", DType::kFloat32, {4});
  body.Step("go", "engine", "Copy", {go}, {on});
  body.Step("relu", "", "Relu", {v}, {next});
  int x = m.Input("x", DType::kFloat32, {4}), y = m.Output("y", DType::kFloat32, {4});
  int program = m.Body("body", body);
  m.Control("loop", {.kind = ControlKind::kLoop, .bodies = {program}, .carried = 1}, {-1, -1, x},
            {y});
  return m;
}

TEST(Control, AnEndlessLoopIsAnError) {
  EXPECT_NE(RunError(Endless(), SLIPWAY_RESOURCE_EXHAUSTED, 1000)
                .find("Loop 'loop': loops ran more than 1000 iterations"),
            std::string::npos);
  Loaded p(Endless());
  slipway_session_options options;
  slipway_session_options_init(&options);
  options.max_iterations = -1;
  slipway_session* session = nullptr;
  EXPECT_EQ(slipway_session_create(p.package, &options, &session, &p.error),
            SLIPWAY_INVALID_ARGUMENT);
}

// The package claims extents that the body does not give.
TEST(Control, WrongExtentsAreNamed) {
  const auto error = [](void (*damage)(PackageMaker&)) {
    PackageMaker m = ControlPackage();
    damage(m);
    Loaded p(m);
    EXPECT_NE(p.package, nullptr) << p.error.message;
    if (!p.package) return std::string();
    Sess s(p.package);
    SetInputs(s, 2, 3, true);
    EXPECT_NE(s.Run(), 0);
    return std::string(s.error.message);
  };
  const auto tensor = [](PackageMaker& m, const char* name) -> format::PackageTensor& {
    return *std::find_if(m.data.tensors.begin(), m.data.tensors.end(),
                         [&](const auto& t) { return t.name == name; });
  };
  static const auto find = tensor;
  const std::pair<const char*, void (*)(PackageMaker&)> cases[] = {
      {"Loop 'loop': output 1 has 3 slices, the package expects 4",
       [](PackageMaker& m) { find(m, "sums").shape[0] = Dim(4); }},
      {"Loop 'loop': output 1 has more slices than the 2",
       [](PackageMaker& m) { find(m, "sums").shape[0] = Dim(2); }},
      {"Loop 'loop': slices of output 1 are [2, 4], the package expects [2, 5]",
       [](PackageMaker& m) { find(m, "sums").shape[2] = Dim(5); }},
      {"Loop 'loop': slices of output 1 are [2, 4], the package expects [2, 3]",
       [](PackageMaker& m) { find(m, "sums").shape[2] = Dim(3); }},
      {"Loop 'grow': output 'grown', dimension 0: expected 3, the data give 4",
       [](PackageMaker& m) { find(m, "grown").shape[0] = Dim(3); }},
      {"Scan 'scan': output 1 has 4 slices, the package expects 6",
       [](PackageMaker& m) { find(m, "parts").shape[1] = Dim(6); }},
      {"Scan 'scan': carried value 0 is [2], the package expects [3]",
       [](PackageMaker& m) { find(m, "total").shape[0] = Dim(3); }},
      {"If 'if': output 0 is [2, 4], the package expects [2, 3]",
       [](PackageMaker& m) { find(m, "y").shape[1] = Dim(3); }},
      {"If 'if': input 'x', dimension 1: expected 5, given 4",
       [](PackageMaker& m) { m.data.programs[3].tensors[0].shape[1] = Dim(5); }},
      {"Loop 'grow': input 'list', dimension 0: expected k from 0 to 2, given 3",
       [](PackageMaker& m) {
         m.data.programs[1].symbols["k"] = {0, 2};
       }},
      {"If 'if': Loop 'twice': step 'add' (Add on reference)",
       [](PackageMaker& m) { m.data.programs[3].programs[0].tensors[4].shape[1] = Dim(5); }},
  };
  for (const auto& [want, damage] : cases) {
    const std::string got = error(damage);
    EXPECT_NE(got.find(want), std::string::npos) << "expected: " << want << "\n     got: " << got;
  }
}

// The first iteration may not tell a stack the extents of the others.
TEST(Control, StackedSlicesMustBeAlike) {
  PackageMaker m, body;
  body.data.symbols["k"] = {0, 9};
  const Dim k = PackageMaker::Sym("k");
  body.Input("i", DType::kInt64, {});
  int go = body.Input("go", DType::kBool, {}), v = body.Input("v", DType::kFloat32, {k});
  int on = body.Output("on", DType::kBool, {}),
      next = body.Output("next", DType::kFloat32, {2 * k}),
      all = body.Output("all", DType::kFloat32, {k});
  body.Step("go", "engine", "Copy", {go}, {on});
  body.Step("concat", "", "Concat", {v, v}, {next}, {{"axis", int64_t{0}}});
  body.Step("all", "engine", "Copy", {v}, {all});
  m.data.symbols = {{"a", {0, 99}}, {"b", {0, 99}}, {"c", {0, 99}}};
  int x = m.Input("x", DType::kFloat32, {3});
  int y = m.Output("y", DType::kFloat32, {PackageMaker::Sym("a")}),
      z = m.Output("z", DType::kFloat32, {PackageMaker::Sym("b"), PackageMaker::Sym("c")});
  int two = m.Constant<int64_t>("two", {}, {2});
  int program = m.Body("body", body);
  m.Control("loop", {.kind = ControlKind::kLoop, .bodies = {program}, .carried = 1}, {two, -1, x},
            {y, z})
      .data_dims = true;
  EXPECT_NE(RunError(m, SLIPWAY_INVALID_ARGUMENT)
                .find("Loop 'loop': stacked output 1 is [6] in iteration 1 but was [3]"),
            std::string::npos);
}

TEST(Control, ScannedInputsMustBeAlike) {
  PackageMaker m, body;
  int a = body.Input("a", DType::kFloat32, {}), b = body.Input("b", DType::kFloat32, {}),
      y = body.Output("y", DType::kFloat32, {});
  body.Step("add", "", "Add", {a, b}, {y});
  int x = m.Input("x", DType::kFloat32, {3}), z = m.Input("z", DType::kFloat32, {4}),
      out = m.Output("out", DType::kFloat32, {3});
  int program = m.Body("body", body);
  m.Control("scan",
            {.kind = ControlKind::kScan,
             .bodies = {program},
             .scanned = 2,
             .input_axes = {0, 0},
             .output_axes = {0},
             .input_backward = {0, 0},
             .output_backward = {0}},
            {x, z}, {out});
  EXPECT_NE(RunError(m, SLIPWAY_INVALID_ARGUMENT)
                .find("Scan 'scan': its scanned inputs have 3 and 4 slices"),
            std::string::npos);
}

}  // namespace
}  // namespace slipway
