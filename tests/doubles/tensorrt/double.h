#pragma once
// What the files of the double share: settings, misuse, and which objects are alive.

#include <map>
#include <mutex>
#include <string>

namespace tensorrt_double {

std::string Setting(const char* name, const char* otherwise);
// TENSORRT_DOUBLE_FAIL names it; "WHAT@2" fails from the second call on.
bool Fails(const std::string& what);
[[noreturn]] void Misuse(const std::string& what);
void Report(const std::string& line);

// Every object that was given away, with what it is.
class Registry {
 public:
  ~Registry();
  void Add(const void* object, const char* kind);
  void Check(const void* object, const char* kind, const char* function);
  void Remove(const void* object, const char* kind, const char* function);

 private:
  std::mutex mutex_;
  std::map<const void*, std::string> live_;
};
Registry& TheRegistry();

}  // namespace tensorrt_double
