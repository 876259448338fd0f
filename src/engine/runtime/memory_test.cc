// Who allocates when: nothing after the first run, and every allocation may fail.

#include <cstdlib>
#include <new>

#include "engine/runtime/registry.h"
#include "engine/runtime/session.h"
#include "engine/runtime/session_test_util.h"

#if defined(__has_feature)  // clang's way to say that there is a sanitizer
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLIPWAY_OWN_MALLOC 0
#endif
#endif
#if defined(SLIPWAY_OWN_MALLOC)
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLIPWAY_OWN_MALLOC 0
#elif defined(__GLIBC__)
#define SLIPWAY_OWN_MALLOC 1
#else
#define SLIPWAY_OWN_MALLOC 0
#endif

namespace {
// Of all threads; counted always, failing when the countdown reaches 0 (negative: never).
std::atomic<int64_t> allocations{0};
std::atomic<int64_t> countdown{-1};

[[maybe_unused]] bool Allowed() {  // a sanitizer's malloc does not ask
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (countdown.load(std::memory_order_relaxed) < 0) return true;
  return countdown.fetch_sub(1, std::memory_order_relaxed) > 0;
}
}  // namespace

#if SLIPWAY_OWN_MALLOC
// Every way to the heap of this program, also those of libraries.
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void* malloc(size_t n) { return Allowed() ? __libc_malloc(n) : nullptr; }
void* calloc(size_t n, size_t m) { return Allowed() ? __libc_calloc(n, m) : nullptr; }
void* realloc(void* p, size_t n) { return Allowed() ? __libc_realloc(p, n) : nullptr; }
void* aligned_alloc(size_t a, size_t n) { return Allowed() ? __libc_memalign(a, n) : nullptr; }
}
#endif

namespace slipway {
namespace {

TEST(Memory, NothingIsAllocatedAfterTheFirstRun) {
#if !SLIPWAY_OWN_MALLOC
  GTEST_SKIP() << "a sanitizer owns malloc";
#endif
  for (int threads : {1, 2}) {
    for (bool profile : {false, true}) {
      Loaded p(NetworkPackage(PackageMaker::Sym("N")));
      ASSERT_NE(p.package, nullptr) << p.error.message;
      Sess s(p.package, threads, profile);
      ASSERT_EQ(s.SetShape("x", {2, 3, 8, 8}), 0);
      for (int i = 0; i < 2 * 3 * 64; ++i) s.In("x")[i] = 1;
      ASSERT_EQ(s.Run(), 0) << s.error.message;
      const int64_t before = allocations.load();
      slipway_tensor t;
      for (int i = 0; i < 20; ++i) {
        ASSERT_EQ(slipway_session_input(s.s, "x", &t, &s.error), 0);
        ASSERT_EQ(s.Run(), 0);
        ASSERT_EQ(slipway_session_output(s.s, "y", &t, &s.error), 0);
      }
      EXPECT_EQ(allocations.load() - before, 0) << threads << " threads";
      float sum = 0;
      for (int i = 0; i < 10; ++i) sum += s.Out("y")[i];
      EXPECT_NEAR(sum, 1, 1e-5);
    }
  }
}

TEST(Memory, NothingIsAllocatedWhileDataDecideTheSameExtents) {
#if !SLIPWAY_OWN_MALLOC
  GTEST_SKIP() << "a sanitizer owns malloc";
#endif
  Loaded p(SelectionPackage());
  ASSERT_NE(p.package, nullptr) << p.error.message;
  Sess s(p.package);
  ASSERT_EQ(s.SetShape("x", {8}), 0);
  slipway_tensor t;
  const auto run = [&](int shift) {
    float* x = s.In("x");
    for (int i = 0; i < 8; ++i) x[i] = (i + shift) % 2 ? 1.f : -1.f;  // other elements, as many
    *reinterpret_cast<int64_t*>(s.In("count")) = 2;
    ASSERT_EQ(s.Run(), 0) << s.error.message;
    ASSERT_EQ(slipway_session_output(s.s, "few", &t, &s.error), 0);
    ASSERT_EQ(t.dims[0], 2);
  };
  run(0);
  const int64_t before = allocations.load();
  for (int i = 0; i < 20; ++i) run(i);
  EXPECT_EQ(allocations.load() - before, 0);
}

TEST(Memory, NothingIsAllocatedInLoopsThatRunAsTheyDid) {
#if !SLIPWAY_OWN_MALLOC
  GTEST_SKIP() << "a sanitizer owns malloc";
#endif
  for (bool profile : {false, true}) {
    Loaded p(format::ControlPackage());
    ASSERT_NE(p.package, nullptr) << p.error.message;
    Sess s(p.package, 1, profile);
    ASSERT_EQ(s.SetShape("x", {5, 4}), 0);
    slipway_tensor t;
    // The carried value of "grow" has another extent in every iteration, for which its body is prepared anew: not with one iteration.
    const auto run = [&](bool flag) {
      std::fill_n(s.In("x"), 20, 1.f);
      *reinterpret_cast<int64_t*>(s.In("trips")) = 1;
      *reinterpret_cast<uint8_t*>(s.In("flag")) = flag;
      ASSERT_EQ(s.Run(), 0) << s.error.message;
      ASSERT_EQ(slipway_session_output(s.s, "grown", &t, &s.error), 0);
      ASSERT_EQ(t.dims[0], 2);
    };
    run(true);
    run(false);
    const int64_t before = allocations.load();
    for (int i = 0; i < 20; ++i) run(i % 3 == 0);
    EXPECT_EQ(allocations.load() - before, 0);
    EXPECT_EQ(s.Out("sums")[59], 1 + 3 * 4);
  }
}

// The whole life of a package and a session; the first error, or 0.
int Life(const AlignedBuffer& bytes, std::string* where) {
  slipway_error error{};
  slipway_package* package = nullptr;
  slipway_session* session = nullptr;
  slipway_tensor t;
  const int64_t dims[] = {2, 3, 8, 8};
  *where = "load";
  int code = slipway_package_load_memory(bytes.data(), bytes.size(), &package, &error);
  if (code == 0) *where = "create", code = slipway_session_create(package, nullptr, &session, &error);
  if (code == 0) *where = "shape", code = slipway_session_set_shape(session, "x", dims, 4, &error);
  if (code == 0) *where = "input", code = slipway_session_input(session, "x", &t, &error);
  if (code == 0) std::memset(t.data, 0, t.bytes);
  if (code == 0) *where = "run", code = slipway_session_run(session, &error);
  if (code == 0) *where = "output", code = slipway_session_output(session, "y", &t, &error);
  if (code != 0 && code != error.code) code = -1;
  slipway_session_free(session);
  slipway_package_free(package);
  return code;
}

// x [N, 3, 8, 8] -> y: a loop that carries x and stacks it, its number of iterations known to the runtime alone.
PackageMaker LoopPackage() {
  const Dim n = PackageMaker::Sym("N");
  PackageMaker m, body;
  body.data.symbols["N"] = {0, 9};
  body.Input("i", DType::kInt64, {});
  int go = body.Input("go", DType::kBool, {}), v = body.Input("v", DType::kFloat32, {n, 3, 8, 8});
  int on = body.Output("on", DType::kBool, {}), next = body.Output("next", DType::kFloat32, {n, 3, 8, 8}), seen = body.Output("seen", DType::kFloat32, {n, 3, 8, 8});
  body.Step("go", "engine", "Copy", {go}, {on});
  body.Step("relu", "", "Relu", {v}, {next});
  body.Step("seen", "engine", "Copy", {v}, {seen});
  m.data.symbols["u"] = {0, 9};
  int x = m.Input("x", DType::kFloat32, {n, 3, 8, 8});
  int y = m.Output("y", DType::kFloat32, {n, 3, 8, 8}), all = m.Output("all", DType::kFloat32, {PackageMaker::Sym("u"), n, 3, 8, 8});
  int program = m.Body("body", body);
  m.Control("loop", {.kind = format::ControlKind::kLoop, .bodies = {program}, .carried = 1}, {m.Constant<int64_t>("three", {}, {3}), -1, x}, {y, all})
      .data_dims = true;
  return m;
}

TEST(Memory, EveryAllocationMayFail) {
#if !SLIPWAY_OWN_MALLOC
  GTEST_SKIP() << "a sanitizer owns malloc";
#endif
  PackageMaker loop = LoopPackage();
  for (const PackageMaker& maker : {NetworkPackage(PackageMaker::Sym("N")), loop}) {
    auto file = format::SerializePackage(maker.data);
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    AlignedBuffer bytes = Aligned(*file);
    std::string where(100, ' ');
    ASSERT_EQ(Life(bytes, &where), 0);  // one-time tables
    const int64_t before = allocations.load();
    ASSERT_EQ(Life(bytes, &where), 0);
    const int64_t count = allocations.load() - before;
    ASSERT_GT(count, 50);
    int64_t reported = 0;
    for (int64_t n = 0; n < count; ++n) {
      countdown = n;
      const int code = Life(bytes, &where);
      countdown = -1;
      // A failure may also be survived: std::stable_sort does without its buffer.
      ASSERT_TRUE(code == SLIPWAY_RESOURCE_EXHAUSTED || code == 0) << code << ", allocation " << n << " of " << count << ", in " << where;
      reported += code != 0;
    }
    EXPECT_GT(reported, count * 9 / 10);
  }
}

// The session's own hooks: what an embedder without a heap gives it.
struct Hooks {
  int64_t left = -1;  // allocations until one fails; negative: never
  int64_t live = 0, count = 0;
  static void* Allocate(void* context, size_t bytes) {
    auto* h = static_cast<Hooks*>(context);
    ++h->count;
    if (h->left == 0) return nullptr;
    if (h->left > 0) --h->left;
    ++h->live;
    return std::aligned_alloc(64, bytes);
  }
  static void Release(void* context, void* memory) {
    --static_cast<Hooks*>(context)->live;
    std::free(memory);
  }
};

TEST(Memory, ArenaAndTensorsThatCannotBeHadAreResourceExhausted) {
  auto file = format::SerializePackage(NetworkPackage(PackageMaker::Sym("N")).data);
  ASSERT_TRUE(file.ok());
  AlignedBuffer bytes = Aligned(*file);
  auto package = runtime::Package::FromMemory({bytes.data(), bytes.size()}, nullptr, runtime::GlobalRegistry());
  ASSERT_TRUE(package.ok()) << package.status().ToString();
  Hooks hooks;
  {
    runtime::SessionOptions options;
    options.memory = {Hooks::Allocate, Hooks::Release, &hooks};
    auto session = runtime::Session::Create(*package, options);
    ASSERT_TRUE(session.ok());
    const int64_t small[] = {1, 3, 8, 8}, large[] = {9, 3, 8, 8};
    ASSERT_TRUE((*session)->SetShape("x", small).ok());
    for (int64_t n : {0, 1, 1}) {  // arena, input, output: each succeeds once
      hooks.left = n;
      Status status = (*session)->Run();
      EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << n << " " << status.ToString();
      EXPECT_NE(status.message().find("no memory for the"), std::string::npos);
    }
    hooks.left = -1;
    ASSERT_TRUE((*session)->Run().ok());
    EXPECT_EQ(hooks.live, 3);
    const int64_t count = hooks.count;
    ASSERT_TRUE((*session)->Run().ok());
    EXPECT_EQ(hooks.count, count);
    // Larger: all three grow; smaller again: nothing does.
    ASSERT_TRUE((*session)->SetShape("x", large).ok());
    for (int64_t n : {0, 1, 1}) {
      hooks.left = n;
      EXPECT_EQ((*session)->Run().code(), StatusCode::kResourceExhausted) << n;
    }
    hooks.left = -1;
    ASSERT_TRUE((*session)->Run().ok());
    const int64_t grown = hooks.count;
    ASSERT_TRUE((*session)->SetShape("x", small).ok());
    ASSERT_TRUE((*session)->Run().ok());
    EXPECT_EQ(hooks.count, grown);
    EXPECT_EQ(hooks.live, 3);
  }
  EXPECT_EQ(hooks.live, 0);
}

}  // namespace
}  // namespace slipway
