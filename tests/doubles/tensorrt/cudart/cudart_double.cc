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

#include <cuda_runtime_api.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "double.h"
#include "gpu.h"

namespace tensorrt_double {
namespace {

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

thread_local int current_gpu = 0;

struct Work {
  std::function<cudaError_t()> run;
  std::vector<const void*> memory;  // of the GPU, that it uses
};
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

// The bytes behind memory of the GPU.
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

class HostWorkplace final : public Workplace {
 public:
  HostWorkplace(std::vector<size_t> input_bytes, std::vector<size_t> output_bytes, Compute compute)
      : input_bytes_(std::move(input_bytes)),
        output_bytes_(std::move(output_bytes)),
        compute_(std::move(compute)) {}
  cudaError_t Enqueue(cudaStream_t stream, const std::vector<void*>& inputs,
                      const std::vector<void*>& outputs) override {
    std::vector<const uint8_t*> in;
    std::vector<uint8_t*> out;
    Work work;
    for (size_t i = 0; i < inputs.size(); ++i)
      in.push_back(Bytes(inputs[i], input_bytes_[i], "enqueueV3"));
    for (size_t i = 0; i < outputs.size(); ++i)
      out.push_back(Bytes(outputs[i], output_bytes_[i], "enqueueV3"));
    work.memory.assign(inputs.begin(), inputs.end());
    work.memory.insert(work.memory.end(), outputs.begin(), outputs.end());
    work.run = [compute = compute_, in, out] {
      return compute(in, out) ? cudaSuccess : cudaErrorLaunchFailure;
    };
    Put(stream, std::move(work), "enqueueV3");
    return cudaSuccess;
  }

 private:
  const std::vector<size_t> input_bytes_, output_bytes_;
  const Compute compute_;
};

}  // namespace

int CurrentGpu() { return current_gpu; }
std::string GpuName(int gpu) { return Gpus()[static_cast<size_t>(gpu)]; }

std::unique_ptr<Workplace> MakeWorkplace(std::vector<size_t> input_bytes,
                                         std::vector<size_t> output_bytes, Compute compute) {
  return std::make_unique<HostWorkplace>(std::move(input_bytes), std::move(output_bytes),
                                         std::move(compute));
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
