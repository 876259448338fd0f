#include "deploy/platform_facts.h"

#include <gtest/gtest.h>

#include "deploy/toolchain.h"

namespace slipway::deploy {
namespace {

TEST(PlatformFacts, ReadsWhatTheMatrixWrote) {
  const auto facts = ParsePlatformFacts(R"({"format": 1, "platforms": {"a": {
      "run": "native", "date": "2026-01-02", "revision": "abc", "machine": "m",
      "models": {"x": {"macs": 0.9997, "ok": true}, "y": {"macs": 0.5, "ok": false}}}}})");
  ASSERT_TRUE(facts.ok()) << facts.status().message();
  const PlatformFacts& f = facts->at("a");
  EXPECT_EQ(f.models, 2);
  EXPECT_EQ(f.right, 1);
  EXPECT_EQ(f.date, "2026-01-02");
  EXPECT_EQ(Brief(f), "1 of 2 models, native, 50-99 % of MACs");
}

TEST(PlatformFacts, RefusesWhatIsNone) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no JSON object"},
      {"[]", "no JSON object"},
      {R"({"format": 2, "platforms": {}})", "'format' is not 1"},
      {R"({"format": 1})", "no 'platforms'"},
      {R"({"format": 1, "platforms": {"a": 3}})", "'a' has no 'models'"},
      {R"({"format": 1, "platforms": {"a": {"models": {}}}})", "'a' has no 'models'"},
      {R"({"format": 1, "platforms": {"a": {"models": {"x": {"macs": 1}}}}})", "'x' on 'a'"},
      {R"({"format": 1, "platforms": {"a": {"models": {"x": {"macs": 1.5, "ok": true}}}}})",
       "outside of 0 to 1"},
  };
  for (const auto& [text, says] : cases) {
    const auto facts = ParsePlatformFacts(text);
    ASSERT_FALSE(facts.ok()) << text;
    EXPECT_NE(facts.status().message().find(says), std::string::npos) << facts.status().message();
  }
}

// Of what is committed: what has been run is a platform that executes and was right, and twelve
// have.
TEST(PlatformFacts, TwelvePlatformsHaveBeenRun) {
  const auto facts = GetPlatformFacts();
  ASSERT_TRUE(facts.ok()) << facts.status().message();
  const auto platforms = GetPlatforms();
  ASSERT_TRUE(platforms.ok());
  int executing = 0;
  for (const auto& p : *platforms) {
    if (p.simulated || !p.planned.empty()) continue;
    const auto it = facts->find(p.name);
    if (it == facts->end()) continue;  // new, or on a backend that was not at hand
    ++executing;
    EXPECT_EQ(it->second.right, it->second.models) << p.name;
    EXPECT_GE(it->second.models, 5) << p.name;
    EXPECT_EQ(it->second.run.rfind("emulated", 0) == 0, p.emulated) << p.name;
  }
  EXPECT_GE(executing, 12);
}

}  // namespace
}  // namespace slipway::deploy
