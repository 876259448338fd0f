#include "base/dim.h"

#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <map>
#include <random>

#include "base/checked.h"

namespace slipway {
namespace {

Dim S(const char* name) { return Dim::Symbol(name); }

TEST(Dim, NormalFormMakesEqualThingsEqual) {
  const Dim n = S("N"), h = S("H");
  EXPECT_EQ((n + h) * (n - h), n * n - h * h);
  EXPECT_EQ(n + Dim(1) - n, Dim(1));
  EXPECT_TRUE((n - n).Is(0));
  EXPECT_EQ((n * Dim(2) + h).ToString(), "H + 2*N");
  EXPECT_EQ((Dim(0) - n * n - Dim(3)).ToString(), "-N*N - 3");
  EXPECT_NE(n, h);
  EXPECT_EQ(Dim::Symbol("batch-size").ToString(), "batch_size");
  EXPECT_EQ(Dim::Symbol("1x").ToString(), "_1x");
  EXPECT_EQ(Dim::Symbol("").ToString(), "_");
}

TEST(Dim, LongNamesStayDistinct) {
  const std::string base(5000, 'a');
  EXPECT_NE(Dim::Symbol(base + "x"), Dim::Symbol(base + "y"));
  EXPECT_LE(Dim::Symbol(base).ToString().size(), 128u);
}

TEST(Dim, Division) {
  const Dim n = S("N"), h = S("H");
  EXPECT_EQ(FloorDiv(Dim(512) * n * h, Dim(4) * h), Dim(128) * n);
  EXPECT_EQ(FloorDiv(n * n - Dim(1), n + Dim(1)), n - Dim(1));
  EXPECT_EQ(FloorDiv(n * Dim(49), n), Dim(49));
  EXPECT_EQ(FloorDiv(h - Dim(1), Dim(2)) + Dim(1), FloorDiv(h + Dim(1), Dim(2)));
  EXPECT_EQ(FloorDiv(FloorDiv(h, Dim(2)), Dim(2)), FloorDiv(h, Dim(4)));
  EXPECT_EQ(FloorDiv(Dim(3) * h + Dim(5), Dim(2)), h + Dim(2) + FloorDiv(h + Dim(1), Dim(2)));
  EXPECT_EQ(FloorDiv(Dim(2) * h + Dim(1), Dim(4)), FloorDiv(h, Dim(2)));
  EXPECT_EQ(CeilDiv(h, Dim(2)).ToString(), "floordiv(H + 1, 2)");
  EXPECT_EQ(FloorDiv(Dim(-7), Dim(2)), Dim(-4));
  EXPECT_EQ(CeilDiv(Dim(-7), Dim(2)), Dim(-3));
  EXPECT_EQ(CeilDiv(Dim(7), Dim(2)), Dim(4));
  EXPECT_EQ(FloorDiv(n * h, h * S("W")).ToString(), "floordiv(N, W)");
  EXPECT_TRUE(FloorDiv(n, Dim(0)).overflowed());
  EXPECT_TRUE(FloorDiv(Dim(4), Dim(0)).overflowed());
}

TEST(Dim, MinMax) {
  const Dim n = S("N");
  EXPECT_EQ(Min(n, n + Dim(1)), n);
  EXPECT_EQ(Max(n, n + Dim(1)), n + Dim(1));
  EXPECT_EQ(Min(Dim(5), n), Min(n, Dim(5)));
  EXPECT_EQ(Min(Dim(5), n).ToString(), "min(5, N)");
  EXPECT_EQ(Max(Dim(-2), Dim(3)), Dim(3));
}

TEST(Dim, OverflowIsFlaggedAndSticky) {
  const Dim big(std::numeric_limits<int64_t>::max());
  EXPECT_TRUE((big + Dim(1)).overflowed());
  EXPECT_TRUE((big * S("N") * Dim(2)).overflowed());
  EXPECT_TRUE(((big + Dim(1)) * Dim(0)).overflowed());
  EXPECT_FALSE((big + Dim(1)).Evaluate([](auto) { return std::nullopt; }).ok());
  EXPECT_TRUE(Count({Dim(int64_t{1} << 40), Dim(int64_t{1} << 40)}).overflowed());
  EXPECT_TRUE(Count({Dim(int64_t{1} << 40), Dim(0), Dim(int64_t{1} << 40)}).Is(0));
  EXPECT_TRUE(Count({}).Is(1));
  Dim nested = S("a");
  for (int i = 0; i < 100; ++i) nested = Max(Min(nested, S("b")) * Dim(2), S("c")) * S("d");
  EXPECT_TRUE(nested.overflowed());  // too complex, not endless
}

TEST(Dim, EvaluateAndSubstitute) {
  const Dim d = FloorDiv(S("H") + Dim(1), Dim(2)) * S("N");
  auto lookup = [](std::string_view s) -> std::optional<int64_t> {
    if (s == "H") return 7;
    if (s == "N") return 3;
    return std::nullopt;
  };
  EXPECT_EQ(*d.Evaluate(lookup), 12);
  auto unbound = (d + S("Q")).Evaluate(lookup);
  ASSERT_FALSE(unbound.ok());
  EXPECT_NE(unbound.status().message().find("'Q'"), std::string::npos);
  auto huge = (S("H") * S("H")).Evaluate([](auto) { return int64_t{1} << 40; });
  EXPECT_EQ(huge.status().code(), StatusCode::kInvalidArgument);
  EXPECT_FALSE(FloorDiv(S("H"), S("N")).Evaluate([](auto s) { return s == "H" ? 1 : 0; }).ok());
  const Dim half = d.Substitute([](std::string_view s) -> std::optional<Dim> {
    if (s == "H") return Dim(7);
    return std::nullopt;
  });
  EXPECT_EQ(half, Dim(4) * S("N"));
  EXPECT_EQ(d.Symbols(), (std::vector<std::string>{"H", "N"}));
}

TEST(Dim, ParseRejectsBadText) {
  for (const char* text :
       {"", "1 +", "(N", "N)", "1x", "foo(1, 2)", "min(1)", "floordiv(N, 0)", "N $",
        "9223372036854775808", "9223372036854775807 + 1", "-", "min(1,2", "N N"}) {
    EXPECT_FALSE(Dim::Parse(text).ok()) << text;
  }
  EXPECT_FALSE(Dim::Parse(std::string(5000, '1')).ok());
  EXPECT_FALSE(Dim::Parse(std::string(200, '(') + "N" + std::string(200, ')')).ok());
  std::string deep = "N";
  for (int i = 0; i < 70; ++i) deep = "min(" + deep + ", H)";
  EXPECT_FALSE(Dim::Parse(deep).ok());
  EXPECT_EQ(*Dim::Parse("-9223372036854775808"), Dim(std::numeric_limits<int64_t>::min()));
  EXPECT_EQ(*Dim::Parse(" 2 * ( N + 1 ) - N"), S("N") + Dim(2));
  EXPECT_EQ(*Dim::Parse("--3"), Dim(3));
}

// A random expression built twice: as a Dim, and evaluated at once with checked arithmetic.
struct Random {
  std::mt19937_64 rng;
  std::map<std::string, int64_t> values;
  struct Pair {
    Dim dim;
    std::optional<int64_t> value;
  };
  int64_t Int(int64_t lo, int64_t hi) {
    return lo + static_cast<int64_t>(rng() % static_cast<uint64_t>(hi - lo + 1));
  }
  Pair Make(int depth) {
    if (depth == 0 || Int(0, 5) == 0) {
      if (Int(0, 1)) {
        const int64_t c = Int(-6, 12);
        return {Dim(c), c};
      }
      auto it = values.begin();
      std::advance(it, Int(0, static_cast<int64_t>(values.size()) - 1));
      return {Dim::Symbol(it->first), it->second};
    }
    const Pair a = Make(depth - 1), b = Make(depth - 1);
    const bool both = a.value && b.value;
    switch (Int(0, 6)) {
      case 0:
        return {a.dim + b.dim, both ? CheckedAdd(*a.value, *b.value) : std::nullopt};
      case 1:
        return {a.dim - b.dim, both ? CheckedAdd(*a.value, -*b.value) : std::nullopt};
      case 2:
        return {a.dim * b.dim, both ? CheckedMul(*a.value, *b.value) : std::nullopt};
      case 3: {
        std::optional<int64_t> q;
        if (both && *b.value != 0) {
          q = *a.value / *b.value -
              ((*a.value % *b.value != 0) && (*a.value < 0) != (*b.value < 0));
        }
        return {FloorDiv(a.dim, b.dim), q};
      }
      case 4: {
        std::optional<int64_t> q;
        if (both && *b.value != 0) {
          q = *a.value / *b.value +
              ((*a.value % *b.value != 0) && (*a.value < 0) == (*b.value < 0));
        }
        return {CeilDiv(a.dim, b.dim), q};
      }
      case 5:
        return {Min(a.dim, b.dim),
                both ? std::optional(std::min(*a.value, *b.value)) : std::nullopt};
      default:
        return {Max(a.dim, b.dim),
                both ? std::optional(std::max(*a.value, *b.value)) : std::nullopt};
    }
  }
};

TEST(Dim, RandomExpressionsKeepTheirValueAndSurviveText) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random{std::mt19937_64(seed), {}};
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
  int compared = 0;
  for (int i = 0; i < 60000 && (compared <= 1000 || std::chrono::steady_clock::now() < end); ++i) {
    random.values = {
        {"A", random.Int(-3, 20)}, {"b.1", random.Int(0, 9)}, {"N", random.Int(1, 300)}};
    const auto [dim, value] = random.Make(static_cast<int>(random.Int(1, 5)));
    if (dim.overflowed()) continue;
    const std::string text = dim.ToString();
    auto back = Dim::Parse(text);
    ASSERT_TRUE(back.ok()) << text << ": " << back.status().message();
    ASSERT_EQ(back->ToString(), text);
    ASSERT_EQ(*back, dim) << text;
    auto lookup = [&](std::string_view s) {
      return std::optional(random.values.at(std::string(s)));
    };
    auto got = dim.Evaluate(lookup);
    if (value && got.ok()) {
      ASSERT_EQ(*got, *value) << text;
      ++compared;
    }
    const Dim bound =
        dim.Substitute([&](std::string_view s) { return std::optional<Dim>(*lookup(s)); });
    if (value && !bound.overflowed()) {
      ASSERT_TRUE(bound.known());
      ASSERT_EQ(bound.value(), *value) << text;
    }
  }
  EXPECT_GT(compared, 1000);
}

TEST(Dim, RandomTextNeverCrashes) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 rng(seed);
  const char* pieces[] = {"N", "H",         "(",    ")",    "+", "-", "*",
                          ",", "floordiv(", "min(", "max(", "0", "7", "9223372036854775807",
                          " ", "a.b",       "$"};
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
  while (std::chrono::steady_clock::now() < end) {
    std::string text;
    for (uint64_t n = rng() % 40; n > 0; --n) text += pieces[rng() % std::size(pieces)];
    auto d = Dim::Parse(text);
    if (d.ok()) {
      ASSERT_EQ(*Dim::Parse(d->ToString()), *d) << text;
      (void)d->Evaluate([](auto) { return 5; });
    }
  }
}

}  // namespace
}  // namespace slipway
