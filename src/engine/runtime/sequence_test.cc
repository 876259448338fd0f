// Sequences and optionals of a package through the C interface: values, memory, and everything that
// can be wrong in a run. What the operators mean is compared with the interpreter in
// engine/compiler/sequence_test.cc.

#include <algorithm>
#include <string>
#include <vector>

#include "engine/runtime/registry.h"
#include "engine/runtime/session.h"
#include "engine/runtime/session_test_util.h"

namespace slipway {
namespace {

using format::SequencePackage;
using Floats = std::vector<float>;

class Lists {
 public:
  explicit Lists(Sess& s) : s_(s) {}

  void Set(const char* name, const std::vector<Floats>& items) {
    ASSERT_EQ(slipway_session_set_length(s_.s, name, static_cast<int64_t>(items.size()), &s_.error), 0)
        << s_.error.message;
    for (size_t i = 0; i < items.size(); ++i) {
      const int64_t dims[] = {static_cast<int64_t>(items[i].size()) / 4, 4};
      slipway_tensor t{};
      ASSERT_EQ(slipway_session_set_item(s_.s, name, static_cast<int64_t>(i), dims, 2, &t, &s_.error), 0)
          << s_.error.message;
      ASSERT_EQ(t.bytes, items[i].size() * sizeof(float));
      std::copy(items[i].begin(), items[i].end(), static_cast<float*>(t.data));
    }
  }
  void SetNone(const char* name) {
    ASSERT_EQ(slipway_session_set_length(s_.s, name, -1, &s_.error), 0) << s_.error.message;
  }
  // {{-1}}: nothing.
  std::vector<Floats> Get(const char* name) {
    int64_t length = 0;
    EXPECT_EQ(slipway_session_length(s_.s, name, &length, &s_.error), 0) << s_.error.message;
    if (length < 0) return {{-1}};
    std::vector<Floats> items;
    for (int64_t i = 0; i < length; ++i) {
      slipway_tensor t{};
      EXPECT_EQ(slipway_session_item(s_.s, name, i, &t, &s_.error), 0) << s_.error.message;
      EXPECT_EQ(t.rank, 2);
      EXPECT_EQ(t.dims[1], 4);
      const float* data = static_cast<const float*>(t.data);
      items.emplace_back(data, data + t.bytes / sizeof(float));
    }
    return items;
  }
  Floats Tensor(const char* name) {
    slipway_tensor t{};
    EXPECT_EQ(slipway_session_output(s_.s, name, &t, &s_.error), 0) << s_.error.message;
    const float* data = static_cast<const float*>(t.data);
    return {data, data + t.bytes / sizeof(float)};
  }
  void SetTensors(const Floats& x, int64_t at, int64_t trips) {
    ASSERT_EQ(s_.SetShape("x", {static_cast<int64_t>(x.size()) / 4, 4}), 0) << s_.error.message;
    std::copy(x.begin(), x.end(), s_.In("x"));
    *reinterpret_cast<int64_t*>(s_.In("at")) = at;
    *reinterpret_cast<int64_t*>(s_.In("trips")) = trips;
  }

 private:
  Sess& s_;
};

Floats Row(float v) { return {v, v, v, v}; }
Floats Join(std::initializer_list<Floats> parts) {
  Floats all;
  for (const Floats& p : parts) all.insert(all.end(), p.begin(), p.end());
  return all;
}

TEST(Sequence, RunsAndChangesFromRunToRun) {
  Loaded p(SequencePackage());
  ASSERT_NE(p.package, nullptr) << p.error.message;
  EXPECT_EQ(slipway_package_input_container(p.package, 0), SLIPWAY_SEQUENCE);
  EXPECT_EQ(slipway_package_input_container(p.package, 1), SLIPWAY_OPTIONAL);
  EXPECT_EQ(slipway_package_input_container(p.package, 2), SLIPWAY_OPTIONAL_SEQUENCE);
  EXPECT_EQ(slipway_package_input_container(p.package, 3), SLIPWAY_TENSOR);
  EXPECT_EQ(slipway_package_input_container(p.package, 6), -1);
  EXPECT_EQ(slipway_package_output_container(p.package, 0), SLIPWAY_SEQUENCE);
  Sess s(p.package, 1);
  Lists lists(s);
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    const Floats x = Join({Row(1), Row(2)}), one = Row(7);
    lists.Set("s", {one, Join({Row(3), Row(4), Row(5)})});
    lists.Set("o", {Row(8)});
    lists.Set("l", {});
    lists.SetTensors(x, 1, 2);
    ASSERT_EQ(s.Run(), 0) << s.error.message;
    EXPECT_EQ(lists.Get("more"), (std::vector<Floats>{one, Join({Row(3), Row(4), Row(5)}), x}));
    EXPECT_EQ(lists.Get("rest"), (std::vector<Floats>{one, x}));
    EXPECT_EQ(lists.Tensor("picked"), Join({Row(3), Row(4), Row(5)}));
    EXPECT_EQ(lists.Get("grown"), (std::vector<Floats>{Row(1), Row(1), Row(9)}));
    EXPECT_EQ(lists.Tensor("joined"), Join({Row(1), Row(1), Row(9)}));
    EXPECT_EQ(lists.Tensor("y"), Row(8));
    EXPECT_EQ(lists.Get("wrapped"), (std::vector<Floats>{Row(8)}));
    EXPECT_EQ(lists.Get("again"), std::vector<Floats>{});

    lists.Set("s", {});
    lists.SetNone("o");
    lists.SetNone("l");
    lists.SetTensors(Join({Row(5), Row(6), Row(7)}), -1, 0);
    ASSERT_EQ(s.Run(), 0) << s.error.message;
    EXPECT_EQ(lists.Tensor("picked"), Join({Row(5), Row(6), Row(7)}));
    EXPECT_EQ(lists.Get("rest"), std::vector<Floats>{});
    EXPECT_EQ(lists.Get("grown"), (std::vector<Floats>{Row(9)}));
    EXPECT_EQ(lists.Tensor("y"), Join({Row(5), Row(6), Row(7)}));
    EXPECT_EQ(lists.Get("again"), (std::vector<Floats>{{-1}}));
  }
  EXPECT_GT(slipway_session_memory(s.s), 0u);
}

TEST(Sequence, StepsAreProfiled) {
  Loaded p(SequencePackage());
  Sess s(p.package, 1, true);
  Lists lists(s);
  lists.Set("s", {Row(1)});
  lists.SetNone("o");
  lists.SetNone("l");
  lists.SetTensors(Row(2), 0, 5);
  ASSERT_EQ(s.Run(), 0) << s.error.message;
  uint64_t grown = 0;
  for (uint32_t i = 0; i < slipway_session_num_steps(s.s); ++i) {
    slipway_step_profile r;
    ASSERT_EQ(slipway_session_profile(s.s, i, &r), 0);
    if (std::string(r.name) == "loop/body/grow") {
      EXPECT_STREQ(r.backend, "session");
      grown = r.runs;
    }
  }
  EXPECT_EQ(grown, 5u);
}

// Every misuse has its answer, after which the session goes on.
TEST(Sequence, MisuseIsNamed) {
  Loaded p(SequencePackage());
  Sess s(p.package, 1);
  Lists lists(s);
  const auto expect = [&](int code, int want, const char* part) {
    EXPECT_EQ(code, want);
    EXPECT_NE(std::string(s.error.message).find(part), std::string::npos) << s.error.message;
  };
  slipway_tensor t{};
  int64_t length = 0;
  const int64_t dims[] = {1, 4}, huge[] = {int64_t{1} << 40, int64_t{1} << 40};
  lists.SetTensors(Row(2), 0, 1);
  expect(s.Run(), SLIPWAY_INVALID_ARGUMENT, "input 's' is a value of kind 'sequence' that has not been given");
  expect(slipway_session_length(s.s, "s", &length, &s.error), SLIPWAY_INVALID_ARGUMENT, "'s' has not been given");
  expect(slipway_session_length(s.s, "more", &length, &s.error), SLIPWAY_INVALID_ARGUMENT, "'more' has not been given");
  expect(slipway_session_length(s.s, "x", &length, &s.error), SLIPWAY_INVALID_ARGUMENT, "'x' is a tensor");
  expect(slipway_session_set_length(s.s, "none", 1, &s.error), SLIPWAY_NOT_FOUND, "no input 'none'");
  expect(slipway_session_set_length(s.s, "more", 1, &s.error), SLIPWAY_NOT_FOUND, "no input 'more'");
  expect(slipway_session_set_length(s.s, "s", -1, &s.error), SLIPWAY_INVALID_ARGUMENT, "length -1: a sequence has 0 to 1048576");
  expect(slipway_session_set_length(s.s, "s", 1 << 21, &s.error), SLIPWAY_INVALID_ARGUMENT, "a sequence has 0 to 1048576");
  expect(slipway_session_set_length(s.s, "o", 0, &s.error), SLIPWAY_INVALID_ARGUMENT, "an optional tensor has 1, or -1");
  expect(slipway_session_set_length(s.s, "o", 2, &s.error), SLIPWAY_INVALID_ARGUMENT, "an optional tensor has 1, or -1");
  expect(slipway_session_set_item(s.s, "s", 0, dims, 2, &t, &s.error), SLIPWAY_INVALID_ARGUMENT, "set its length first");
  ASSERT_EQ(slipway_session_set_length(s.s, "s", 2, &s.error), 0);
  expect(slipway_session_set_item(s.s, "s", 2, dims, 2, &t, &s.error), SLIPWAY_INVALID_ARGUMENT, "holds 2 tensors");
  expect(slipway_session_set_item(s.s, "s", 0, dims, 13, &t, &s.error), SLIPWAY_INVALID_ARGUMENT, "rank 13");
  expect(slipway_session_set_item(s.s, "s", 0, huge, 2, &t, &s.error), SLIPWAY_INVALID_ARGUMENT, "impossible");
  expect(slipway_session_item(s.s, "s", 0, &t, &s.error), SLIPWAY_INVALID_ARGUMENT, "must be set first");
  lists.SetNone("o");
  lists.SetNone("l");
  expect(s.Run(), SLIPWAY_INVALID_ARGUMENT, "input 's', tensor 0: not given");
  expect(slipway_session_input(s.s, "s", &t, &s.error), SLIPWAY_INVALID_ARGUMENT, "'s' is no tensor");
  expect(slipway_session_output(s.s, "more", &t, &s.error), SLIPWAY_INVALID_ARGUMENT, "'more' is no tensor");
  expect(slipway_session_set_shape(s.s, "s", dims, 2, &s.error), SLIPWAY_INVALID_ARGUMENT, "'s' is no tensor");
  alignas(64) float memory[16];
  expect(slipway_session_bind(s.s, "s", memory, sizeof(memory), &s.error), SLIPWAY_INVALID_ARGUMENT, "'s' is no tensor");
  lists.Set("s", {Row(1), Row(2)});
  lists.SetTensors(Row(2), 3, 1);
  expect(s.Run(), SLIPWAY_INVALID_ARGUMENT, "SequenceAt 'at': position 3 is outside of a sequence of 3 tensors");
  // Another rank than the package expects.
  const int64_t one[] = {4};
  ASSERT_EQ(slipway_session_set_item(s.s, "s", 0, one, 1, &t, &s.error), 0);
  lists.SetTensors(Row(2), 0, 1);
  expect(s.Run(), SLIPWAY_INVALID_ARGUMENT, "SequenceAt 'at': its result [4] has 1 dimensions, the package expects 2");
  lists.Set("s", {Row(1), Row(2)});
  ASSERT_EQ(s.Run(), 0) << s.error.message;
  EXPECT_EQ(lists.Tensor("picked"), Row(1));
}

// Lists that grow without end use up the iterations of the run.
TEST(Sequence, MovingManyTensorsIsBounded) {
  Loaded p(SequencePackage());
  slipway_session_options options;
  slipway_session_options_init(&options);
  options.max_iterations = 2000;
  slipway_session* session = nullptr;
  slipway_error error{};
  ASSERT_EQ(slipway_session_create(p.package, &options, &session, &error), 0);
  Sess s(p.package, 1);
  std::swap(s.s, session);
  Lists lists(s);
  lists.Set("s", {Row(1)});
  lists.SetNone("o");
  lists.SetNone("l");
  lists.SetTensors(Row(2), 0, 100);
  EXPECT_EQ(s.Run(), 0) << s.error.message;
  lists.SetTensors(Row(2), 0, 1900);
  EXPECT_EQ(s.Run(), SLIPWAY_RESOURCE_EXHAUSTED);
  EXPECT_NE(std::string(s.error.message).find("too many tensors were moved"), std::string::npos) << s.error.message;
  lists.SetTensors(Row(2), 0, 100);
  EXPECT_EQ(s.Run(), 0) << s.error.message;
  slipway_session_free(session);
}

}  // namespace
}  // namespace slipway
