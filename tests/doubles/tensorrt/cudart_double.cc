// A test double of the CUDA runtime, for the double of TensorRT (tensorrt_double.cc). IT IS NOT
// CUDA and there is no GPU. It is stricter than a GPU is:
//
// - Memory of the "GPU" cannot be read or written by the program (the pages are not accessible);
//   its bytes are kept elsewhere.
// - What is put into a stream happens when the stream is synchronized and not before: a result is
//   there, and memory may go, only then.
//
// Misuse (unknown or freed memory and streams, copies beyond an end, memory that goes while a
// stream still uses it) ends the process with a message.

#include "cudart_double.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

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

std::vector<std::string> Gpus() {
  const std::string list = Setting("TENSORRT_DOUBLE_GPUS", "Double GPU");
  std::vector<std::string> out;
  for (size_t at = 0; at < list.size();) {
    const size_t end = std::min(list.find(',', at), list.size());
    out.push_back(list.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

namespace {

thread_local int current_gpu = 0;

struct Memory {
  size_t size, mapped;
  std::vector<uint8_t> bytes;
};
std::mutex mutex;  // of both
std::map<uintptr_t, std::shared_ptr<Memory>> memories;
std::map<cudaStream_t, std::vector<Work>> streams;

// With the lock held.
std::shared_ptr<Memory> Find(const void* pointer, size_t size, size_t* offset,
                             const char* function) {
  const auto at = reinterpret_cast<uintptr_t>(pointer);
  auto it = memories.upper_bound(at);
  if (it == memories.begin()) Misuse(std::string(function) + " gets no memory of the GPU");
  --it;
  *offset = at - it->first;
  if (*offset >= it->second->mapped) Misuse(std::string(function) + " gets no memory of the GPU");
  if (*offset + size > it->second->size)
    Misuse(std::string(function) + " goes beyond the end of memory of the GPU");
  return it->second;
}

}  // namespace

int CurrentGpu() { return current_gpu; }

uint8_t* Bytes(const void* pointer, size_t size, const char* function) {
  const std::lock_guard lock(mutex);
  size_t offset = 0;
  return Find(pointer, size, &offset, function)->bytes.data() + offset;
}

void Put(cudaStream_t stream, Work work, const char* function) {
  const std::lock_guard lock(mutex);
  const auto it = streams.find(stream);
  if (it == streams.end()) Misuse(std::string(function) + " gets no live stream");
  it->second.push_back(std::move(work));
}

}  // namespace tensorrt_double

using namespace tensorrt_double;  // NOLINT: the functions below are CUDA's

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
  }
  return "unrecognized error code";
}

cudaError_t cudaGetDeviceCount(int* count) {
  if (!count) return cudaErrorInvalidValue;
  *count = static_cast<int>(Gpus().size());
  return *count ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaSetDevice(int device) {
  if (Fails("set_device") || device < 0 || device >= static_cast<int>(Gpus().size()))
    return cudaErrorInvalidDevice;
  current_gpu = device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const std::vector<std::string> gpus = Gpus();
  if (!properties || Fails("properties") || device < 0 || device >= static_cast<int>(gpus.size()))
    return cudaErrorInvalidDevice;
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "%s", gpus[device].c_str());
  properties->major = 9;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags) {
  if (!stream || flags != cudaStreamNonBlocking) return cudaErrorInvalidValue;
  if (Fails("stream")) return cudaErrorMemoryAllocation;
  *stream = reinterpret_cast<cudaStream_t>(new char);
  TheRegistry().Add(*stream, "stream");
  const std::lock_guard lock(mutex);
  streams[*stream] = {};
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  TheRegistry().Remove(stream, "stream", "cudaStreamDestroy");
  const std::lock_guard lock(mutex);
  if (!streams[stream].empty()) Misuse("cudaStreamDestroy while the stream has work");
  streams.erase(stream);
  delete reinterpret_cast<char*>(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  TheRegistry().Check(stream, "stream", "cudaStreamSynchronize");
  std::vector<Work> work;
  {
    const std::lock_guard lock(mutex);
    work = streams[stream];  // stays there until it is done: its memory is in use
  }
  cudaError_t result = Fails("synchronize") ? cudaErrorLaunchFailure : cudaSuccess;
  for (const Work& w : work) {
    if (result == cudaSuccess) result = w.run();
  }
  const std::lock_guard lock(mutex);
  streams[stream].clear();
  return result;
}

cudaError_t cudaMalloc(void** memory, size_t size) {
  if (!memory || size == 0) return cudaErrorInvalidValue;
  if (Fails("malloc")) return cudaErrorMemoryAllocation;
  auto m = std::make_shared<Memory>();
  m->size = size;
  m->mapped = (size + 4095) / 4096 * 4096;
  m->bytes.assign(size, 0xab);
  void* pages = ::mmap(nullptr, m->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return cudaErrorMemoryAllocation;
  TheRegistry().Add(pages, "memory");
  const std::lock_guard lock(mutex);
  memories[reinterpret_cast<uintptr_t>(pages)] = std::move(m);
  *memory = pages;
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  if (!memory) return cudaSuccess;
  TheRegistry().Remove(memory, "memory", "cudaFree");
  const std::lock_guard lock(mutex);
  const auto it = memories.find(reinterpret_cast<uintptr_t>(memory));
  const uintptr_t end = it->first + it->second->mapped;
  for (const auto& [stream, works] : streams) {
    for (const Work& w : works) {
      for (const void* used : w.memory) {
        const auto at = reinterpret_cast<uintptr_t>(used);
        if (at >= it->first && at < end) Misuse("cudaFree while a stream uses the memory");
      }
    }
  }
  ::munmap(memory, it->second->mapped);
  memories.erase(it);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t count, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (!to || !from) return cudaErrorInvalidValue;
  const bool in = kind == cudaMemcpyHostToDevice;
  if (!in && kind != cudaMemcpyDeviceToHost) return cudaErrorInvalidValue;
  if (Fails(in ? "copy_in" : "copy_out")) return cudaErrorInvalidValue;
  const void* device = in ? to : from;
  uint8_t* bytes = Bytes(device, count, "cudaMemcpyAsync");
  Put(stream,
      {.run =
           [=] {
             if (in) {
               std::memcpy(bytes, from, count);
             } else {
               std::memcpy(to, bytes, count);
             }
             return cudaSuccess;
           },
       .memory = {device}},
      "cudaMemcpyAsync");
  return cudaSuccess;
}
