// Writing, reading and refusing packages. What a damaged package does when it runs is in engine/runtime/damage_test.cc.

#include <gtest/gtest.h>

#include <cstdio>
#include <random>

#include "base/mapped_file.h"
#include "engine/format/package_file.h"
#include "engine/format/package_generated.h"
#include "engine/format/package_test_util.h"

namespace slipway::format {
namespace {

PackageMaker Small() {
  PackageMaker m;
  Dim n = PackageMaker::Sym("N");
  int x = m.Input("x", DType::kFloat32, {n, 4});
  int c = m.Constant<float>("c", {4}, {1, 2, 3, 4});
  int a = m.Arena("a", DType::kFloat32, {n, 4});
  int r = m.Arena("r", DType::kFloat32, {n, 4}, a);
  int v = m.Arena("v", DType::kFloat32, {2 * n, 2}, a);
  int y = m.Output("y", DType::kFloat32, {n, 4});
  int z = m.Output("z", DType::kFloat32, {2 * n, 2});
  m.Step("copy", "engine", "Copy", {x}, {a});
  m.Step("relu", "", "Relu", {a}, {r});
  m.Step("add", "", "Add", {r, c}, {y}).macs = 7;
  m.Step("neg", "", "Neg", {v}, {z});
  m.data.symbols["N"] = {1, 64};
  return m;
}

// The error of a package that cannot be written because it is wrong; the writer reads what it wrote.
std::string WriteError(const PackageMaker& m) {
  auto bytes = SerializePackage(m.data);
  return bytes.ok() ? "" : bytes.status().message();
}

TEST(Package, RoundTrips) {
  PackageMaker m = Small();
  m.data.steps[3].macs_of = 3 * Dim::Symbol("N") * Dim::Symbol("N");
  auto bytes = SerializePackage(m.data);
  ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
  auto p = ParsePackage(*bytes, nullptr);
  ASSERT_TRUE(p.ok()) << p.status().ToString();
  EXPECT_EQ(p->name, "test");
  ASSERT_EQ(p->tensors.size(), m.data.tensors.size());
  for (size_t i = 0; i < p->tensors.size(); ++i) {
    EXPECT_EQ(p->tensors[i].name, m.data.tensors[i].name);
    EXPECT_EQ(p->tensors[i].shape, m.data.tensors[i].shape);
    EXPECT_EQ(p->tensors[i].kind, m.data.tensors[i].kind);
    EXPECT_EQ(p->tensors[i].alias, m.data.tensors[i].alias);
    EXPECT_TRUE(std::equal(p->tensors[i].data.begin(), p->tensors[i].data.end(), m.data.tensors[i].data.begin(), m.data.tensors[i].data.end()));
  }
  ASSERT_EQ(p->steps.size(), 4u);
  EXPECT_EQ(p->steps[2].op, "Add");
  EXPECT_EQ(p->steps[2].macs, 7);
  EXPECT_FALSE(p->steps[2].macs_of);
  EXPECT_EQ(p->steps[3].macs, 0);
  EXPECT_EQ(p->steps[3].macs_of, m.data.steps[3].macs_of);
  EXPECT_EQ(p->steps[2].inputs, m.data.steps[2].inputs);
  EXPECT_EQ(p->steps[2].blob, m.data.steps[2].blob);
  EXPECT_EQ(p->steps[2].sources, std::vector<std::string>{"add"});
  EXPECT_EQ(p->symbols.at("N"), std::pair(int64_t{1}, int64_t{64}));
  EXPECT_EQ(p->provenance, m.data.provenance);
  EXPECT_EQ(p->inputs, m.data.inputs);
  EXPECT_EQ(p->outputs, m.data.outputs);
}

TEST(Package, SameInputSameBytes) {
  EXPECT_EQ(*SerializePackage(Small().data), *SerializePackage(Small().data));
}

TEST(Package, EqualConstantsAreStoredOnceAndAligned) {
  auto make = [](float last) {
    PackageMaker m;
    int x = m.Input("x", DType::kFloat32, {1000});
    std::vector<float> values(1000, 1.5f);
    int a = m.Constant<float>("a", {1000}, values);
    int e = m.Constant<float>("empty", {0}, {});
    values.back() = last;
    int b = m.Constant<float>("b", {1000}, values);
    int t = m.Arena("t", DType::kFloat32, {1000});
    int y = m.Output("y", DType::kFloat32, {1000});
    m.Step("s", "", "Add", {x, a, e}, {t});
    m.Step("s2", "", "Add", {t, b}, {y});
    return *SerializePackage(m.data);
  };
  auto same = make(1.5f), different = make(2);
  EXPECT_GE(different.size() - same.size(), 4000u);
  auto p = ParsePackage(different, nullptr);
  ASSERT_TRUE(p.ok());
  for (const PackageTensor& t : p->tensors) {
    if (t.kind == TensorKind::kConstant && !t.data.empty()) {
      EXPECT_EQ((t.data.data() - different.data()) % 64, 0) << t.name;
    }
  }
}

TEST(Package, UndeclaredSymbolsGetARange) {
  PackageMaker m = Small();
  m.data.symbols.clear();
  auto bytes = SerializePackage(m.data);
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(ParsePackage(*bytes, nullptr)->symbols.at("N"), std::pair(int64_t{1}, int64_t{2147483647}));
}

TEST(Package, FilesAndHashes) {
  std::string path = testing::TempDir() + "slipway_package_test.slip";
  ASSERT_TRUE(WritePackage(Small().data, path).ok());
  auto p = ReadPackage(path);
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(p->owners.size(), 1u);
  std::vector<SegmentReport> report;
  EXPECT_TRUE(VerifyHashes(path, &report).ok());
  ASSERT_EQ(report.size(), 2u);
  std::string bytes = *ReadFile(path);
  std::string damaged = bytes;
  damaged[damaged.size() - 1] ^= 1;  // in the constants
  ASSERT_TRUE(WriteFile(path, damaged).ok());
  Status status = VerifyHashes(path, &report);
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("segments[0]"), std::string::npos) << status.message();
  EXPECT_FALSE(report[1].ok);
  EXPECT_TRUE(ReadPackage(path).ok());  // loading checks structure
  damaged = bytes;
  damaged[200] ^= 1;  // in the program
  ASSERT_TRUE(WriteFile(path, damaged).ok());
  EXPECT_EQ(VerifyHashes(path).code(), StatusCode::kDataLoss);
  auto broken = ReadPackage(path);
  EXPECT_EQ(broken.status().code(), StatusCode::kDataLoss);
  EXPECT_NE(broken.status().message().find(path), std::string::npos);
  EXPECT_NE(broken.status().message().find("compile the package again"), std::string::npos);
  std::remove(path.c_str());
  EXPECT_EQ(ReadPackage(path).status().code(), StatusCode::kNotFound);
}

TEST(Package, NewerFormatsAreUnsupported) {
  auto bytes = *SerializePackage(Small().data);
  bytes[8] = 99;
  auto p = ParsePackage(bytes, nullptr);
  EXPECT_EQ(p.status().code(), StatusCode::kUnsupported);
  EXPECT_NE(p.status().message().find("update the runtime"), std::string::npos);
}

TEST(Package, EveryTruncationFails) {
  auto bytes = *SerializePackage(Small().data);
  for (size_t n = 0; n < bytes.size(); ++n) {
    std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n));
    EXPECT_EQ(ParsePackage(cut, nullptr).status().code(), StatusCode::kDataLoss) << n;
  }
}

// A program made by hand can be wrong in ways that no bit flip finds.
TEST(Package, RefusesWrongPrograms) {
  struct Case {
    const char* expected;
    void (*damage)(PackageMaker&);
  } cases[] = {
      {"steps[1] 'relu'.inputs[0]: tensor 99 is out of range", [](PackageMaker& m) { m.data.steps[1].inputs[0] = 99; }},
      {"steps[1] 'relu'.inputs[0]: tensor -2 is out of range", [](PackageMaker& m) { m.data.steps[1].inputs[0] = -2; }},
      {"steps[1] 'relu'.outputs[0]: tensor 99", [](PackageMaker& m) { m.data.steps[1].outputs[0] = 99; }},
      {"read before any step writes it", [](PackageMaker& m) { std::swap(m.data.steps[0], m.data.steps[1]); }},
      {"'relu'.outputs[0] (tensors[0] 'x'): writes to a package input", [](PackageMaker& m) { m.data.steps[1].outputs[0] = 0; }},
      {"'relu'.outputs[0] (tensors[1] 'c'): writes to a package input or a constant", [](PackageMaker& m) { m.data.steps[1].outputs[0] = 1; }},
      {"has two producers", [](PackageMaker& m) { m.data.steps[1].outputs[0] = 2; }},
      {"outputs[0] (tensors[5] 'y'): read before", [](PackageMaker& m) { m.data.steps.erase(m.data.steps.begin() + 2); }},
      {"its memory holds tensors[3] 'r'", [](PackageMaker& m) { m.data.steps[2].inputs[0] = 2; }},
      {"tensors[3] 'r'.alias: must name an earlier tensor", [](PackageMaker& m) { m.data.tensors[3].alias = 3; }},
      {"tensors[3] 'r'.alias: index 77", [](PackageMaker& m) { m.data.tensors[3].alias = 77; }},
      {"tensors[3] 'r'.alias: negative index -5", [](PackageMaker& m) { m.data.tensors[3].alias = -5; }},
      {"chains are not allowed", [](PackageMaker& m) { m.data.tensors[4].alias = 3; }},
      {"a package input has its own memory", [](PackageMaker& m) {
         m.data.tensors[3].kind = TensorKind::kInput;
         m.data.inputs.push_back(3);
       }},
      {"two package outputs share memory", [](PackageMaker& m) { m.data.tensors[6].alias = 5; }},
      {"needs a Copy step", [](PackageMaker& m) { m.data.tensors[5].alias = 0; }},
      {"outputs[1] (tensors[5] 'y'): listed twice", [](PackageMaker& m) { m.data.outputs = {5, 5}; }},
      {"'z'.kind: not listed in outputs", [](PackageMaker& m) { m.data.outputs = {5}; }},
      {"inputs[0] (tensors[1] 'c'): the tensor has another kind", [](PackageMaker& m) { m.data.inputs[0] = 1; }},
      {".name: duplicate", [](PackageMaker& m) { m.data.tensors[6].name = "y"; }},
      {".name: empty", [](PackageMaker& m) { m.data.tensors[0].name = ""; }},
      {".layout: must be plain", [](PackageMaker& m) {
         m.data.tensors[0].shape = {1, 2, 2};
         m.data.tensors[0].layout = Layout::kChannelsLast;
       }},
      {".layout: needs at least three", [](PackageMaker& m) { m.data.tensors[2].layout = Layout::kBlocked8; }},
      {"tensors[2] 'a'.dtype: unknown element type 200", [](PackageMaker& m) { m.data.tensors[2].dtype = static_cast<DType>(200); }},
      {".dims[0]: -3", [](PackageMaker& m) { m.data.tensors[2].shape[0] = -3; }},
      {".dims: the size overflows", [](PackageMaker& m) { m.data.tensors[2].shape = {int64_t{1} << 40, int64_t{1} << 40}; }},
      {".dims: 4398046511104000 bytes", [](PackageMaker& m) { m.data.tensors[2].shape = {int64_t{1} << 40, 1000}; }},
      {"symbols[0] 'N': range 5 to 4", [](PackageMaker& m) { m.data.symbols["N"] = {5, 4}; }},
      {"symbols[0] 'N': range -1 to 4", [](PackageMaker& m) { m.data.symbols["N"] = {-1, 4}; }},
      {"not the name of a symbol", [](PackageMaker& m) { m.data.symbols["N+1"] = {1, 4}; }},
      {"steps[2] 'add'.macs: negative", [](PackageMaker& m) { m.data.steps[2].macs = -1; }},
      {"steps[2] 'add'.macs_of: an expression and the number 7", [](PackageMaker& m) { m.data.steps[2].macs_of = Dim::Symbol("N"); }},
      {"steps[3] 'neg'.macs_of: expression '-3'", [](PackageMaker& m) { m.data.steps[3].macs_of = Dim(-3); }},
      {"backends[0].name: empty", [](PackageMaker& m) { m.data.backends[0].name = ""; }},
      {"backend index 9 of 1", [](PackageMaker& m) { m.data.steps[0].backend = 9; }},
      {"arch: empty", [](PackageMaker& m) { m.data.arch = ""; }},
      {"steps[0] 'copy'.workspace", [](PackageMaker& m) { m.data.steps[0].workspace = ~uint64_t{0}; }},
      {"a static plan needs known dimensions", [](PackageMaker& m) { m.data.static_plan = true; }},
      {"has 16 bytes", [](PackageMaker& m) { m.data.tensors[1].shape = {5}; }},
      {"shares memory with another output", [](PackageMaker& m) {
         m.data.steps[0].outputs = {2, 4};
       }},
  };
  for (const Case& c : cases) {
    PackageMaker m = Small();
    c.damage(m);
    std::string error = WriteError(m);
    EXPECT_NE(error.find(c.expected), std::string::npos) << "expected: " << c.expected << "\n     got: " << error;
  }
}

TEST(Package, RefusesWrongStaticPlans) {
  auto make = [] {
    PackageMaker m;
    int x = m.Input("x", DType::kFloat32, {32});
    int a = m.Arena("a", DType::kFloat32, {32});
    int b = m.Arena("b", DType::kFloat32, {32});
    int y = m.Output("y", DType::kFloat32, {32});
    m.Step("s0", "", "Relu", {x}, {a});
    m.Step("s1", "", "Relu", {a}, {b}).workspace = 100;
    m.Step("s2", "", "Add", {a, b}, {y});
    m.Plan();
    return m;
  };
  PackageMaker good = make();
  EXPECT_EQ(WriteError(good), "");
  EXPECT_EQ(good.data.arena_size, 384u);
  PackageMaker m = make();
  m.data.tensors[2].offset = m.data.tensors[1].offset;
  EXPECT_NE(WriteError(m).find("tensors[2] 'b' overlaps tensors[1] 'a'"), std::string::npos) << WriteError(m);
  m = make();
  m.data.tensors[1].offset = 1 << 20;
  EXPECT_NE(WriteError(m).find("leave the arena"), std::string::npos) << WriteError(m);
  m = make();
  m.data.tensors[1].offset = ~uint64_t{63};
  EXPECT_NE(WriteError(m).find("leave the arena"), std::string::npos) << WriteError(m);
  m = make();
  m.data.tensors[1].offset = 8;
  EXPECT_NE(WriteError(m).find("not a multiple of 64"), std::string::npos) << WriteError(m);
  m = make();
  m.data.steps[1].workspace_offset = m.data.tensors[2].offset;
  EXPECT_NE(WriteError(m).find("overlaps"), std::string::npos) << WriteError(m);
}

TEST(Package, BodiesRoundTrip) {
  PackageMaker m = ControlPackage();
  auto bytes = SerializePackage(m.data);
  ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
  EXPECT_EQ((*bytes)[8], 3);
  auto p = ParsePackage(*bytes, nullptr);
  ASSERT_TRUE(p.ok()) << p.status().ToString();
  ASSERT_EQ(p->programs.size(), 5u);
  EXPECT_EQ(p->programs[3].name, "then_branch");
  EXPECT_EQ(p->programs[3].programs.size(), 1u);
  EXPECT_EQ(CountSteps(*p), 5u + 3 + 4 + 2 + 2 + 2 + 1);
  const PackageStep& scan = p->steps[3];
  ASSERT_TRUE(scan.control.has_value());
  EXPECT_EQ(scan.backend, -1);
  EXPECT_EQ(scan.control->kind, ControlKind::kScan);
  EXPECT_EQ(scan.control->bodies, std::vector<int>{2});
  EXPECT_EQ(scan.control->carried, 1u);
  EXPECT_EQ(scan.control->scanned, 1u);
  EXPECT_EQ(scan.control->input_axes, std::vector<int>{1});
  EXPECT_EQ(scan.control->output_backward, std::vector<uint8_t>{1});
  EXPECT_FALSE(p->steps[2].control.has_value());
  EXPECT_EQ(*bytes, *SerializePackage(*p));
}

TEST(Package, AConstantThatBodiesShareIsStoredOnce) {
  auto make = [](float last) {
    PackageMaker m, body[2];
    std::vector<float> values(1000, 1.5f);
    int flag = m.Input("flag", DType::kBool, {});
    for (PackageMaker& b : body) {
      int c = b.Constant<float>("c", {1000}, values), y = b.Output("y", DType::kFloat32, {1000});
      b.Step("relu", "", "Relu", {c}, {y});
      values.back() = last;
    }
    int yes = m.Body("then_branch", body[0]), no = m.Body("else_branch", body[1]);
    int y = m.Output("y", DType::kFloat32, {1000});
    m.Control("if", {.kind = ControlKind::kIf, .bodies = {yes, no}}, {flag}, {y});
    return *SerializePackage(m.data);
  };
  EXPECT_GE(make(2).size() - make(1.5f).size(), 4000u);
}

TEST(Package, RefusesWrongControl) {
  struct Case {
    const char* expected;
    void (*damage)(PackageData&);
  } cases[] = {
      {"steps[0] 'loop'.control.bodies[0]: program 9 is out of range", [](PackageData& p) { p.steps[0].control->bodies = {9}; }},
      {"steps[0] 'loop'.control.bodies: 0, needs 1", [](PackageData& p) { p.steps[0].control->bodies = {}; }},
      {"steps[4] 'if'.control.bodies: 1, needs 2", [](PackageData& p) { p.steps[4].control->bodies = {3}; }},
      {"steps[1] 'grow'", [](PackageData& p) { p.steps[1].control->bodies = {0}; }},
      {"programs[4] has a step already", [](PackageData& p) { p.steps[4].control->bodies = {4, 4}; }},
      {"programs[5]: is the body of no step", [](PackageData& p) { p.programs.push_back(p.programs[4]); }},
      {"steps[0] 'loop'.blob", [](PackageData& p) { p.steps[0].blob = {1}; }},
      {"steps[0] 'loop'.workspace", [](PackageData& p) { p.steps[0].workspace = 64; }},
      {"steps[0] 'loop'.outputs: 2, needs at least 3", [](PackageData& p) {
         p.steps[0].control->carried = 3;
         p.steps[0].inputs.push_back(0);
       }},
      {"steps[0] 'loop'.inputs: 4, needs at least 4294967297", [](PackageData& p) { p.steps[0].control->carried = 4294967295u; }},
      {"steps[0] 'loop'.control.scanned: Loop scans nothing", [](PackageData& p) { p.steps[0].control->scanned = 1; }},
      {"steps[3] 'scan'.control.scanned: Scan scans one", [](PackageData& p) { p.steps[3].control->scanned = 0; }},
      {"steps[4] 'if'.control: If carries", [](PackageData& p) { p.steps[4].control->carried = 1; }},
      {"steps[3] 'scan'.control.input_axes: 0, needs 1", [](PackageData& p) { p.steps[3].control->input_axes.clear(); }},
      {"steps[3] 'scan'.control.output_backward: 2, needs 1", [](PackageData& p) { p.steps[3].control->output_backward = {1, 0}; }},
      {"steps[0] 'loop'.control.output_axes: 1, needs 0", [](PackageData& p) { p.steps[0].control->output_axes = {0}; }},
      {"(programs[2]).inputs[1]: axis 2 of 2 dimensions", [](PackageData& p) { p.steps[3].control->input_axes = {2}; }},
      {"(programs[2]).outputs[1]: axis -1 of 2 dimensions", [](PackageData& p) { p.steps[3].control->output_axes = {-1}; }},
      {"steps[0] 'loop'.inputs[2]: absent", [](PackageData& p) { p.steps[0].inputs[2] = -1; }},
      {"steps[0] 'loop'.inputs[1]: must be one bool", [](PackageData& p) { p.steps[0].inputs[1] = 1; }},
      {"steps[4] 'if'.inputs[0]: must be one bool", [](PackageData& p) { p.steps[4].inputs[0] = 1; }},
      {"steps[0] 'loop' (programs[0]).inputs: 4, needs 3", [](PackageData& p) { p.steps[0].inputs.pop_back(); }},
      {"steps[0] 'loop' (programs[0]).outputs: 3, needs 4", [](PackageData& p) { p.steps[0].outputs.push_back(-1); }},
      {"(programs[0]).inputs[3]: is int64 here and float32", [](PackageData& p) { p.steps[0].inputs[3] = 1; }},
      {"(programs[0]).inputs[3]: has 2 dimensions here and 1", [](PackageData& p) { p.steps[0].inputs[3] = 0; }},
      {"(programs[0]).outputs[1]: has 3 dimensions here and 2", [](PackageData& p) { std::swap(p.steps[0].outputs[0], p.steps[0].outputs[1]); }},
      {"programs[0] 'body': steps[1] 'add'.inputs[0]: tensor 99", [](PackageData& p) { p.programs[0].steps[1].inputs[0] = 99; }},
      {"programs[3] 'then_branch': programs[0] 'body': tensors[2] 't'.dims[0]: -5",
       [](PackageData& p) { p.programs[3].programs[0].tensors[2].shape[0] = Dim(-5); }},
      {"steps[0] 'loop' (programs[0]).outputs[0]: must be one bool",
       [](PackageData& p) { p.programs[0].tensors[4].dtype = DType::kUInt8; }},
      {"(programs[0]).inputs[0]: must be a scalar of type int64", [](PackageData& p) { p.programs[0].tensors[0].shape = {2}; }},
  };
  for (const Case& c : cases) {
    PackageMaker m = ControlPackage();
    c.damage(m.data);
    std::string error = WriteError(m);
    EXPECT_NE(error.find(c.expected), std::string::npos) << "expected: " << c.expected << "\n     got: " << error;
  }
}

TEST(Package, BodiesMayNotBeNestedWithoutEnd) {
  for (int depth : {kMaxProgramDepth, kMaxProgramDepth + 1}) {
    auto leaf = [] {
      PackageMaker m;
      int x = m.Input("x", DType::kFloat32, {1}), y = m.Output("y", DType::kFloat32, {1});
      m.Input("flag", DType::kBool, {});
      m.Step("relu", "", "Relu", {x}, {y});
      return m;
    };
    PackageMaker m = leaf();
    for (int i = 0; i < depth; ++i) {
      PackageMaker outer;
      int x = outer.Input("x", DType::kFloat32, {1}), flag = outer.Input("flag", DType::kBool, {}), y = outer.Output("y", DType::kFloat32, {1});
      int a = outer.Body("then_branch", std::move(m)), b = outer.Body("else_branch", leaf());
      outer.Control("if", {.kind = ControlKind::kIf, .bodies = {a, b}}, {flag, x, flag}, {y});
      m = std::move(outer);
    }
    const std::string error = WriteError(m);
    if (depth <= kMaxProgramDepth) {
      EXPECT_EQ(error, "");
    } else {
      EXPECT_NE(error.find("nested more than 16 deep"), std::string::npos) << error;
    }
  }
}

TEST(Package, ControlNeedsVersion3) {
  auto bytes = *SerializePackage(ControlPackage().data);
  // Not the header's version alone: the program names its own.
  bytes[8] = 2;
  EXPECT_NE(ParsePackage(bytes, nullptr).status().message().find("format_version: differs"), std::string::npos);
}

TEST(Package, DamagedSequencesAreNamed) {
  struct Case {
    const char* expected;
    std::function<void(PackageData&)> damage;
  };
  // Steps: 0 insert, 1 at, 2 erase, 3 length, 4 split, 5 empty, 6 loop, 7 join, 8 has, 9 if, 10 wrap, 11 again.
  // Tensors: 0 s, 1 o, 2 l, 3 x, 4 at, 5 trips, 6 more, 7 rest, 8 picked, 9 count.
  const Case cases[] = {
      {"'empty'.alias: what holds tensors",
       [](PackageData& p) {
         p.steps[6].inputs[3] = p.steps[5].outputs[0];  // nobody reads `pieces` any more
         p.tensors[static_cast<size_t>(p.steps[5].outputs[0])].alias = p.steps[4].outputs[0];
       }},
      {"tensors[0] 's'.dims: what holds tensors has no extent", [](PackageData& p) { p.tensors[0].shape = {2}; }},
      {"steps[0] 'insert'.inputs: 1 are not what SequenceInsert takes", [](PackageData& p) { p.steps[0].inputs.resize(1); }},
      {"steps[0] 'insert'.inputs[0]: absent", [](PackageData& p) { p.steps[0].inputs[0] = -1; }},
      {"steps[0] 'insert'.inputs[0]: is an optional, which", [](PackageData& p) { p.steps[0].inputs[0] = 1; }},
      {"steps[0] 'insert'.inputs[1]: is a sequence, which", [](PackageData& p) { p.steps[0].inputs[1] = 0; }},
      {"steps[0] 'insert'.inputs[2]: is float32, must be int64", [](PackageData& p) { p.steps[0].inputs[2] = 3; }},
      {"steps[0] 'insert': int64 and float32 are not one", [](PackageData& p) { p.steps[0].inputs[1] = 5; }},
      {"steps[1] 'at'.outputs[0]: is a sequence, which SequenceAt", [](PackageData& p) { std::swap(p.steps[1].outputs[0], p.steps[2].outputs[0]); }},
      {"steps[3] 'length'.outputs[0]: must be a scalar of type int64", [](PackageData& p) { p.tensors[9].dtype = DType::kInt32; }},
      {"steps[3] 'length'.blob: a sequence step has none", [](PackageData& p) { p.steps[3].blob = {1}; }},
      {"steps[3] 'length'.workspace: a sequence step has none", [](PackageData& p) { p.steps[3].workspace = 64; }},
      {"steps[4] 'split'.inputs[0]: a scalar has no pieces", [](PackageData& p) { p.steps[4].inputs[0] = 4; }},
      {"steps[5] 'empty'.inputs[0]: absent", [](PackageData& p) { p.steps[5].inputs[0] = -1; }},
      {"steps[6] 'loop'.inputs[0]: must be one int64", [](PackageData& p) { p.steps[6].inputs[0] = 0; }},
      {"(programs[0]).inputs[2]: is an optional here and a sequence in the body", [](PackageData& p) { p.steps[6].inputs[2] = 1; }},
      {"programs[0] 'body': steps[2] 'i': takes or gives tensors[0] 'i', but", [](PackageData& p) { p.programs[0].tensors[0].container = Container::kSequence; }},
      {"steps[10] 'wrap'.outputs[0]: an optional sequence does not hold a tensor",
       [](PackageData& p) { p.tensors[static_cast<size_t>(p.steps[10].outputs[0])].container = Container::kOptionalSequence; }},
      {"steps[11] 'again'.outputs[0]: must be the container", [](PackageData& p) { p.steps[11].inputs[0] = 0; }},
      {"programs[0] 'body': steps[1] 'row': takes or gives tensors[3] 'rows', but a backend's",
       [](PackageData& p) {
         p.programs[0].steps[1].sequence.reset();
         p.programs[0].steps[1].backend = 0;
       }},
  };
  ASSERT_EQ(WriteError(SequencePackage()), "");
  for (const Case& c : cases) {
    PackageMaker m = SequencePackage();
    c.damage(m.data);
    std::string error = WriteError(m);
    EXPECT_NE(error.find(c.expected), std::string::npos) << "expected: " << c.expected << "\n     got: " << error;
  }
}

// x -> a, b, written side by side as both; both -> y.
PackageMaker PartsPackage() {
  PackageMaker m;
  int x = m.Input("x", DType::kFloat32, {1, 16});
  int a = m.Arena("a", DType::kFloat32, {1, 16}), b = m.Arena("b", DType::kFloat32, {1, 16});
  int both = m.Arena("both", DType::kFloat32, {2, 16});
  int c = m.Arena("c", DType::kFloat32, {2, 16}), y = m.Output("y", DType::kFloat32, {2, 16});
  m.data.tensors[static_cast<size_t>(a)].alias = m.data.tensors[static_cast<size_t>(b)].alias = both;
  m.data.tensors[static_cast<size_t>(a)].part = 0;
  m.data.tensors[static_cast<size_t>(b)].part = 64;
  m.Step("s0", "", "Relu", {x}, {a});
  m.Step("s1", "", "Neg", {a}, {b});
  m.Step("s2", "", "Relu", {both}, {c});
  m.Step("s3", "", "Add", {c, b}, {y});
  m.Plan();
  return m;
}

TEST(Package, PartsAreCheckedByTheirBytes) {
  struct Case {
    const char* expected;
    std::function<void(PackageData&)> damage;
  };
  const Case cases[] = {
      {"tensors[2] 'b'.part: 32 is no multiple of 64", [](PackageData& p) { p.tensors[2].part = 32; }},
      {"tensors[2] 'b'.part: -64 is no multiple of 64", [](PackageData& p) { p.tensors[2].part = -64; }},
      {"tensors[2] 'b'.part: ends behind the 128 bytes of tensors[3] 'both'", [](PackageData& p) { p.tensors[2].part = 128; }},
      {"ends behind", [](PackageData& p) { p.tensors[2].part = INT64_MAX / 64 * 64; }},
      {"ends behind", [](PackageData& p) { p.tensors[2].shape = {2, 16}; }},
      {"tensors[2] 'b'.part: of tensor -1, which is out of range", [](PackageData& p) { p.tensors[2].alias = -1; }},
      {"tensors[2] 'b'.part: of tensor 99, which is out of range", [](PackageData& p) { p.tensors[2].alias = 99; }},
      {"tensors[2] 'b'.part: of an alias", [](PackageData& p) { p.tensors[2].alias = 1; }},
      {"tensors[2] 'b'.part: of an alias", [](PackageData& p) { p.tensors[2].alias = 2; }},
      {"tensors[2] 'b'.part: only of arena tensors", [](PackageData& p) { p.tensors[2].alias = 0; }},
      {"tensors[1] 'a'.part: of memory that is a package output's",
       [](PackageData& p) {
         p.tensors[5].alias = 3;
         p.steps[2].outputs[0] = 5;
         p.steps.pop_back();
       }},
      {"'both'): read before any step writes it",  // half of it
       [](PackageData& p) { std::swap(p.steps[1], p.steps[2]); }},
      {"'b'): its memory holds tensors[4] 'c' at this step",
       [](PackageData& p) {
         p.tensors[4].alias = 3;
         p.tensors[4].part = 0;
       }},
      {"'a'): its memory holds tensors[2] 'b' at this step",  // over one another
       [](PackageData& p) {
         p.tensors[2].part = 0;
         p.steps[2].inputs[0] = 1;
       }},
      {"shares memory with another output of the step", [](PackageData& p) { p.steps[0].outputs.push_back(4); p.steps[2].outputs[0] = 2; p.steps[1].outputs[0] = -1; p.tensors[4].alias = 3; p.tensors[4].part = 0; }},
      {"tensors[1] 'a'.part: needs a static plan", [](PackageData& p) { p.static_plan = false; }},
      {"leave the arena", [](PackageData& p) { p.arena_size = 64; }},
  };
  ASSERT_EQ(WriteError(PartsPackage()), "");
  for (const Case& c : cases) {
    PackageMaker m = PartsPackage();
    c.damage(m.data);
    std::string error = WriteError(m);
    EXPECT_NE(error.find(c.expected), std::string::npos) << "expected: " << c.expected << "\n     got: " << error;
  }
}

TEST(Package, CodedConstantsBecomeFloats) {
  PackageMaker m = CodedPackage();
  const auto bytes = *SerializePackage(m.data);
  EXPECT_EQ(bytes[8], 6);  // the format version
  auto p = ParsePackage(bytes, nullptr);
  ASSERT_TRUE(p.ok()) << p.status().ToString();
  const auto floats = [&](size_t t) {
    const auto* v = reinterpret_cast<const float*>(p->tensors[t].data.data());
    return std::vector<float>(v, v + p->tensors[t].data.size() / sizeof(float));
  };
  EXPECT_EQ(floats(1), (std::vector<float>{-64, 1, 63.5f, 1, -1.25f, 1.5f}));
  EXPECT_EQ(floats(2), (std::vector<float>{-16, 14, 2, 0, -1, 5}));
  EXPECT_EQ(p->tensors[1].code_bits, 8);
  EXPECT_EQ(p->tensors[2].coded.size(), 2 * (sizeof(float) + 2));
  EXPECT_EQ(p->tensors[3].code_bits, 0);
  // What was read can be written.
  EXPECT_EQ(*SerializePackage(*p), [&] {
    PackageData again = m.data;
    again.programs.clear();
    return *SerializePackage(again);
  }());
}

TEST(Package, EqualCodesAreStoredOnceAndOtherCodesNot) {
  PackageMaker once = CodedPackage(), twice = CodedPackage(), other = CodedPackage();
  twice.Coded("a2", {2, 3}, {0.5f, 0.25f}, {-128, 2, 127, 4, -5, 6}, 8);
  // The same bytes as rows of another extent.
  other.Coded("a3", {1, 10}, {0.5f}, {0, 0, -128, 62, -128, 2, 127, 4, -5, 6}, 8);
  const auto constants = [](const PackageMaker& m) {
    uint64_t most = 0;
    const auto bytes = *SerializePackage(m.data);
    const auto p = *ParsePackage(bytes, nullptr);
    for (const PackageTensor& t : p.tensors) {
      if (t.kind == TensorKind::kConstant && t.alias < 0) most = std::max(most, t.offset);
    }
    return most;
  };
  EXPECT_EQ(constants(once), constants(twice));
  EXPECT_LT(constants(once), constants(other));
}

// What no writer makes: fields changed in the file, with its SHA-256 made right again.
TEST(Package, DamagedCodesAreNamed) {
  struct Case {
    const char* expected;
    flatbuffers::voffset_t field;
    uint64_t value;
  };
  using fb::Tensor;
  const Case cases[] = {
      {".code_rows: 2 rows of codes of 3 bits", Tensor::VT_CODE_BITS, 3},
      {".code_rows: 2 rows of codes of 255 bits", Tensor::VT_CODE_BITS, 255},
      {".code_rows: 4 rows of codes of 8 bits", Tensor::VT_CODE_ROWS, 4},
      {".code_rows: 0 rows of codes of 8 bits", Tensor::VT_CODE_ROWS, 0},
      {".code_rows: 18446744073709551615 rows", Tensor::VT_CODE_ROWS, UINT64_MAX},
      {".code_bits: only of plain float32 constants", Tensor::VT_DTYPE, static_cast<uint64_t>(DType::kInt32)},
      {".code_bits: only of constants of their own", Tensor::VT_KIND, static_cast<uint64_t>(TensorKind::kArena)},
  };
  for (const Case& c : cases) {
    auto bytes = *SerializePackage(CodedPackage().data);
    FileHeader header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    auto* program = bytes.data() + header.program_offset;
    const auto* tensor = reinterpret_cast<const flatbuffers::Table*>(fb::GetPackage(program)->tensors()->Get(1));
    auto* field = const_cast<uint8_t*>(tensor->GetAddressOf(c.field));
    ASSERT_NE(field, nullptr);
    if (c.field == Tensor::VT_CODE_ROWS) {
      std::memcpy(field, &c.value, sizeof(c.value));
    } else {
      *field = static_cast<uint8_t>(c.value);
    }
    header.program_sha256 = Sha256Of({program, header.program_size});
    std::memcpy(bytes.data(), &header, sizeof(header));
    const auto p = ParsePackage(bytes, nullptr);
    ASSERT_FALSE(p.ok()) << c.expected;
    EXPECT_EQ(p.status().code(), StatusCode::kDataLoss);
    EXPECT_NE(p.status().message().find(c.expected), std::string::npos) << "expected: " << c.expected << "\n     got: " << p.status().message();
  }
  // One place of the file is one set of floats, whatever its tensors say.
  auto bytes = *SerializePackage([] {
    PackageMaker m = CodedPackage();
    m.Coded("a2", {2, 3}, {0.5f, 0.25f}, {-128, 2, 127, 4, -5, 6}, 8);
    return m;
  }().data);
  FileHeader header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  auto* program = bytes.data() + header.program_offset;
  const auto* tensors = fb::GetPackage(program)->tensors();
  const auto* last = reinterpret_cast<const flatbuffers::Table*>(tensors->Get(tensors->size() - 1));
  const uint64_t rows = 3;
  std::memcpy(const_cast<uint8_t*>(last->GetAddressOf(Tensor::VT_CODE_ROWS)), &rows, sizeof(rows));
  header.program_sha256 = Sha256Of({program, header.program_size});
  std::memcpy(bytes.data(), &header, sizeof(header));
  const auto p = ParsePackage(bytes, nullptr);
  ASSERT_FALSE(p.ok());
  EXPECT_NE(p.status().message().find("another tensor has the same bytes as other codes"), std::string::npos) << p.status().message();
}

TEST(Package, WrongCodesAreNotWritten) {
  PackageMaker m = CodedPackage();
  m.data.tensors[1].code_rows = 3;
  EXPECT_NE(WriteError(m).find("constant 'a' has 14 bytes of codes"), std::string::npos) << WriteError(m);
}

// As v1.slip, for version 6.
TEST(Package, GoldenVersion6Loads) {
  const std::string path = std::string(SLIPWAY_SOURCE_DIR) + "/src/engine/format/testdata/v6.slip";
  if (std::getenv("SLIPWAY_WRITE_GOLDEN_6")) {
    ASSERT_TRUE(WritePackage(CodedPackage().data, path).ok());
  }
  ASSERT_TRUE(VerifyHashes(path).ok());
  auto p = ReadPackage(path);
  ASSERT_TRUE(p.ok()) << p.status().ToString();
  EXPECT_EQ(p->tensors[1].code_rows, 2u);
  EXPECT_EQ(p->tensors[2].code_bits, 4);
  float first;
  std::memcpy(&first, p->tensors[2].data.data(), sizeof(first));
  EXPECT_EQ(first, -16);
}

// As v1.slip, for version 5.
TEST(Package, GoldenVersion5Loads) {
  const std::string path = std::string(SLIPWAY_SOURCE_DIR) + "/src/engine/format/testdata/v5.slip";
  if (std::getenv("SLIPWAY_WRITE_GOLDEN_5")) {
    ASSERT_TRUE(WritePackage(PartsPackage().data, path).ok());
  }
  ASSERT_TRUE(VerifyHashes(path).ok());
  auto p = ReadPackage(path);
  ASSERT_TRUE(p.ok()) << p.status().ToString();
  EXPECT_EQ(p->tensors[1].part, 0);
  EXPECT_EQ(p->tensors[2].part, 64);
  EXPECT_EQ(p->tensors[2].alias, 3);
  EXPECT_EQ(p->tensors[2].offset, p->tensors[3].offset + 64);
  EXPECT_EQ(p->tensors[3].part, -1);
}

// As v1.slip, for version 4.
TEST(Package, GoldenVersion4Loads) {
  const std::string path = std::string(SLIPWAY_SOURCE_DIR) + "/src/engine/format/testdata/v4.slip";
  if (std::getenv("SLIPWAY_WRITE_GOLDEN_4")) {
    ASSERT_TRUE(WritePackage(SequencePackage().data, path).ok());
  }
  ASSERT_TRUE(VerifyHashes(path).ok());
  auto p = ReadPackage(path);
  ASSERT_TRUE(p.ok()) << p.status().ToString();
  EXPECT_EQ(p->tensors[2].container, Container::kOptionalSequence);
  ASSERT_TRUE(p->steps[7].sequence.has_value());
  EXPECT_EQ(p->steps[7].sequence->op, SequenceOp::kConcat);
  EXPECT_TRUE(p->steps[4].sequence->keepdims);
  EXPECT_EQ(p->programs[0].tensors[2].container, Container::kSequence);
}

TEST(Package, OldPackagesAreWrittenAsEver) {
  const auto now = *SerializePackage(Small().data);
  const auto golden = *ReadFile(std::string(SLIPWAY_SOURCE_DIR) + "/src/engine/format/testdata/v1.slip");
  EXPECT_TRUE(std::equal(now.begin(), now.end(), golden.begin(), golden.end(), [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); }));
}

// As v1.slip, for version 3.
TEST(Package, GoldenVersion3Loads) {
  const std::string path = std::string(SLIPWAY_SOURCE_DIR) + "/src/engine/format/testdata/v3.slip";
  if (std::getenv("SLIPWAY_WRITE_GOLDEN_3")) {
    ASSERT_TRUE(WritePackage(ControlPackage().data, path).ok());
  }
  ASSERT_TRUE(VerifyHashes(path).ok());
  auto p = ReadPackage(path);
  ASSERT_TRUE(p.ok()) << p.status().ToString();
  ASSERT_EQ(p->programs.size(), 5u);
  ASSERT_TRUE(p->steps[3].control.has_value());
  EXPECT_EQ(p->steps[3].control->output_backward, std::vector<uint8_t>{1});
  EXPECT_EQ(ToString(p->programs[1].tensors[4].shape), "[k + 1]");
}

// Packages written by format version 1 load for ever. The file was written by this test with SLIPWAY_WRITE_GOLDEN set; it is never written again.
TEST(Package, GoldenVersion1Loads) {
  const std::string path = std::string(SLIPWAY_SOURCE_DIR) + "/src/engine/format/testdata/v1.slip";
  if (std::getenv("SLIPWAY_WRITE_GOLDEN")) {
    ASSERT_TRUE(WritePackage(Small().data, path).ok());
  }
  ASSERT_TRUE(VerifyHashes(path).ok());
  auto p = ReadPackage(path);
  ASSERT_TRUE(p.ok()) << p.status().ToString();
  ASSERT_EQ(p->tensors.size(), 7u);
  EXPECT_EQ(ToString(p->tensors[4].shape), "[2*N, 2]");
  EXPECT_EQ(p->tensors[4].alias, 2);
  EXPECT_EQ(p->tensors[1].data.size(), 16u);
  ASSERT_EQ(p->steps.size(), 4u);
  EXPECT_EQ(p->steps[0].op, "engine.Copy");
  auto op = DecodeOp(p->steps[2].blob);
  ASSERT_TRUE(op.ok());
  EXPECT_EQ(op->op, "Add");
  EXPECT_EQ(p->steps[2].macs, 7);
}

ops::Attributes AllKinds() {
  return {{"i", int64_t{-5}},
          {"f", 0.5f},
          {"s", std::string("text")},
          {"ints", std::vector<int64_t>{1, 2}},
          {"floats", std::vector<float>{0.5f}},
          {"strings", std::vector<std::string>{"a", ""}},
          {"empty", std::vector<int64_t>{}}};
}

TEST(OpDesc, RoundTripsAtEveryAlignment) {
  OpDesc op{"slipway", "Conv", AllKinds()};
  auto bytes = EncodeOp(op);
  EXPECT_EQ(bytes, EncodeOp(op));
  for (size_t shift = 0; shift < 8; ++shift) {
    std::vector<uint8_t> moved(shift);
    moved.insert(moved.end(), bytes.begin(), bytes.end());
    auto back = DecodeOp(std::span(moved).subspan(shift));
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    EXPECT_EQ(back->domain, "slipway");
    EXPECT_EQ(back->op, "Conv");
    EXPECT_EQ(back->attributes, op.attributes);
  }
}

TEST(OpDesc, DamageIsAnErrorOrAnotherDescription) {
  auto bytes = EncodeOp({"slipway", "Conv", AllKinds()});
  for (size_t n = 0; n < bytes.size(); ++n) {
    auto cut = DecodeOp(std::span(bytes).first(n));
    if (cut.ok()) {
      EXPECT_EQ(cut->attributes, AllKinds()) << n;  // only padding was cut
    }
  }
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto damaged = bytes;
    damaged[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    auto op = DecodeOp(damaged);
    if (!op.ok()) {
      EXPECT_EQ(op.status().code(), StatusCode::kDataLoss);
    }
  }
}

}  // namespace
}  // namespace slipway::format
