#pragma once
// What the two halves of the double share (tensorrt_double.cc, cudart_double.cc).

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

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

std::vector<std::string> Gpus();
int CurrentGpu();  // the thread's

// The bytes behind memory of the GPU.
uint8_t* Bytes(const void* pointer, size_t size, const char* function);

struct Work {
  std::function<cudaError_t()> run;
  std::vector<const void*> memory;  // of the GPU, that it uses
};
void Put(cudaStream_t stream, Work work, const char* function);

}  // namespace tensorrt_double
