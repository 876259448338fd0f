#include "base/log.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace slipway {
namespace {

LogLevel FromEnvironment() {
  const char* text = std::getenv("SLIPWAY_LOG");
  if (text == nullptr) return LogLevel::kWarning;
  if (std::strcmp(text, "error") == 0) return LogLevel::kError;
  if (std::strcmp(text, "info") == 0) return LogLevel::kInfo;
  if (std::strcmp(text, "debug") == 0) return LogLevel::kDebug;
  return LogLevel::kWarning;
}

std::atomic<int>& Level() {
  static std::atomic<int> level{static_cast<int>(FromEnvironment())};
  return level;
}

std::atomic<LogSink> g_sink{nullptr};

}  // namespace

void SetLogLevel(LogLevel level) { Level() = static_cast<int>(level); }
LogLevel GetLogLevel() { return static_cast<LogLevel>(Level().load()); }
void SetLogSink(LogSink sink) { g_sink = sink; }

void Log(LogLevel level, std::string_view message) {
  if (static_cast<int>(level) > Level()) return;
  static constexpr const char* kNames[] = {"error: ", "warning: ", "info: ", "debug: "};
  std::string line = kNames[static_cast<int>(level)];
  line += message;
  if (LogSink sink = g_sink) return sink(level, line);
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace slipway
