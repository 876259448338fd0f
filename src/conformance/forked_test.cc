#include "conformance/forked.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <map>

namespace slipway::conformance {
namespace {

std::map<size_t, ForkedResult> RunAll(size_t count, int jobs, int timeout,
                                      const std::function<void(size_t, const Write&)>& work) {
  std::map<size_t, ForkedResult> results;
  const Status status = RunForked(count, jobs, timeout, work, [&](size_t i, const ForkedResult& r) {
    EXPECT_TRUE(results.emplace(i, r).second) << i;
  });
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(results.size(), count);
  return results;
}

TEST(Forked, TextComesBackInPiecesAndLarge) {
  const std::string large(300000, 'x');  // more than a pipe holds
  const auto results = RunAll(5, 2, 60, [&](size_t i, const Write& write) {
    write(std::to_string(i) + " ");
    write(large);
  });
  for (const auto& [i, r] : results) {
    EXPECT_EQ(r.ended, "");
    EXPECT_EQ(r.text, std::to_string(i) + " " + large);
  }
}

TEST(Forked, ACrashIsOneResultAndKeepsWhatWasBefore) {
  const auto results = RunAll(4, 2, 60, [](size_t i, const Write& write) {
    write("begun");
    if (i == 1) {
      std::signal(SIGSEGV, SIG_DFL);  // sanitizers have a handler that ends by a code
      std::raise(SIGSEGV);
    }
    if (i == 2) ::_exit(7);
  });
  EXPECT_NE(results.at(1).ended.find("crashed: "), std::string::npos) << results.at(1).ended;
  EXPECT_EQ(results.at(1).text, "begun");
  EXPECT_EQ(results.at(2).ended, "ended with code 7");
  for (const size_t i : {0, 3}) EXPECT_EQ(results.at(i).ended + results.at(i).text, "begun");
}

TEST(Forked, WhatDoesNotEndIsEnded) {
  const auto results = RunAll(2, 0, 1, [](size_t i, const Write& write) {
    write("begun");
    while (i == 0) ::pause();
  });
  EXPECT_NE(results.at(0).ended.find("within 1 s; raise --timeout"), std::string::npos)
      << results.at(0).ended;
  EXPECT_EQ(results.at(0).text, "begun");
  EXPECT_EQ(results.at(1).ended, "");
}

TEST(Forked, NothingToDo) {
  RunAll(0, 0, 1, [](size_t, const Write&) { FAIL(); });
}

}  // namespace
}  // namespace slipway::conformance
