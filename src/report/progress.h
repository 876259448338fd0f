#pragma once
// Progress on standard error: a bar redrawn in place on a terminal, a plain line now and then
// elsewhere, nothing when the caller asked for --json or --quiet.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string>

namespace slipway::report {

enum class ProgressMode : int { kNone = 0, kLines = 1, kBar = 2 };

// kNone when quiet; else by what standard error is.
ProgressMode ProgressModeFor(bool quiet);

// Thread-safe. Ends (with a final line) on Finish or destruction.
class Progress {
 public:
  // total: steps to come; 0 = unknown.
  Progress(std::string label, int64_t total, ProgressMode mode, std::FILE* out = stderr);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Update(int64_t done,
              const std::string& note = "");  // `note` follows the figures, e.g. "top-1 91.2 %"
  void Add(int64_t steps = 1);
  void Finish(const std::string& note = "");

 private:
  void Draw(bool last);

  std::string label_, note_;
  const int64_t total_;
  const ProgressMode mode_;
  std::FILE* const out_;
  std::mutex mutex_;
  int64_t done_ = 0;
  bool finished_ = false;
  std::chrono::steady_clock::time_point start_, drawn_;
};

}  // namespace slipway::report
