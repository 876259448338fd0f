#include "data/npy.h"

#include <cstring>
#include <random>

#include "base/mapped_file.h"
#include "data/data_test_util.h"

namespace slipway::data {
namespace {

class Npy : public FolderTest {};

std::string Header(int version, const std::string& dict) {
  std::string h = "\x93NUMPY";
  h += static_cast<char>(version);
  h += '\0';
  h += static_cast<char>(dict.size() & 255);
  h += static_cast<char>(dict.size() >> 8);
  if (version > 1) h += std::string(2, '\0');
  return h + dict;
}

TEST_F(Npy, EveryTypeRoundTrips) {
  for (DType t : {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kInt8, DType::kUInt8,
                  DType::kInt16, DType::kUInt16, DType::kInt32, DType::kUInt32, DType::kInt64,
                  DType::kUInt64, DType::kBool}) {
    for (const std::vector<int64_t>& dims :
         {std::vector<int64_t>{}, {5}, {2, 3}, {0, 4}, {2, 1, 3, 2}}) {
      int64_t n = 1;
      for (int64_t d : dims) n *= d;
      std::vector<uint8_t> bytes(DTypeBytes(t, n));
      for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 + 1);
      const std::string path = File("a.npy");
      ASSERT_TRUE(WriteNpy(path, t, dims, bytes).ok());
      auto a = ReadNpy(path);
      ASSERT_TRUE(a.ok()) << a.status().ToString();
      EXPECT_EQ(a->dtype, t);
      EXPECT_EQ(a->dims, dims);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(a->bytes.data()) % 64, 0u);
      EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), a->bytes.begin(), a->bytes.end()));
    }
  }
  EXPECT_EQ(
      WriteNpy(File("b.npy"), DType::kBFloat16, std::vector<int64_t>{1}, std::vector<uint8_t>(2))
          .code(),
      StatusCode::kUnsupported);
  EXPECT_EQ(WriteNpy(File("b.npy"), DType::kInt8, std::vector<int64_t>{3}, std::vector<uint8_t>(2))
                .code(),
            StatusCode::kInvalidArgument);
}

TEST_F(Npy, ReadsAllVersionsAndOddSpellings) {
  const float value = 2.5f;
  std::string data(reinterpret_cast<const char*>(&value), 4);
  for (int version : {1, 2, 3}) {
    for (const char* dict : {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n",
                             "{\"shape\":(1L,),\"fortran_order\":False,\"descr\":\"<f4\"}"}) {
      auto a = ReadNpy(Write("v.npy", Header(version, dict) + data));
      ASSERT_TRUE(a.ok()) << a.status().ToString();
      EXPECT_EQ(NpyValue(*a, 0), 2.5);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(a->bytes.data()) % 64,
                0u);  // copied where the file was not
    }
  }
}

TEST_F(Npy, RefusesWithARemedy) {
  const auto error = [&](const std::string& bytes) {
    return ReadNpy(Write("bad.npy", bytes)).status();
  };
  EXPECT_MESSAGE(error(Header(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2,2), }") +
                       std::string(16, 'x')),
                 "ascontiguousarray");
  EXPECT_MESSAGE(
      error(Header(1, "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }") + "xxxx"),
      "newbyteorder");
  EXPECT_MESSAGE(
      error(Header(1, "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }") + "xxxx"),
      "not numeric");
  EXPECT_MESSAGE(
      error(Header(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }")),
      "record");
  EXPECT_MESSAGE(
      error(Header(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }") + "xxxx"),
      "truncated");
  EXPECT_MESSAGE(
      error(Header(1,
                   "{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999999999,99), }")),
      "overflows");
  EXPECT_MESSAGE(error(Header(9, "{}")), "version 9");
  EXPECT_MESSAGE(error("not numpy at all"), "numpy.save");
  EXPECT_MESSAGE(error(""), "bad.npy");
  EXPECT_MESSAGE(ReadNpy(File("missing.npy")).status(), "missing.npy");
}

TEST_F(Npy, DamagedFilesNeverCrash) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  ASSERT_TRUE(
      WriteNpy(File("a.npy"), DType::kInt16, std::vector<int64_t>{3, 4}, std::vector<uint8_t>(24))
          .ok());
  const std::string good = ReadFile(File("a.npy")).value();
  for (int i = 0; i < 5000; ++i) {
    std::string bad = good.substr(0, random() % (good.size() + 1));
    for (unsigned k = random() % 4; k > 0 && !bad.empty(); --k) {
      bad[random() % bad.size()] = static_cast<char>(random());
    }
    std::vector<uint8_t> bytes(bad.begin(), bad.end());  // exact size: ASan sees one byte too far
    (void)ParseNpy(bytes, nullptr, "fuzz");
  }
}

TEST_F(Npy, NpzRoundTripsAndLimits) {
  const std::vector<std::pair<std::string, NpyArray>> arrays = {
      {"images", MakeArray<uint8_t>({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8})},
      {"labels", MakeArray<int64_t>({2}, {7, -3})}};
  ASSERT_TRUE(WriteNpz(File("a.npz"), arrays).ok());
  auto back = ReadNpz(File("a.npz"));
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  ASSERT_EQ(back->size(), 2u);
  EXPECT_EQ((*back)[0].first, "images");
  EXPECT_EQ((*back)[1].second.dims, std::vector<int64_t>{2});
  EXPECT_EQ(NpyValue((*back)[1].second, 1), -3);
  EXPECT_EQ(ReadNpz(File("a.npz"), 100).status().code(), StatusCode::kResourceExhausted);
  const std::string whole = ReadFile(File("a.npz")).value();
  EXPECT_FALSE(ReadNpz(Write("cut.npz", whole.substr(0, whole.size() / 2))).ok());
  EXPECT_FALSE(ReadNpz(Write("text.npz", "hello")).ok());
}

TEST(NpyValues, HalfAndIntegersConvert) {
  const NpyArray half = NpyArray::Copy(DType::kFloat16, {5},
                                       std::vector<uint8_t>{0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00,
                                                            0x00, 0x7c, 0xff, 0x7b})
                            .value();
  std::vector<float> out(5);
  NpyToFloat(half, 0, out);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -2.0f);
  EXPECT_EQ(out[2], 5.9604645e-08f);
  EXPECT_TRUE(std::isinf(out[3]));
  EXPECT_EQ(out[4], 65504.0f);
  const NpyArray ints = MakeArray<int32_t>({3}, {-5, 0, 9});
  std::vector<float> two(2);
  NpyToFloat(ints, 1, two);
  EXPECT_EQ(two, (std::vector<float>{0, 9}));
}

}  // namespace
}  // namespace slipway::data
