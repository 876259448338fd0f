// Writing, reading and refusing packages. What a damaged package does when it runs is in engine/runtime/damage_test.cc.

#include <gtest/gtest.h>

#include <cstdio>
#include <random>

#include "base/mapped_file.h"
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
