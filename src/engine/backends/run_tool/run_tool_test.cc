#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/mapped_file.h"
#include "engine/backends/run_tool/npy.h"
#include "engine/backends/run_tool/tool.h"
#include "engine/format/package_test_util.h"

namespace slipway::run_tool {
namespace {

using format::PackageMaker;

class RunTool : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "slipway_run_tool_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(dir_);
    PackageMaker m;  // y[n] = sum over k of relu(x[n, k]) * w[k]
    int x = m.Input("x", DType::kFloat32, {Dim::Symbol("N"), 4});
    int w = m.Constant<float>("w", {4, 1}, {1, 10, 100, 1000});
    int r = m.Arena("r", DType::kFloat32, {Dim::Symbol("N"), 4});
    int y = m.Output("y", DType::kFloat32, {Dim::Symbol("N"), 1});
    m.Step("relu", "", "Relu", {x}, {r});
    m.Step("matmul", "", "MatMul", {r, w}, {y}).macs = 4;
    package_ = dir_ + "/m.slip";
    ASSERT_TRUE(format::WritePackage(m.data, package_).ok());
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string Write(const std::string& name, std::span<const uint8_t> bytes) {
    EXPECT_TRUE(WriteFile(dir_ + "/" + name, bytes).ok());
    return dir_ + "/" + name;
  }
  std::string WriteFloats(const std::string& name, std::vector<int64_t> dims, const std::vector<float>& values) {
    return Write(name, WriteNpy(DType::kFloat32, dims, {reinterpret_cast<const uint8_t*>(values.data()), values.size() * 4}));
  }
  std::vector<float> Floats(const Array& a) {
    std::vector<float> out(a.bytes.size() / 4);
    std::memcpy(out.data(), a.bytes.data(), a.bytes.size());
    return out;
  }
  Array Read(const std::string& name) {
    auto file = MappedFile::Open(dir_ + "/" + name);
    EXPECT_TRUE(file.ok());
    auto a = ReadNpy((*file)->bytes());
    EXPECT_TRUE(a.ok()) << a.status().ToString();
    return *a;
  }
  int Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), package_);
    out_.clear();
    err_.clear();
    return Main(arguments, out_, err_);
  }

  std::string dir_, package_, out_, err_;
};

TEST_F(RunTool, RunsAnArrayAndWritesTheOutput) {
  auto x = WriteFloats("x.npy", {2, 4}, {1, 2, 3, 4, -1, 5, -6, 7});
  ASSERT_EQ(Run({"--input", "x=" + x, "--output-dir", dir_}), 0) << err_;
  Array y = Read("y.npy");
  EXPECT_EQ(y.dims, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(Floats(y), (std::vector<float>{4321, 7050}));
}

TEST_F(RunTool, RunsSlicesAndDropsThePadding) {
  auto x = WriteFloats("x.npy", {5, 4}, {1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0});
  for (const char* shape : {"", "x=2,4", "x=5,4", "x=8,4"}) {
    std::vector<std::string> arguments = {"--batched", "--input", "x=" + x, "--output-dir", dir_};
    if (*shape) arguments.insert(arguments.end(), {"--shape", shape});
    ASSERT_EQ(Run(arguments), 0) << err_;
    Array y = Read("y.npy");
    EXPECT_EQ(y.dims, (std::vector<int64_t>{5, 1})) << shape;
    EXPECT_EQ(Floats(y), (std::vector<float>{1, 2, 3, 4, 5})) << shape;
  }
}

TEST_F(RunTool, RawBytes) {
  std::vector<float> values = {1, 1, 1, 1};
  auto x = Write("x.raw", {reinterpret_cast<const uint8_t*>(values.data()), 16});
  ASSERT_EQ(Run({"--input", "x=" + x, "--shape", "x=1,4", "--output-dir", dir_}), 0) << err_;
  EXPECT_EQ(Floats(Read("y.npy")), (std::vector<float>{1111}));
  EXPECT_EQ(Run({"--input", "x=" + x, "--shape", "x=2,4"}), 2);
  EXPECT_NE(err_.find("16 raw bytes do not fill"), std::string::npos) << err_;
}

TEST_F(RunTool, BenchPrintsJson) {
  ASSERT_EQ(Run({"--shape", "x=3,4", "--bench", "4", "--warmup", "1", "--profile"}), 0) << err_;
  EXPECT_NE(out_.find("\"samples_ms\": ["), std::string::npos) << out_;
  EXPECT_NE(out_.find("\"peak_bytes\": "), std::string::npos) << out_;
  EXPECT_NE(out_.find("\"op\": \"MatMul\", \"backend\": \"reference\", \"kernel\": \"plain\""), std::string::npos) << out_;
  ASSERT_EQ(Run({"--info"}), 0);
  EXPECT_EQ(out_, "input  x  float32[N, 4]\noutput y  float32[N, 1]\n");
}

TEST_F(RunTool, BadArgumentsAreOneLineNamingThem) {
  auto x = WriteFloats("x.npy", {2, 4}, std::vector<float>(8));
  auto wrong = WriteFloats("wrong.npy", {2, 3}, std::vector<float>(6));
  auto text = Write("text.npy", WriteNpy(DType::kInt64, std::vector<int64_t>{1, 4}, std::vector<uint8_t>(32)));
  struct Case {
    std::vector<std::string> arguments;
    const char* expected;
  } cases[] = {
      {{}, "--shape x=..."},
      {{"--input", "z=" + x}, "no input 'z'; it has: x"},
      {{"--input", "x=" + dir_ + "/none.npy"}, "none.npy"},
      {{"--input", "x=" + wrong}, "dimension 1: expected 4, given 3"},
      {{"--input", "x=" + text}, "expected float32, the array has int64"},
      {{"--input", "x"}, "is not NAME=VALUE"},
      {{"--shape", "x=1,b"}, "'b' is not a number"},
      {{"--threads", "-1"}, "--threads"},
      {{"--bench"}, "the value is missing"},
      {{"--frobnicate"}, "unknown option --frobnicate"},
      {{"another.slip"}, "one package only"},
      {{"--input", "x=" + x, "--output-dir", "/proc/none"}, "/proc/none"},
  };
  for (const Case& c : cases) {
    int code = Run(c.arguments);
    EXPECT_TRUE(code == 2 || code == 3) << c.expected;
    EXPECT_NE(err_.find(c.expected), std::string::npos) << err_;
    EXPECT_EQ(std::count(err_.begin(), err_.end(), '\n'), 1) << err_;
  }
  package_ = dir_ + "/none.slip";
  EXPECT_EQ(Run({}), 2);
  EXPECT_NE(err_.find("none.slip"), std::string::npos);
}

TEST_F(RunTool, SequencesTensorByTensor) {
  ASSERT_TRUE(format::WritePackage(format::SequencePackage().data, package_).ok());
  ASSERT_EQ(Run({"--info"}), 0) << err_;
  EXPECT_NE(out_.find("input  s  sequence of float32 tensors\n"), std::string::npos) << out_;
  EXPECT_NE(out_.find("output again  optional sequence of float32 tensors\n"), std::string::npos) << out_;
  const std::vector<float> eight{1, 2, 3, 4, 5, 6, 7, 8};
  const int64_t one = 1;
  const std::string a = WriteFloats("a.npy", {1, 4}, {1, 2, 3, 4}), b = WriteFloats("b.npy", {2, 4}, eight);
  const std::string raw = Write("raw.bin", {reinterpret_cast<const uint8_t*>(eight.data()), 32});
  const std::string count = Write("count.bin", {reinterpret_cast<const uint8_t*>(&one), 8});
  const std::vector<std::string> base = {"--input", "s.0=" + a, "--input", "s.1=" + raw, "--shape", "s.1=2,4", "--input", "x=" + b,
                                         "--input", "at=" + count, "--input", "trips=" + count, "--output-dir", dir_};
  ASSERT_EQ(Run(base), 0) << err_;
  EXPECT_EQ(*ReadFile(dir_ + "/more.length"), "3\n");
  EXPECT_EQ(Floats(Read("more.1.npy")), eight);
  EXPECT_EQ(Floats(Read("picked.npy")), eight);
  EXPECT_EQ(*ReadFile(dir_ + "/again.length"), "-1\n");  // l was not given
  EXPECT_EQ(*ReadFile(dir_ + "/wrapped.length"), "1\n");
  EXPECT_EQ(Floats(Read("wrapped.0.npy")), eight);
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), base.begin(), base.end());
    return Run(more);
  };
  ASSERT_EQ(with({"--length", "l=0", "--input", "o.0=" + a}), 0) << err_;
  EXPECT_EQ(*ReadFile(dir_ + "/again.length"), "0\n");
  EXPECT_EQ(Floats(Read("wrapped.0.npy")), (std::vector<float>{1, 2, 3, 4}));
  ASSERT_EQ(with({"--bench", "2", "--warmup", "0"}), 0) << err_;
  EXPECT_EQ(with({"--length", "s=3"}), 2);
  EXPECT_NE(err_.find("--length says 3, 2 tensors are given"), std::string::npos) << err_;
  EXPECT_EQ(with({"--length", "x=3"}), 2);
  EXPECT_NE(err_.find("no sequence or optional 'x'"), std::string::npos) << err_;
  EXPECT_EQ(with({"--input", "s.3=" + a}), 2);
  EXPECT_NE(err_.find("no input 's.3'"), std::string::npos) << err_;
  EXPECT_EQ(with({"--input", "s.2=" + raw}), 2);
  EXPECT_NE(err_.find("need a --shape s.2"), std::string::npos) << err_;
  EXPECT_EQ(with({"--batched"}), 2);
}

TEST(Npy, RoundTripsAndRefusesDamage) {
  std::vector<uint8_t> bytes(24);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i);
  for (DType t : {DType::kFloat32, DType::kInt8, DType::kUInt16, DType::kInt64, DType::kBool}) {
    std::vector<int64_t> dims = {static_cast<int64_t>(24 / DTypeBytes(t, 1))};
    auto file = WriteNpy(t, dims, bytes);
    EXPECT_EQ((file.size() - 24) % 64, 0u);
    auto a = ReadNpy(file);
    ASSERT_TRUE(a.ok()) << a.status().ToString();
    EXPECT_EQ(a->dtype, t);
    EXPECT_EQ(a->dims, dims);
    EXPECT_EQ(a->bytes, bytes);
    for (size_t n = 0; n < file.size(); ++n) EXPECT_FALSE(ReadNpy(std::span(file).first(n)).ok()) << n;
    for (size_t i = 0; i < (file.size() - 24) * 8; ++i) {
      auto damaged = file;
      damaged[i / 8] ^= static_cast<uint8_t>(1u << (i % 8));
      (void)ReadNpy(damaged).ok();
    }
  }
}

}  // namespace
}  // namespace slipway::run_tool
