// The GPU of the double of TensorRT, where there is one: the CUDA runtime is the real one, so that
// the backend's own calls of it are, and TensorRT alone is a double. An engine computes on the
// host, but works in the stream that it is given and does not wait for it, as TensorRT does: it
// fetches its inputs from the GPU, computes when they have come, and brings its outputs there.
//
// Environment, beside that of tensorrt_double.cc:
//   TENSORRT_DOUBLE_KERNELS  set: kernels on the GPU read the inputs and write the outputs, whose
//                            accesses compute-sanitizer sees; else copies do
//   TENSORRT_DOUBLE_RESET    set: cudaDeviceReset at the end of the process, which
//                            compute-sanitizer needs to find memory that was never freed
//   TENSORRT_DOUBLE_FAIL     also: trap (a kernel that stops by a trap), overrun (a kernel that
//                            writes beyond the first output), leak (256 bytes are never freed),
//                            unset (a kernel, where they are used, that reads what was not written)

#include <cuda_runtime_api.h>

#include <cstdlib>
#include <mutex>

#include "double.h"
#include "gpu.h"

namespace tensorrt_double {
namespace {

// All tensors are float32: `count` words of 4 bytes.
constexpr char kPtx[] = R"(.version 6.3
.target sm_75
.address_size 64
.visible .entry copy_words(.param .u64 to, .param .u64 from, .param .u64 count) {
  .reg .pred %outside;
  .reg .b32 %block, %size, %thread, %word;
  .reg .b64 %to, %from, %count, %at, %more;
  ld.param.u64 %to, [to];
  ld.param.u64 %from, [from];
  ld.param.u64 %count, [count];
  mov.u32 %block, %ctaid.x;
  mov.u32 %size, %ntid.x;
  mov.u32 %thread, %tid.x;
  mul.wide.u32 %at, %block, %size;
  cvt.u64.u32 %more, %thread;
  add.u64 %at, %at, %more;
  setp.ge.u64 %outside, %at, %count;
  @%outside bra done;
  shl.b64 %at, %at, 2;
  cvta.to.global.u64 %from, %from;
  cvta.to.global.u64 %to, %to;
  add.u64 %from, %from, %at;
  add.u64 %to, %to, %at;
  ld.global.b32 %word, [%from];
  st.global.b32 [%to], %word;
done:
  ret;
}
.visible .entry stop() {
  trap;
  ret;
}
)";

#define TRY(call) \
  if (const cudaError_t error = (call); error != cudaSuccess) return error

cudaError_t Kernel(const char* name, cudaKernel_t* kernel) {
  static std::mutex mutex;
  static cudaLibrary_t library = nullptr;
  const std::lock_guard lock(mutex);
  if (!library) TRY(cudaLibraryLoadData(&library, kPtx, nullptr, nullptr, 0, nullptr, nullptr, 0));
  return cudaLibraryGetKernel(kernel, library, name);
}

cudaError_t CopyByKernel(void* to, const void* from, size_t bytes, cudaStream_t stream) {
  cudaKernel_t kernel = nullptr;
  TRY(Kernel("copy_words", &kernel));
  unsigned long long count = bytes / 4;  // NOLINT: PTX's u64
  void* arguments[] = {&to, &from, &count};
  constexpr unsigned kThreads = 256;
  return cudaLaunchKernel(reinterpret_cast<const void*>(kernel),
                          dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads)),
                          dim3(kThreads), arguments, 0, stream);
}

cudaError_t Trap(cudaStream_t stream) {
  cudaKernel_t kernel = nullptr;
  TRY(Kernel("stop", &kernel));
  return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(1), dim3(1), nullptr, 0,
                          stream);
}

class CudaWorkplace final : public Workplace {
 public:
  CudaWorkplace(std::vector<size_t> input_bytes, std::vector<size_t> output_bytes, Compute compute)
      : inputs_(Rooms(input_bytes)), outputs_(Rooms(output_bytes)), compute_(std::move(compute)) {}
  CudaWorkplace(const CudaWorkplace&) = delete;
  ~CudaWorkplace() override {
    if (Busy()) Misuse("a context is deleted while a stream runs it");
    for (const auto* rooms : {&inputs_, &outputs_}) {
      for (const Room& room : *rooms) {
        (void)cudaFreeHost(room.host);
        (void)cudaFree(room.device);
      }
    }
    if (done_) (void)cudaEventDestroy(done_);
  }

  cudaError_t Enqueue(cudaStream_t stream, const std::vector<void*>& inputs,
                      const std::vector<void*>& outputs) override {
    if (!stream) Misuse("enqueueV3 gets no stream");
    if (Busy() && stream != stream_) Misuse("a context runs in two streams at once");
    stream_ = stream;
    for (size_t i = 0; i < inputs.size(); ++i) TRY(CheckMemory(inputs[i]));
    for (size_t i = 0; i < outputs.size(); ++i) TRY(CheckMemory(outputs[i]));
    if (!done_) TRY(Allocate());
    if (Fails("leak")) {
      void* lost = nullptr;
      TRY(cudaMalloc(&lost, 256));
    }
    if (kernels_ && Fails("unset"))
      TRY(CopyByKernel(inputs_[0].device, outputs_[0].device, 4, stream));
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Room& room = inputs_[i];
      if (kernels_) TRY(CopyByKernel(room.device, inputs[i], room.bytes, stream));
      TRY(cudaMemcpyAsync(room.host, kernels_ ? room.device : inputs[i], room.bytes,
                          cudaMemcpyDeviceToHost, stream));
    }
    TRY(cudaLaunchHostFunc(stream, &CudaWorkplace::Run, this));
    for (size_t i = 0; i < outputs.size(); ++i) {
      const Room& room = outputs_[i];
      TRY(cudaMemcpyAsync(kernels_ ? room.device : outputs[i], room.host, room.bytes,
                          cudaMemcpyHostToDevice, stream));
      if (kernels_) TRY(CopyByKernel(outputs[i], room.device, room.bytes, stream));
    }
    if (Fails("overrun"))
      TRY(CopyByKernel(static_cast<char*>(outputs[0]) + outputs_[0].bytes, inputs[0], 4, stream));
    TRY(cudaEventRecord(done_, stream));
    return Fails("trap") ? Trap(stream) : cudaSuccess;  // last: what comes behind it may fail
  }

 private:
  struct Room {
    size_t bytes;
    void *host, *device;  // the latter for kernels alone
  };
  static std::vector<Room> Rooms(const std::vector<size_t>& sizes) {
    std::vector<Room> rooms;
    for (size_t bytes : sizes) rooms.push_back({bytes, nullptr, nullptr});
    return rooms;
  }
  // Where a kernel failed the GPU answers nothing but that, and nothing runs there any more.
  bool Busy() const { return done_ && cudaEventQuery(done_) == cudaErrorNotReady; }

  static cudaError_t CheckMemory(const void* memory) {
    cudaPointerAttributes about{};
    TRY(cudaPointerGetAttributes(&about, memory));
    if (about.type != cudaMemoryTypeDevice) Misuse("enqueueV3 gets no memory of the GPU");
    if (about.device != CurrentGpu()) Misuse("enqueueV3 gets memory of another GPU");
    return cudaSuccess;
  }
  cudaError_t Allocate() {
    for (auto* rooms : {&inputs_, &outputs_}) {
      for (Room& room : *rooms) {
        if (!room.host) TRY(cudaMallocHost(&room.host, room.bytes));
        if (kernels_ && !room.device) TRY(cudaMalloc(&room.device, room.bytes));
      }
    }
    return cudaEventCreateWithFlags(&done_, cudaEventDisableTiming);
  }
  // In the stream. It may not call CUDA.
  static void Run(void* self) {
    const auto& place = *static_cast<const CudaWorkplace*>(self);
    std::vector<const uint8_t*> in;
    std::vector<uint8_t*> out;
    for (const Room& room : place.inputs_) in.push_back(static_cast<const uint8_t*>(room.host));
    for (const Room& room : place.outputs_) out.push_back(static_cast<uint8_t*>(room.host));
    if (!place.compute_(in, out)) Misuse("the interpreter does not run what it has taken");
  }

  const bool kernels_ = !Setting("TENSORRT_DOUBLE_KERNELS", "").empty();
  std::vector<Room> inputs_, outputs_;
  const Compute compute_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t done_ = nullptr;
};

}  // namespace

int CurrentGpu() {
  // The GPU has been used by now, so that this comes before the CUDA runtime's own end.
  [[maybe_unused]] static const bool reset = !Setting("TENSORRT_DOUBLE_RESET", "").empty() &&
                                             std::atexit([] { (void)cudaDeviceReset(); }) == 0;
  int gpu = 0;
  if (cudaGetDevice(&gpu) != cudaSuccess) Misuse("a thread without a GPU");
  return gpu;
}

std::string GpuName(int gpu) {
  cudaDeviceProp about{};
  if (cudaGetDeviceProperties(&about, gpu) != cudaSuccess) Misuse("a GPU without a name");
  return about.name;
}

std::unique_ptr<Workplace> MakeWorkplace(std::vector<size_t> input_bytes,
                                         std::vector<size_t> output_bytes, Compute compute) {
  return std::make_unique<CudaWorkplace>(std::move(input_bytes), std::move(output_bytes),
                                         std::move(compute));
}

}  // namespace tensorrt_double
