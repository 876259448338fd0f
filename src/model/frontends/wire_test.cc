#include "model/frontends/wire.h"

#include <gtest/gtest.h>

#include <random>

namespace slipway::wire {
namespace {

TEST(Wire, WhatIsWrittenReadsBack) {
  WireWriter inner;
  inner.Text(1, "inner");
  WireWriter w;
  w.Int(1, -5);
  w.Int(2, int64_t{1} << 62);
  w.Float(3, 1.5f);
  w.Message(4, inner);
  w.PackedInts(5, std::vector<int64_t>{1, -1, 300});
  w.PackedFloats(6, std::vector<float>{0.5f, -2});
  const std::vector<uint8_t> blob(1000, 7);
  w.Blob(7, blob);
  w.Int(536870911, 9);
  const auto bytes = w.Finish();
  EXPECT_EQ(bytes.size(), w.size());

  WireReader r(bytes);
  Field f;
  ASSERT_TRUE(r.Next(&f));
  EXPECT_EQ(f.Int(), -5);
  ASSERT_TRUE(r.Next(&f));
  EXPECT_EQ(f.Int(), int64_t{1} << 62);
  ASSERT_TRUE(r.Next(&f));
  EXPECT_EQ(f.Float(), 1.5f);
  ASSERT_TRUE(r.Next(&f));
  WireReader nested(f.bytes);
  Field g;
  ASSERT_TRUE(nested.Next(&g));
  EXPECT_EQ(g.Text(), "inner");
  EXPECT_FALSE(nested.Next(&g));
  ASSERT_TRUE(r.Next(&f));
  std::vector<int64_t> ints;
  EXPECT_TRUE(ForEachVarint(f, [&](uint64_t v) { ints.push_back(static_cast<int64_t>(v)); }).ok());
  EXPECT_EQ(ints, (std::vector<int64_t>{1, -1, 300}));
  ASSERT_TRUE(r.Next(&f));
  std::vector<float> floats;
  EXPECT_TRUE(ForEachFixed<float>(f, [&](float v) { floats.push_back(v); }).ok());
  EXPECT_EQ(floats, (std::vector<float>{0.5f, -2}));
  ASSERT_TRUE(r.Next(&f));
  EXPECT_EQ(f.bytes.size(), 1000u);
  ASSERT_TRUE(r.Next(&f));
  EXPECT_EQ(f.id, 536870911u);
  EXPECT_FALSE(r.Next(&f));
  EXPECT_TRUE(r.status().ok());
}

TEST(Wire, NestedBlobsKeepTheirPlace) {
  const std::vector<uint8_t> blob(100, 3);
  WireWriter a, b, c;
  a.Int(1, 1);
  a.Blob(2, blob);
  a.Int(3, 3);
  b.Message(1, a);
  b.Int(4, 4);
  c.Text(9, "x");
  c.Message(1, b);
  c.Blob(2, blob);
  const auto bytes = c.Finish();
  WireReader r(bytes);
  Field f;
  ASSERT_TRUE(r.Next(&f));
  ASSERT_TRUE(r.Next(&f));
  WireReader rb(f.bytes);
  ASSERT_TRUE(rb.Next(&f));
  WireReader ra(f.bytes);
  ASSERT_TRUE(ra.Next(&f));
  ASSERT_TRUE(ra.Next(&f));
  EXPECT_EQ(f.bytes.size(), 100u);
  EXPECT_EQ(f.bytes[99], 3);
  ASSERT_TRUE(ra.Next(&f));
  EXPECT_EQ(f.number, 3u);
  ASSERT_TRUE(rb.Next(&f));
  EXPECT_EQ(f.number, 4u);
}

Status ReadAll(std::vector<uint8_t> bytes) {
  WireReader r(bytes);
  Field f;
  while (r.Next(&f)) {
  }
  return r.status();
}

TEST(Wire, RefusesBrokenMessages) {
  EXPECT_EQ(ReadAll({0x08}).code(), StatusCode::kDataLoss);              // a tag without its number
  EXPECT_EQ(ReadAll({0x0a, 0x05, 1, 2}).code(), StatusCode::kDataLoss);  // a length past the end
  EXPECT_EQ(ReadAll({0x0d, 1, 2}).code(), StatusCode::kDataLoss);        // half a fixed32
  EXPECT_EQ(ReadAll({0x09, 1, 2, 3, 4}).code(), StatusCode::kDataLoss);  // half a fixed64
  EXPECT_EQ(ReadAll({0x0b}).code(), StatusCode::kInvalidArgument);       // a group
  EXPECT_EQ(ReadAll({0x0f}).code(), StatusCode::kInvalidArgument);       // wire type 7
  EXPECT_EQ(ReadAll({0x00, 0x01}).code(), StatusCode::kInvalidArgument);  // field 0
  EXPECT_EQ(ReadAll(std::vector<uint8_t>(11, 0xff)).code(),
            StatusCode::kInvalidArgument);  // an endless number
  std::vector<uint8_t> huge = {0x0a};
  huge.insert(huge.end(), 9, 0xff);
  huge.push_back(0x01);  // length 2^64 - 1
  EXPECT_EQ(ReadAll(huge).code(), StatusCode::kDataLoss);
}

TEST(Wire, PackedRunsAreChecked) {
  Field f;
  f.type = WireType::kBytes;
  const std::vector<uint8_t> cut = {0x80};
  f.bytes = cut;
  EXPECT_FALSE(ForEachVarint(f, [](uint64_t) {}).ok());
  EXPECT_FALSE(ForEachFixed<float>(f, [](float) {}).ok());
  const std::vector<uint8_t> endless(12, 0x80);
  f.bytes = endless;
  EXPECT_FALSE(ForEachVarint(f, [](uint64_t) {}).ok());
  f.type = WireType::kFixed64;
  EXPECT_FALSE(ForEachVarint(f, [](uint64_t) {}).ok());
  EXPECT_FALSE(ForEachFixed<float>(f, [](float) {}).ok());
}

TEST(Wire, RandomBytesNeverReadOutside) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int i = 0; i < 20000; ++i) {
    std::vector<uint8_t> bytes(random() % 40);
    for (auto& b : bytes) b = static_cast<uint8_t>(random());
    WireReader r(bytes);
    Field f;
    size_t last = 0;
    while (r.Next(&f)) {
      ASSERT_GT(r.offset(), last);
      last = r.offset();
      ASSERT_LE(last, bytes.size());
    }
  }
}

}  // namespace
}  // namespace slipway::wire
