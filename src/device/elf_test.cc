#include "device/elf.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/cpu.h"
#include "base/mapped_file.h"

namespace slipway::device {
namespace {

// A header and its segments: of a library where nothing else is said.
struct Fake {
  uint8_t bits = 2, order = 1;
  uint16_t type = 3, machine = 183, segment_size = 56;
  uint64_t table = 64;
  std::vector<uint32_t> segments = {1, 2};
  uint64_t from = 0, length = 64;

  std::vector<uint8_t> Bytes() const {
    std::vector<uint8_t> b(64 + 56 * segments.size());
    const auto put = [&](size_t at, uint64_t v, size_t size) {
      for (size_t i = 0; i < size; ++i) b[at + i] = static_cast<uint8_t>(v >> (8 * i));
    };
    put(0, 0x464C457F, 4);
    b[4] = bits;
    b[5] = order;
    put(16, type, 2);
    put(18, machine, 2);
    put(32, table, 8);
    put(54, segment_size, 2);
    put(56, segments.size(), 2);
    for (size_t i = 0; i < segments.size(); ++i) {
      put(64 + 56 * i, segments[i], 4);
      put(64 + 56 * i + 8, from, 8);
      put(64 + 56 * i + 32, length, 8);
    }
    return b;
  }
};

TEST(Elf, SaysForWhichProcessor) {
  const std::pair<uint16_t, const char*> machines[] = {{62, "x86_64"},
                                                       {183, "aarch64"},
                                                       {243, "riscv64"},
                                                       {40, "ARM of 32 bits"},
                                                       {8, "ELF machine 8"}};
  for (const auto& [machine, arch] : machines) {
    const auto file = ReadElf(Fake{.machine = machine}.Bytes());
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_EQ(file->arch, arch);
    EXPECT_TRUE(file->shared_library());
    EXPECT_FALSE(file->has_interpreter);
  }
  EXPECT_EQ(ReadElf(Fake{.order = 2}.Bytes())->arch, "a big-endian processor");
  EXPECT_EQ(ReadElf(Fake{.bits = 1}.Bytes())->arch, "aarch64 in a 32-bit ELF");
  EXPECT_FALSE(ReadElf(Fake{.bits = 1}.Bytes())->shared_library());
}

TEST(Elf, TellsLibrariesFromPrograms) {
  const auto fixed = ReadElf(Fake{.type = 2, .segments = {1}}.Bytes());
  EXPECT_FALSE(fixed->shared_library() || fixed->is_dynamic);
  const auto program = ReadElf(Fake{.type = 2, .segments = {3, 1, 2}}.Bytes());
  EXPECT_TRUE(program->is_dynamic && program->has_interpreter);
  EXPECT_FALSE(program->shared_library());
  EXPECT_FALSE(ReadElf(Fake{.segments = {1}}.Bytes())->shared_library());  // a static program
}

TEST(Elf, ReadsThisProgram) {
  const auto file = ReadElfFile("/proc/self/exe");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->arch, ThisCpu().arch);
  EXPECT_TRUE(file->is_dynamic && file->has_interpreter);
  EXPECT_EQ(ReadElfFile("/nowhere/lib.so").status().code(), StatusCode::kNotFound);
}

TEST(Elf, RefusesWhatIsCutOff) {
  const auto bytes = Fake{}.Bytes();
  for (size_t n = 0; n < bytes.size(); ++n)
    EXPECT_EQ(ReadElf(std::span(bytes).first(n)).status().code(), StatusCode::kDataLoss) << n;
  const Fake bad[] = {{.segment_size = 32}, {.table = ~uint64_t{0}},  {.table = 65},
                      {.from = 1 << 20},    {.length = ~uint64_t{0}}, {.from = ~uint64_t{0} - 8}};
  for (const Fake& f : bad)
    EXPECT_EQ(ReadElf(f.Bytes()).status().code(), StatusCode::kDataLoss) << f.table;
  EXPECT_EQ(ReadElf(std::vector<uint8_t>(200, 'x')).status().message(), "no ELF file");
}

TEST(Elf, SurvivesAnyBytes) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 3000; ++round) {
    auto bytes = Fake{.segments = {1, 2, 3}}.Bytes();
    for (int i = 0; i < 4; ++i) bytes[4 + random() % 80] = static_cast<uint8_t>(random());
    bytes.resize(random() % (bytes.size() + 1));
    const std::vector<uint8_t> exact(bytes);  // reading beyond it shows under a sanitizer
    (void)ReadElf(exact);
  }
}

}  // namespace
}  // namespace slipway::device
