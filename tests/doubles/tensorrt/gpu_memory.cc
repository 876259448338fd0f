// gpu_memory [LEAVE]: says what GPU there is. With LEAVE it takes its memory but for that many MiB,
// says "taken", and keeps it until its standard input ends, or for a minute.

#include <cuda_runtime_api.h>
#include <poll.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace {

bool Ok(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    std::fprintf(stderr, "gpu_memory: %s (%d): %s\n", what, static_cast<int>(error),
                 cudaGetErrorString(error));
  return error == cudaSuccess;
}

}  // namespace

int main(int argc, char** argv) {
  int count = 0, driver = 0, runtime = 0;
  cudaDeviceProp gpu{};
  size_t free = 0, all = 0;
  if (!Ok(cudaGetDeviceCount(&count), "cudaGetDeviceCount") ||
      !Ok(cudaGetDeviceProperties(&gpu, 0), "cudaGetDeviceProperties") ||
      !Ok(cudaDriverGetVersion(&driver), "cudaDriverGetVersion") ||
      !Ok(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion") ||
      !Ok(cudaMemGetInfo(&free, &all), "cudaMemGetInfo"))
    return 1;
  std::printf(
      "%d GPU(s), %s, compute %d.%d, %zu MiB of %zu free, CUDA of the driver %d, runtime %d\n",
      count, gpu.name, gpu.major, gpu.minor, free >> 20, all >> 20, driver, runtime);
  if (argc < 2) return 0;
  const size_t leave = static_cast<size_t>(std::max(0, std::atoi(argv[1]))) << 20;
  size_t chunk = size_t{4} << 30;
  while (chunk >= size_t{1} << 20) {
    if (!Ok(cudaMemGetInfo(&free, &all), "cudaMemGetInfo")) return 1;
    void* memory = nullptr;
    // What is refused is asked for in smaller pieces.
    if (free < leave + chunk || cudaMalloc(&memory, chunk) != cudaSuccess) chunk /= 2;
  }
  std::printf("taken: %zu MiB are free\n", free >> 20);
  std::fflush(stdout);
  pollfd input{0, POLLIN, 0};
  ::poll(&input, 1, 60'000);
  return 0;
}
