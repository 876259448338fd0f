#include "double.h"

#include <cstdio>
#include <cstdlib>

namespace tensorrt_double {

std::string Setting(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value ? value : otherwise;
}

bool Fails(const std::string& what) {
  static std::mutex mutex;
  static std::map<std::string, int> calls;
  const std::string asked = Setting("TENSORRT_DOUBLE_FAIL", "");
  const size_t at = asked.find('@');
  if (asked.substr(0, at) != what) return false;
  const std::lock_guard lock(mutex);
  return ++calls[what] >= (at == std::string::npos ? 1 : std::atoi(asked.c_str() + at + 1));
}

void Misuse(const std::string& what) {
  std::fprintf(stderr, "tensorrt double: misuse: %s\n", what.c_str());
  std::abort();
}

void Report(const std::string& line) {
  const std::string path = Setting("TENSORRT_DOUBLE_REPORT", "");
  if (path.empty()) return;
  if (FILE* file = std::fopen(path.c_str(), "a")) {
    std::fprintf(file, "%s\n", line.c_str());
    std::fclose(file);
  }
}

Registry::~Registry() {
  std::map<std::string, int> left;
  for (const auto& [object, kind] : live_) ++left[kind];
  for (const auto& [kind, count] : left) Report("alive " + kind + " " + std::to_string(count));
  Report("end");
}
void Registry::Add(const void* object, const char* kind) {
  const std::lock_guard lock(mutex_);
  live_[object] = kind;
}
void Registry::Check(const void* object, const char* kind, const char* function) {
  const std::lock_guard lock(mutex_);
  const auto it = live_.find(object);
  if (it == live_.end() || it->second != kind)
    Misuse(std::string(function) + " gets no live " + kind);
}
void Registry::Remove(const void* object, const char* kind, const char* function) {
  Check(object, kind, function);
  const std::lock_guard lock(mutex_);
  live_.erase(object);
}
Registry& TheRegistry() {
  static Registry registry;
  return registry;
}

}  // namespace tensorrt_double
