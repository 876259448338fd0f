// Every backend of the build against every operator family: random shapes for a bounded time.
// SLIPWAY_CTS_SEED fixes the seed, SLIPWAY_CTS_MS the time for a family (default 150);
// SLIPWAY_CTS_TRACE prints each malformed step before it is tried.

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <iostream>

#include "engine/backends/cts/harness.h"

namespace slipway::cts {
namespace {

uint64_t Seed() {
  const char* fixed = std::getenv("SLIPWAY_CTS_SEED");
  static const uint64_t seed = fixed ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
  return seed;
}

double Milliseconds() {
  const char* ms = std::getenv("SLIPWAY_CTS_MS");
  return ms ? std::atof(ms) : 150;
}

struct Parameter {
  Backend backend;
  Family family;
};

void PrintTo(const Parameter& p, std::ostream* out) {
  *out << p.backend.name << " " << p.family.name;
}

std::vector<Parameter> Parameters() {
  std::vector<Parameter> all;
  for (const Backend& b : Backends()) {
    for (const Family& f : Families()) all.push_back({b, f});
  }
  return all;
}

class Conformance : public testing::TestWithParam<Parameter> {
 protected:
  // Calls f(random) with one seed after the other until the time is up.
  template <typename F>
  void ForSeeds(double ms, F&& f) {
    const auto end =
        std::chrono::steady_clock::now() + std::chrono::duration<double, std::milli>(ms);
    uint64_t seed = Seed();
    do {
      Random random(seed);
      const Status s = f(random);
      ASSERT_TRUE(s.ok()) << s.message() << "\n  to repeat: SLIPWAY_CTS_SEED=" << seed;
      ++seed;
    } while (std::chrono::steady_clock::now() < end);
  }
};

TEST_P(Conformance, AgreesWithThePlainLoops) {
  const Backend& backend = GetParam().backend;
  const Family& family = GetParam().family;
  Tally tally;
  ForSeeds(Milliseconds(), [&](Random& random) {
    const Case c = family.make(random);
    return Check(c, backend, random, tally);
  });
  std::cout << "  seed " << Seed() << ": " << tally.cases << " cases, " << tally.declined
            << " declined, " << tally.candidates << " candidates, " << tally.runs << " runs";
  if (tally.codes_off)
    std::cout << ", " << tally.codes_off << " of " << tally.codes << " codes off by one";
  for (const auto& r : tally.reasons) std::cout << "\n    declined: " << r;
  std::cout << "\n";
  if (tally.codes > 20000) {
    EXPECT_LT(static_cast<double>(tally.codes_off), 1e-3 * static_cast<double>(tally.codes));
  }
}

TEST_P(Conformance, SurvivesMalformedSteps) {
  const Backend& backend = GetParam().backend;
  const Family& family = GetParam().family;
  ForSeeds(Milliseconds() / 5, [&](Random& random) {
    const Case c = family.make(random);
    return CheckMalformed(c, backend, random);
  });
}

INSTANTIATE_TEST_SUITE_P(Backends, Conformance, testing::ValuesIn(Parameters()),
                         [](const auto& info) {
                           return info.param.backend.name + "_" + info.param.family.name;
                         });

}  // namespace
}  // namespace slipway::cts
